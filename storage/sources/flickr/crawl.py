"""The crawl from start to end: lists, pictures, source directory. Each part can be interrupted and resumed."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import SecretStr

from storage.roots import Root
from storage.settings.flickr import FlickrConfig
from storage.sources.downloads.pictures import Progress
from storage.sources.flickr import photos, pictures, rows, source
from storage.sources.flickr.budget import Budget
from storage.sources.flickr.client import Client
from storage.sources.flickr.database import Crawl, Database
from storage.sources.flickr.lists import Reader
from storage.sources.flickr.source import SourceCounts
from storage.sources.flickr.walk import CrawlRequest, Walk

FOLDER = ".crawl"  # below the source directory: the database, the budget, the lock


@dataclass(frozen=True)
class RequestCounts:
    """What a part of a crawl requested since its process started."""

    requests: int  # of the API
    pictures: int = 0  # addresses


_locked: set[Path] = set()  # folders that this process has locked


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Lock the folder for one crawl; a kernel lock, released if its process dies. Within itself it is one lock."""
    if out in _locked:
        yield
        return
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    with (out / FOLDER / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{out}: another crawl is running here; wait for it, or give another folder") from error
        _locked.add(out)
        try:
            yield
        finally:
            _locked.remove(out)


@contextmanager
def opened(out: Path) -> Iterator[Database]:
    database = Database(out / FOLDER / "crawl.sqlite")
    try:
        yield database
    finally:
        database.close()


def begin(out: Path, request: CrawlRequest, resume: bool) -> None:
    """Register a new crawl; with `resume`, continue an unfinished one, whose seeds need not be given again.

    Raises ValueError if an unfinished crawl is in the way, or had another request.
    """
    record = asdict(request)
    has_seeds = bool(request.users or request.groups)
    with opened(out) as database:
        last = database.last()
        is_open = last is not None and last.ended_at is None
        if last and is_open and not resume:
            raise ValueError(
                f"{out}: holds an unfinished crawl; continue it with --resume, or give another folder. "
                f"Its request was {last.request}"
            )
        if last and is_open and has_seeds and last.request != _as_json(record):
            raise ValueError(
                f"{out}: the request of the unfinished crawl was {last.request}, not {_as_json(record)}; "
                f"resume it without seeds, or give another folder"
            )
        if not is_open and not has_seeds:
            raise ValueError(f"{out}: no crawl to resume, and no seed; give --user, --group or --seed-file")
        if not is_open:
            database.begin(record, time.time())


def read_lists(
    out: Path, key: SecretStr, config: FlickrConfig, on_user: Progress = lambda _done, _total: None
) -> RequestCounts:
    """Walk through the community and read its lists; everything but the pictures."""
    with opened(out) as database, _reader(out, key, config, database) as reader:
        database.retry_failed()
        Walk(database, reader, _request_of(reader.crawl), on_user).go()
        photos.drop_vanished(database, reader, config.pictures.sizes)
        photos.complete(database, reader, config.pictures.sizes)
        rows.delete_forgotten(database)
        return RequestCounts(reader.client.requests)


def fetch_pictures(
    out: Path, key: SecretStr, config: FlickrConfig, on_picture: Progress = lambda _done, _total: None
) -> RequestCounts:
    """Fetch the pictures that are due. For a missing one, ask Flickr for its new address."""
    root = Root(str(out))
    with opened(out) as database, _reader(out, key, config, database) as reader:
        num_pictures = pictures.fetch_due(database, reader.crawl, root, config.pictures, on_picture)
        photos.find_missing(database, reader, config.pictures.sizes, pictures.missing(reader.crawl))
        rows.delete_forgotten(database)
        num_pictures += pictures.fetch_due(database, reader.crawl, root, config.pictures, on_picture)
        return RequestCounts(reader.client.requests, num_pictures)


def write_source(out: Path) -> SourceCounts:
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


def _request_of(crawl: Crawl) -> CrawlRequest:
    record = crawl.request
    return CrawlRequest(
        users=tuple(record["users"]),
        groups=tuple(record["groups"]),
        max_users=record["max_users"],
        depth=record["depth"],
    )


def _as_json(record: dict[str, object]) -> dict[str, object]:
    """The record as JSON returns it: with lists for tuples."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in record.items()}
