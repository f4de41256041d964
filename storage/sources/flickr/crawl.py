"""The crawl from begin to end: lists, pictures, source directory. Each part can be broken off and started again."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import ConfigDict, SecretStr

from storage.roots import Root
from storage.sources.flickr import photos, pictures, rows, source
from storage.sources.flickr.budget import Budget, BudgetConfig
from storage.sources.flickr.client import ApiConfig, Client
from storage.sources.flickr.database import Crawl, Database
from storage.sources.flickr.lists import ListConfig, Reader
from storage.sources.flickr.pictures import PictureConfig, Progress
from storage.sources.flickr.source import Written
from storage.sources.flickr.walk import CrawlRequest, Walk

FOLDER = ".crawl"  # below the source directory: the database, the budget, the lock


@dataclass(frozen=True, kw_only=True)
class FlickrConfig:
    """The settings of a crawl of Flickr, one section per component."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # else a misspelled setting passes unseen

    api: ApiConfig = field(default_factory=ApiConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    lists: ListConfig = field(default_factory=ListConfig)
    pictures: PictureConfig = field(default_factory=PictureConfig)


@dataclass(frozen=True)
class Effort:
    """What a part of a crawl asked for, since its process was started."""

    requests: int  # of the API
    pictures: int = 0  # addresses


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Holds the folder for one crawl; a lock of the kernel, which a killed process gives back."""
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    with (out / FOLDER / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{out}: another crawl is at work here; wait for it, or give another folder") from error
        yield


@contextmanager
def opened(out: Path) -> Iterator[Database]:
    database = Database(out / FOLDER / "crawl.sqlite")
    try:
        yield database
    finally:
        database.close()


def begin(out: Path, asked: CrawlRequest, resume: bool) -> None:
    """Enter a new crawl; with `resume`, go on with one that did not end, whose seeds need not be given again.

    Raises ValueError where one that did not end is in the way, or was asked for something else.
    """
    wanted = asdict(asked)
    seeded = bool(asked.users or asked.groups)
    with opened(out) as database:
        last = database.last()
        is_open = last is not None and last.ended_at is None
        if last and is_open and not resume:
            raise ValueError(
                f"{out}: holds a crawl that did not end; go on with --resume, or give another folder. "
                f"It was asked for {last.asked}"
            )
        if last and is_open and seeded and last.asked != _as_kept(wanted):
            raise ValueError(
                f"{out}: the crawl that did not end was asked for {last.asked}, not for {_as_kept(wanted)}; "
                f"resume it without seeds, or give another folder"
            )
        if not is_open and not seeded:
            raise ValueError(f"{out}: no crawl to resume, and no seed; give --user, --group or --seed-file")
        if not is_open:
            database.begin(wanted, time.time())


def read_lists(
    out: Path, key: SecretStr, config: FlickrConfig, on_user: Progress = lambda _done, _total: None
) -> Effort:
    """Walk through the community and read everything but the pictures."""
    with opened(out) as database, _reader(out, key, config, database) as reader:
        database.try_the_failed_again()
        Walk(database, reader, _asked(reader.crawl), on_user).go()
        photos.drop_the_vanished(database, reader, config.pictures.sizes)
        photos.complete(database, reader, config.pictures.sizes)
        rows.forget_the_gone(database)
        return Effort(reader.client.requests)


def fetch_pictures(
    out: Path, key: SecretStr, config: FlickrConfig, on_picture: Progress = lambda _done, _total: None
) -> Effort:
    """Fetch the pictures that are due. Of one that is not there, Flickr is asked where it went."""
    root = Root(str(out))
    with opened(out) as database, _reader(out, key, config, database) as reader:
        asked = pictures.fetch_due(database, reader.crawl, root, config.pictures, on_picture)
        photos.look_for(database, reader, config.pictures.sizes, pictures.not_there(reader.crawl))
        rows.forget_the_gone(database)
        asked += pictures.fetch_due(database, reader.crawl, root, config.pictures, on_picture)
        return Effort(reader.client.requests, asked)


def write_source(out: Path) -> Written:
    """Write the source directory, and end the crawl."""
    with opened(out) as database:
        crawl = database.last()
        assert crawl is not None
        written = source.write(database, out)
        pictures.sweep(database, Root(str(out)))
        database.end(crawl, time.time())
        return written


@contextmanager
def _reader(out: Path, key: SecretStr, config: FlickrConfig, database: Database) -> Iterator[Reader]:
    crawl = database.last()
    assert crawl is not None
    file = Path(config.budget.file) if config.budget.file else out / FOLDER / "crawl.sqlite"
    client = Client(key, config.api, Budget(file, config.budget))
    try:
        yield Reader(client, database, crawl, config.lists, config.pictures.sizes)
    finally:
        client.close()


def _asked(crawl: Crawl) -> CrawlRequest:
    kept = crawl.asked
    return CrawlRequest(
        users=tuple(kept["users"]), groups=tuple(kept["groups"]), max_users=kept["max_users"], depth=kept["depth"]
    )


def _as_kept(wanted: dict[str, object]) -> dict[str, object]:
    """As JSON gives it back: tuples are lists there."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in wanted.items()}
