"""Who must not come back: tombstones of users and images that were forgotten.

    <root>/tombstones.json      {"key": ..., "digests": [...]}

A tombstone is a keyed digest of kind and id, never the id: no byte of what was forgotten stays below the root. It is no
secret, though: who has the file and guesses an id can test the guess, as we do with the ids that a source names.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from storage.roots import Root

PATH = "tombstones.json"
KINDS = ("user", "image")
# Where rows of our tables, and of a source, name somebody; a row that does so in one of these is theirs, and goes.
NAMED_IN = {"user": ("user_id", "contact_id"), "image": ("image_id", "similar_image_id", "positive_id", "negative_id")}
CLEARED_IN = {"user": ("owner_id",), "image": ()}  # the row is another's: only the cell goes

Gone = Mapping[str, frozenset[str]]  # ids to forget, by kind


@dataclass(frozen=True)
class Tombstones:
    """The tombstones of one root."""

    key: str = ""
    digests: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """What stands for them all in a cache key; empty where there are none."""
        return hashlib.sha256(" ".join(sorted(self.digests)).encode()).hexdigest() if self.digests else ""

    def hold(self, kind: str, id_: str) -> bool:
        """Whether this user or image was forgotten."""
        return bool(self.digests) and self._digest_of(kind, id_) in self.digests

    def among(self, kind: str, ids: Iterable[str | None]) -> frozenset[str]:
        """Those of the ids that were forgotten."""
        return (
            frozenset(id_ for id_ in ids if id_ is not None and self.hold(kind, id_)) if self.digests else frozenset()
        )

    def among_columns(self, rows: pl.DataFrame) -> Gone:
        """The forgotten ids that the rows name, by kind."""
        return {
            kind: frozenset().union(*(self.among(kind, rows[name].unique()) for name in names if name in rows.columns))
            for kind, names in _columns().items()
        }

    def without(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows that name nobody who was forgotten; a picture's owner is cleared."""
        return strike(rows, self.among_columns(rows)) if self.digests else rows

    def with_(self, gone: Gone) -> "Tombstones":
        """These, and tombstones of some more."""
        kept = self if self.key else Tombstones(secrets.token_hex(16))
        more = {kept._digest_of(kind, id_) for kind, ids in gone.items() for id_ in ids}
        return Tombstones(kept.key, kept.digests | more)

    def _digest_of(self, kind: str, id_: str) -> str:
        return hashlib.sha256(f"{self.key} {kind} {id_}".encode()).hexdigest()


NOBODY = Tombstones()


def read(root: Root) -> Tombstones:
    """The root's tombstones; none where nobody was forgotten yet."""
    try:
        found = json.loads(root.read(PATH))
    except FileNotFoundError:
        return NOBODY
    return Tombstones(found["key"], frozenset(found["digests"]))


def add(gone: Gone, root: Root) -> None:
    """Write tombstones of users and images. Raises ConflictError where somebody else did so at the same moment."""
    entry = root.entry(PATH)
    made = read(root).with_(gone)
    data = json.dumps({"key": made.key, "digests": sorted(made.digests)}, indent=1).encode() + b"\n"
    root.swap(PATH, data, entry.version if entry else None)


def strike(rows: pl.DataFrame, gone: Gone) -> pl.DataFrame:
    """The rows that do not name these users and images; where a row names one as its owner, that cell is emptied."""
    for kind, ids in gone.items():
        for name in NAMED_IN[kind]:
            if name in rows.columns and ids:
                rows = rows.filter(~pl.col(name).is_in(sorted(ids)).fill_null(False))
        for name in CLEARED_IN[kind]:
            if name in rows.columns and ids:
                rows = rows.with_columns(pl.when(~pl.col(name).is_in(sorted(ids))).then(pl.col(name)).alias(name))
    return rows


def _columns() -> dict[str, tuple[str, ...]]:
    return {kind: (*NAMED_IN[kind], *CLEARED_IN[kind]) for kind in NAMED_IN}
