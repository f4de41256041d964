"""The crawl of Flickr in three stages. None is cached: the crawl's database knows what is fresh."""

import os
from dataclasses import dataclass
from pathlib import Path

from prefect.blocks.system import Secret
from pydantic import SecretStr

from storage.settings.flickr import FlickrConfig
from storage.sources.flickr import crawl
from storage.sources.flickr.crawl import RequestCounts
from tasks.runtime.caching import uncached_stage
from tasks.runtime.progress import Progress

KEY_VARIABLE, KEY_BLOCK = "FLICKR_API_KEY", "flickr-api-key"


@dataclass(frozen=True)
class CrawlResult:
    """The contents of the source directory after a crawl, and how much was requested."""

    out: str
    rows: dict[str, int]  # by table
    pictures: dict[str, int]  # in the source, by outcome
    unread: dict[str, int]  # lists that could not be read, by kind and reason
    requests: int  # to the API
    pictures_asked: int  # urls requested


@uncached_stage
def read_lists(out: str, config: FlickrConfig) -> RequestCounts:
    """Read every list of the crawl's users that is not fresh."""
    return crawl.read_lists(Path(out), api_key(), config, Progress("read-lists", 0, "users at most").reach)


@uncached_stage
def fetch_pictures(out: str, config: FlickrConfig) -> RequestCounts:
    """Fetch the pictures that are not fresh."""
    return crawl.fetch_pictures(Path(out), api_key(), config, Progress("fetch-pictures", 0, "pictures").reach)


@uncached_stage
def write_source(out: str, counts: list[RequestCounts]) -> CrawlResult:
    """Write the source directory, and end the crawl."""
    written = crawl.write_source(Path(out))
    requests, pictures = (sum(getattr(count, kind) for count in counts) for kind in ("requests", "pictures"))
    return CrawlResult(out, written.rows, written.pictures, written.unread, requests, pictures)


def api_key() -> SecretStr:
    """The API key, from the environment or from Prefect; read where it is used, so that it is no stage's parameter."""
    if key := os.environ.get(KEY_VARIABLE, "").strip():
        return SecretStr(key)
    try:
        return SecretStr(str(Secret.load(KEY_BLOCK).get()).strip())  # type: ignore[union-attr]  # not async here
    except ValueError as error:
        raise ValueError(
            f"no Flickr API key: set {KEY_VARIABLE}, or create a Prefect Secret block named {KEY_BLOCK}; "
            f"flickr.com/services/apps/create gives one"
        ) from error
