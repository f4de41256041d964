"""Settings of a crawl of Flickr."""

import re
from dataclasses import dataclass, field

from storage.settings.downloads import DownloadConfig

SIZE_LABELS = {  # the suffix in `extras` and in addresses, and the label in flickr.photos.getSizes
    "sq": "Square",
    "t": "Thumbnail",
    "q": "Large Square",
    "s": "Small",
    "n": "Small 320",
    "m": "Medium",
    "z": "Medium 640",
    "c": "Medium 800",
    "l": "Large",
    "o": "Original",
}


@dataclass(frozen=True, kw_only=True)
class ApiConfig:
    """How the API is called."""

    endpoint: str = "https://api.flickr.com/services/rest/"  # the address of the API
    timeout_s: float = 30.0  # a request not answered after so long has failed
    max_bytes: int = 16 * 2**20  # a longer answer counts as failed; a full page has 1 MB
    attempts: int = 6  # tries of a request in all
    backoff_s: float = 2.0  # before the second attempt; then doubled, plus up to as much again
    longest_wait_s: float = 3600.0  # a server that requires a longer wait ends the crawl
    failures: int = 5  # so many failed requests one after the other end the crawl
    seed: int = 0  # of the random part of the waits

    def __post_init__(self) -> None:
        if not re.match("https?://[^/]", self.endpoint):
            raise ValueError(f"api.endpoint = {self.endpoint!r}: it must be an http or https address")
        for name in ("attempts", "failures", "max_bytes"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"api.{name} = {value}: it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """How many requests are sent to the API."""

    requests_per_hour: int = 3600  # Flickr's limit of a key; never exceeded in any hour
    burst: int = 60  # at once after a pause
    file: str = ""  # crawls with one key share it; empty: with the crawl

    def __post_init__(self) -> None:
        if not 1 <= self.burst < self.requests_per_hour:
            raise ValueError(
                f"budget.burst = {self.burst}: it must be at least 1 and below "
                f"budget.requests_per_hour = {self.requests_per_hour}"
            )


@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """How much is read of users and groups."""

    freshness_days: float = 7.0  # lists fetched so many days ago are not fetched again
    per_page: int = 500  # items requested per page; Flickr's maximum for photos and members is 500
    most_pages: int = 20  # at most so many pages of a list are read
    most_group_pages: int = 2  # the same of a group's members or pool, which may hold millions
    passes: int = 3  # readings of a list that changes meanwhile
    user_tags: int = 200  # a user's most used tags
    groups: int = 100  # read for further users at each depth, the largest first

    def __post_init__(self) -> None:
        for name in ("per_page", "most_pages", "most_group_pages", "passes", "user_tags"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"lists.{name} = {value}: it must be at least 1")
        if self.per_page > 500:
            raise ValueError(f"lists.per_page = {self.per_page}: Flickr's maximum is 500")

    @property
    def freshness_s(self) -> float:
        return self.freshness_days * 86_400


@dataclass(frozen=True, kw_only=True)
class PictureConfig(DownloadConfig):
    """Which pictures are fetched, and at which rate."""

    sizes: tuple[str, ...] = ("n", "m", "z", "s", "c", "l")  # Flickr's size suffixes, preferred first: n is 320 px
    freshness_days: float = 30.0  # until a picture is requested again, if it changed

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sizes or set(self.sizes) - set(SIZE_LABELS):
            raise ValueError(f"pictures.sizes = {self.sizes}: choose from {', '.join(SIZE_LABELS)}")


@dataclass(frozen=True, kw_only=True)
class FlickrConfig:
    """The settings of a crawl of Flickr, one section per component."""

    __pydantic_config__ = {"extra": "forbid"}  # refuse misspelled settings

    api: ApiConfig = field(default_factory=ApiConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    lists: ListConfig = field(default_factory=ListConfig)
    pictures: PictureConfig = field(default_factory=PictureConfig)
