"""Records of a community's pictures: their files, their pixels, those that cannot be decoded, their features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from storage import parquet
from storage.refs import Ref
from storage.roots import Root


@dataclass(frozen=True)
class Fetched:
    """What became of a picture's address."""

    address: str
    path: str | None  # of its file, as in the table images
    reason: str | None  # why it has none


@dataclass(frozen=True)
class Batch:
    """The pictures of one shard; a version changes whenever the bytes of its picture do."""

    ids: list[str]
    paths: list[str]
    versions: list[str]


@dataclass(frozen=True)
class Packed:
    """A shard of pixels, and the table PICTURES of its files."""

    pixels: Ref | None  # None where no picture could be decoded
    pictures: Ref


@dataclass(frozen=True)
class Shard(Packed):
    """The same, with the pictures that could not be decoded."""

    rejected: list[dict[str, Any]]


@dataclass(frozen=True)
class Pictures:
    """The community's pictures, in shards, and the source that their files lie in."""

    source: Root
    shards: Sequence[Packed]

    @property
    def pixels(self) -> list[Ref]:
        """The shards of pixels; one without a picture that can be decoded has none."""
        return [shard.pixels for shard in self.shards if shard.pixels]


@dataclass(frozen=True)
class Features:
    """A shard of features for each shard of pictures in `of`."""

    shards: list[Ref]
    network: Ref | None  # that learned from the pictures; None for a frozen one, and for the source's own features
    of: list[Ref]  # shards of pixels; for a frozen network, tables of pictures
    origin: str = ""  # where they come from, in words


def same_files(before: Ref, now: pl.DataFrame, root: Root) -> pl.DataFrame:
    """The rows of an earlier table PICTURES whose file is the one that it is in `now`."""
    return parquet.scan(before, root).join(now.lazy(), on=["image_id", "path", "version"], how="semi").collect()
