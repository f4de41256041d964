"""Tombstones of forgotten users and images, so that no later ingest brings them back.

    <root>/tombstones.json      {"key": ..., "digests": [...], "sizes": [...]}

A tombstone is a keyed digest of kind and id, never the id: no byte of a forgotten id stays below the root. It is no
secret, though: a reader of the file can test a guessed id, as an ingest tests the ids and texts in a source. The sizes
of ids in bytes spare it most words of a text.
"""

import hashlib
import html
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

import polars as pl

from storage import documents
from storage.roots import Root

PATH = "tombstones.json"
KINDS = ("user", "image")
MEND = "restore it from a backup; only where nobody was ever forgotten, delete it"
# Columns that name a user or an image, in tables and sources: a row with a forgotten id in one of them is deleted.
NAMED_IN = {
    "user": ("user_id", "contact_id", "blocked_id"),
    "image": ("image_id", "similar_image_id", "positive_id", "negative_id"),
}
TEXTS = ("title", "name", "path", "url")  # columns that may be missing, and may name anybody: the cell is emptied
SPELLED_OUT_BYTES = 6  # in running text only ids of at least so many bytes are looked for: a short one is any word
WORDS = 5  # an id of more words, as in 12037949754@N01 there are two, is not found in running text
CLEARED_IN = {"user": ("owner_id", "because"), "image": ("because",)}  # the row is of another id: the cell is emptied


IdsByKind = Mapping[str, frozenset[str]]  # kind -> ids


@dataclass(frozen=True)
class Tombstones:
    """The tombstones of one root."""

    key: str = ""
    digests: frozenset[str] = frozenset()
    sizes: frozenset[int] | None = frozenset()  # how many bytes the ids have; None: not known of all

    @property
    def digest(self) -> str:
        """A digest of all tombstones for cache keys; empty if there are none."""
        return hashlib.sha256(" ".join(sorted(self.digests)).encode()).hexdigest() if self.digests else ""

    def hold(self, kind: str, id_: str) -> bool:
        """Whether this user or image was forgotten."""
        return bool(self.digests) and self._digest_of(kind, id_) in self.digests

    def among(self, kind: str, ids: Iterable[str | None]) -> frozenset[str]:
        """The forgotten ones among these ids."""
        return (
            frozenset(id_ for id_ in ids if id_ is not None and self.hold(kind, id_)) if self.digests else frozenset()
        )

    def name_in(self, text: str) -> bool:
        """Whether a text is a forgotten id, a file of its name, or has a long enough one as a word."""
        return bool(self.digests) and any(
            self.hold(kind, word)
            for word in set(_words_of(text))
            if self.sizes is None or len(word.encode(errors="replace")) in self.sizes
            for kind in KINDS
        )

    def among_columns(self, rows: pl.DataFrame) -> IdsByKind:
        """The forgotten ids in the rows, by kind."""
        return {
            kind: frozenset().union(*(self.among(kind, rows[name].unique()) for name in names if name in rows.columns))
            for kind, names in _columns().items()
        }

    def without(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows without those that name a forgotten user or image; a forgotten owner's cell is emptied."""
        return redact(rows, self.among_columns(rows)) if self.digests else rows

    def with_(self, forgotten: IdsByKind) -> "Tombstones":
        """These tombstones and those of further ids."""
        kept = self if self.key else Tombstones(secrets.token_hex(16))
        more = {kept._digest_of(kind, id_) for kind, ids in forgotten.items() for id_ in ids}
        sizes = {len(id_.encode()) for ids in forgotten.values() for id_ in ids}
        return Tombstones(kept.key, kept.digests | more, None if kept.sizes is None else kept.sizes | sizes)

    def _digest_of(self, kind: str, id_: str) -> str:
        return hashlib.sha256(f"{self.key} {kind} {id_}".encode()).hexdigest()


@dataclass(frozen=True)
class _File:
    """What the file holds."""

    key: str
    digests: frozenset[str]
    sizes: frozenset[int] | None = None  # version 0.2 did not note them


NOBODY = Tombstones()


def read(root: Root) -> Tombstones:
    """The root's tombstones; `NOBODY` if the root has none. Raises DocumentError where some of them may be lost."""
    found = documents.read(root, PATH, _File, MEND)
    return Tombstones(found.key, found.digests, found.sizes) if found else NOBODY


def add(forgotten: IdsByKind, root: Root) -> None:
    """Write tombstones of users and images. Raises ConflictError if another process does so at the same moment."""
    entry = root.entry(PATH)
    tombstones = read(root).with_(forgotten)
    sizes = None if tombstones.sizes is None else sorted(tombstones.sizes)
    data = documents.dump({"key": tombstones.key, "digests": sorted(tombstones.digests), "sizes": sizes})
    root.swap(PATH, data, entry.version if entry else None)


def redact(rows: pl.DataFrame, forgotten: IdsByKind) -> pl.DataFrame:
    """The rows that do not name these users and images; a cell that names one as an owner is emptied."""
    for kind, ids in forgotten.items():
        for name in NAMED_IN[kind]:
            if name in rows.columns and ids:
                rows = rows.filter(~pl.col(name).is_in(sorted(ids)).fill_null(False))
        for name in CLEARED_IN[kind]:
            if name in rows.columns and ids:
                rows = rows.with_columns(pl.when(~pl.col(name).is_in(sorted(ids))).then(pl.col(name)).alias(name))
    return rows


def _words_of(text: str) -> Iterator[str]:
    """What may be an id in a text: all of it, its file's name, its long parts between spaces or slashes or of words."""
    for spelled in {text, unquote(text), html.unescape(text)}:
        yield from (spelled, PurePosixPath(spelled).stem)
        places = [match.span() for match in re.finditer(r"[^\W_]+", spelled)]
        spans = (
            spelled[begin:end] for first, (begin, _) in enumerate(places) for _, end in places[first : first + WORDS]
        )
        words = (*re.split(r"[\s/]+", spelled), *spans)
        yield from (word for word in words if len(word.encode(errors="replace")) >= SPELLED_OUT_BYTES)


def _columns() -> dict[str, tuple[str, ...]]:
    return {kind: (*NAMED_IN[kind], *CLEARED_IN[kind]) for kind in NAMED_IN}
