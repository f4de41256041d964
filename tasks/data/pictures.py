"""Records of a shard's pictures: their files, their pixels, and those that could not be decoded."""

from dataclasses import dataclass
from typing import Any

from storage.refs import Ref


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
