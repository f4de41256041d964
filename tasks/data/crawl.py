"""The crawl of Flickr in three stages. None is cached: the crawl's own database says what is fresh."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prefect.blocks.system import Secret
from pydantic import SecretStr

from storage.sources.flickr import crawl
from storage.sources.flickr.crawl import Effort, FlickrConfig
from tasks.runtime.caching import uncached_stage
from tasks.runtime.progress import Progress

KEY_VARIABLE, KEY_BLOCK = "FLICKR_API_KEY", "flickr-api-key"


@dataclass(frozen=True)
class Crawled:
    """What a crawl left, and what it asked for."""

    out: str
    rows: dict[str, int]  # by table
    pictures: dict[str, int]  # in the source, by outcome
    unread: dict[str, int]  # lists that could not be read, by kind and reason
    requests: int  # of the API
    pictures_asked: int


@uncached_stage
def read_lists(out: str, config: FlickrConfig) -> Effort:
    """Read every list of the users in reach that is not fresh."""
    return crawl.read_lists(Path(out), api_key(), config, _shown("read-lists", "users at most"))


@uncached_stage
def fetch_pictures(out: str, config: FlickrConfig) -> Effort:
    """Fetch the pictures that are not fresh."""
    return crawl.fetch_pictures(Path(out), api_key(), config, _shown("fetch-pictures", "pictures"))


@uncached_stage
def write_source(out: str, efforts: list[Effort]) -> Crawled:
    """Write the source directory, and end the crawl."""
    written = crawl.write_source(Path(out))
    requests, pictures = (sum(getattr(effort, kind) for effort in efforts) for kind in ("requests", "pictures"))
    return Crawled(out, written.rows, written.pictures, written.unread, requests, pictures)


def api_key() -> SecretStr:
    """The API key, from the environment or from Prefect; read where it is used, so that it is nobody's parameter."""
    if key := os.environ.get(KEY_VARIABLE, "").strip():
        return SecretStr(key)
    try:
        return SecretStr(str(Secret.load(KEY_BLOCK).get()).strip())  # type: ignore[union-attr]  # not async here
    except ValueError as error:
        raise ValueError(
            f"no Flickr API key: set {KEY_VARIABLE}, or make a Prefect Secret block named {KEY_BLOCK}; "
            f"flickr.com/services/apps/create gives one"
        ) from error


def _shown(stage: str, unit: str) -> Callable[[int, int], None]:
    """Shows how far a task is, whose total is known once it has begun."""
    progress = Progress(stage, 0, unit)

    def show(done: int, total: int) -> None:
        progress.total = total
        progress.advance(done - progress.done)

    return show
