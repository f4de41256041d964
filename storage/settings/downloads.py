"""Settings of downloads of pictures: how much, how fast, from whom."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """What is asked of other people's servers."""

    max_bytes: int = 8 * 2**20  # a larger file is quarantined and not read to its end
    threads: int = 8  # pictures fetched at once
    per_host: int = 4  # of these at most from one host
    timeout_s: float = 30.0  # for a whole picture, redirects too
    attempts: int = 4  # tries of a picture in all
    backoff_s: float = 1.0  # before the second attempt; then doubled, plus up to as much again
    longest_wait_s: float = 600.0  # a host that asks for longer is left alone until the next time
    failures: int = 50  # so many in a row, and a host is left alone, the crawl ends
    private_hosts: tuple[str, ...] = ()  # names of one's own servers, which may be at private addresses: others may not
    seed: int = 0  # of the random part of the waits

    def __post_init__(self) -> None:
        for name in ("max_bytes", "threads", "per_host", "attempts", "failures"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} = {value}: it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class FetchConfig(DownloadConfig):
    """How pictures are fetched whose `path` is an address, with `images.fetch`."""

    failures: int = 10  # so many in a row, and a host is left alone until the next night
    again_days: float = 7.0  # until an address without a usable picture is asked again
