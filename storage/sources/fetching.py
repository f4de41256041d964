"""Pictures whose `path` is an address: fetched once, into files below the root that later nights find again.

    <root>/pictures/ab/ab<22 more of the address's sha256>-<24 of the content's>.jpeg     a picture
    <root>/pictures/ab/ab<22 more>.not-found                                             none, and why; empty

The names are the only record, so whoever is killed loses the pictures that were just on their way, and a file that is
deleted is fetched again.
"""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath

import polars as pl

from storage.images import FETCHED, FETCHED_FOLDER, format_of
from storage.roots import Root
from storage.settings.downloads import FetchConfig
from storage.settings.images import ImageLimits
from storage.sources.downloads.pictures import Answers, Downloader, Picture, refuse_broken
from storage.sources.rules import ADDRESS

DAY_S = 86_400.0
DIGITS = 24  # of a sha256
SETTLED_BY_SETTINGS = ("too many bytes", "too many pixels", "private address")  # asked each night: they may change

log = logging.getLogger("tastegraph")


@dataclass(frozen=True)
class Outcome:
    """What became of an address."""

    address: str
    path: str | None  # of its file, as in the table images
    reason: str | None  # why it has none


def addresses_in(images: pl.DataFrame) -> list[str]:
    """The addresses in the column `path`, each once."""
    return images.filter(pl.col("path").str.contains(ADDRESS))["path"].unique().sort().to_list()


def fetch(
    addresses: Sequence[str],
    config: FetchConfig,
    limits: ImageLimits,
    root: Root,
    on_picture: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Outcome]:
    """What became of each address, in the given order. Only those are asked for that are not known yet.

    A failure is an outcome. One that may pass is not kept, so the next night asks again; any other stands for
    `again_days`.
    """
    known = {name: (path, reason) for name, path, reason in _known(config, root)}
    due = [address for address in addresses if name_of(address) not in known]
    tally = Counter[str]()
    answers = Answers(_may_be_picture, lambda _path: False, _place(limits))
    with closing(Downloader(root, config, answers)) as downloader, closing(downloader.fetch_all(_pictures(due))) as new:
        for done, picture in enumerate(new, 1):
            name = name_of(picture.url)
            known[name] = (picture.path, None if picture.path else picture.reason or picture.outcome)
            if picture.outcome in ("gone", "quarantined") and picture.reason not in SETTLED_BY_SETTINGS:
                root.write(f"{_folder(name)}/{name}.{str(picture.reason).replace(' ', '-')}", b"")
            tally[picture.outcome] += 1
            on_picture(done, len(due))
    if due:
        log.info("%-18s %s of %s addresses asked: %s", "fetch", len(due), len(addresses), _in_words(tally))
    found = [(address, *known[name_of(address)]) for address in addresses]
    return [Outcome(address, path and f"{FETCHED}{path}", reason) for address, path, reason in found]


def name_of(address: str) -> str:
    """How the names of an address's files begin."""
    return hashlib.sha256(address.encode()).hexdigest()[:DIGITS]


def is_picture(path: str) -> bool:
    """Whether a file of the folder is a picture, and not a note that there is none."""
    return "-" in PurePosixPath(path).name.partition(".")[0]


def _known(config: FetchConfig, root: Root) -> Iterator[tuple[str, str | None, str | None]]:
    """Of each address: the beginning of its files' names, and its picture's path, or why it has none."""
    since_s = time.time() - config.again_days * DAY_S
    for entry in sorted(root.entries(FETCHED_FOLDER), key=lambda entry: is_picture(entry.path)):
        stem, _, rest = PurePosixPath(entry.path).name.partition(".")
        if is_picture(entry.path):
            yield stem.partition("-")[0], entry.path, None
        elif entry.modified_s >= since_s:
            yield stem, None, rest.replace("-", " ")


def _pictures(addresses: Sequence[str]) -> list[Picture]:
    return [Picture(address) for address in addresses]


def _may_be_picture(type_: str) -> bool:
    """Not by what it is called: stores send pictures as application/octet-stream. A page is not read, though."""
    return not type_.startswith("text/") and type_ not in ("application/json", "application/xhtml+xml")


def _place(limits: ImageLimits) -> Callable[[str, str, bytes], str]:
    def place(url: str, _type: str, data: bytes) -> str:
        refuse_broken(data, limits)
        name = name_of(url)
        content = hashlib.sha256(data).hexdigest()[:DIGITS]
        return f"{_folder(name)}/{name}-{content}.{format_of(data)}"

    return place


def _folder(name: str) -> str:
    return f"{FETCHED_FOLDER}/{name[:2]}"


def _in_words(tally: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(tally.items()))
