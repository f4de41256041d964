"""A crawl without Prefect, of a server on loopback."""

from dataclasses import replace
from pathlib import Path

from pydantic import SecretStr

from storage.settings.flickr import ApiConfig, BudgetConfig, FlickrConfig, ListConfig, PictureConfig
from storage.sources.flickr import crawl
from storage.sources.flickr.source import SourceCounts
from storage.sources.flickr.walk import CrawlRequest
from tests.storage.sources.flickr.server import HANG_S, KEY


def quick(address: str, **lists: object) -> FlickrConfig:
    """Settings under which a crawl of a server on loopback takes seconds, faults included."""
    return FlickrConfig(
        api=ApiConfig(endpoint=f"{address}/services/rest/", timeout_s=HANG_S - 1, backoff_s=0.01),
        budget=BudgetConfig(requests_per_hour=10**8, burst=10**6),
        lists=replace(ListConfig(per_page=50), **lists),
        pictures=PictureConfig(private_hosts=("127.0.0.1",), backoff_s=0.01, attempts=2, timeout_s=10.0),
    )


def run(out: Path, config: FlickrConfig, request: CrawlRequest, resume: bool = False, key: str = KEY) -> SourceCounts:
    """A whole crawl."""
    with crawl.locked(out):
        crawl.begin(out, request, resume)
        crawl.read_lists(out, SecretStr(key), config)
        crawl.fetch_pictures(out, SecretStr(key), config)
        return crawl.write_source(out)
