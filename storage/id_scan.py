"""Scan files for ids: which of some users and images a file names, for every kind of file below a root.

Tables, shards and JSON are read value by value, so that user 7, image 7 and the number 7 are distinct. In running text
a short id looks like a number or a word, so only ids of six bytes and more are searched there.
"""

import html
import json
import mmap
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.tombstones import CLEARED_IN, NAMED_IN, SPELLED_OUT_BYTES, IdsByKind

DATABASES = (
    ".db",
    ".db-wal",
    ".db-shm",
    ".db-journal",
)  # searched byte by byte for any id; no result is lost with one
COMMON_TO_IMAGES = ("tag", "tags", "token", "tokens", "interests")  # tags, or image ids in a community without tags
NO_IDS = ("group_id", "model")
ROWS = "samples"  # in a report: rows of the source, as JSON, that were kept out

Found = frozenset[tuple[str, str]]  # kind and id


class IdScan:
    """A search for some users and images, compiled once for many files."""

    def __init__(self, ids: IdsByKind) -> None:
        self.ids = ids
        self.named = frozenset((kind, id_) for kind, ids_of_kind in ids.items() for id_ in ids_of_kind)
        self._kinds: dict[str, list[tuple[str, str]]] = {}
        for kind, id_ in sorted(self.named):
            self._kinds.setdefault(id_, []).append((kind, id_))
        spellings = {spelling: id_ for id_ in self._kinds for spelling in _spellings(id_)}
        self._id_of = {spelling.encode(): id_ for spelling, id_ in spellings.items()}
        longest_first = sorted(self._id_of, key=lambda spelling: (-len(spelling), spelling))
        long = [text for text in longest_first if len(self._id_of[text].encode()) >= SPELLED_OUT_BYTES]
        self._words = _any_of(long, rb"(?<![0-9A-Za-z])%s(?![0-9A-Za-z])")
        self._bytes = _any_of(longest_first, b"%s")

    def in_file(self, file: Path, path: str) -> Found:
        """The ids in the bytes of a local file, or in `path`, its path below the root.

        Raises ValueError for a damaged table or shard.
        """
        try:
            return self._in_bytes_of(file, path) | self.in_text(path)
        except pa.ArrowException as error:
            raise ValueError(
                f"{path}: damaged, so it cannot be scanned for ids ({error}); delete it, and the next run that needs "
                f"it writes it again"
            ) from error

    def _in_bytes_of(self, file: Path, path: str) -> Found:
        suffix = PurePosixPath(path).suffix
        if suffix == ".parquet":
            return self._in_parquet(file)
        if suffix == ".arrow":
            return self._in_shard(file)
        if suffix in DATABASES:
            return self._in_bytes(file, self._bytes)
        if suffix == ".safetensors":
            return frozenset()  # numbers only; tasks/upkeep/forget.py deletes those whose rows include a forgotten id
        if path.startswith("exports/") and PurePosixPath(path).parent.name == "report" and suffix == ".json":
            return self._in_report(file)
        if path.startswith("exports/") and suffix == ".json":
            return self._in_manifest(file)
        if suffix == ".json" or path.startswith("cache/"):
            return self._in_json(file)
        return self._in_bytes(file, self._words)

    def in_text(self, text: str) -> Found:
        """The ids that equal a text or, if long enough, are a word in it."""
        found = [named for id_ in (text, PurePosixPath(text).stem) for named in self._kinds.get(id_, ())]
        return frozenset(found) | self.in_words(text)

    def in_words(self, text: str) -> Found:
        """Who is named by a word of a running text; short ids are not looked for."""
        return self._matched(self._words, text.encode(errors="replace"))

    def in_value(self, value: Any) -> Found:
        """The ids in the texts of a JSON value; a text that is JSON itself is parsed."""
        return frozenset().union(*(self.in_text(text) for text in _texts_of(value)))

    def _in_parquet(self, file: Path) -> Found:
        found: Found = frozenset()
        with pq.ParquetFile(file, memory_map=True) as parquet:
            names = [field.name for field in parquet.schema_arrow if _is_text(field.type)]
            for batch in parquet.iter_batches(columns=names):
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    found |= self._in_column(name, column)
        return found

    def _in_column(self, name: str, column: pa.Array) -> Found:
        if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
            column = column.flatten()
        values = pc.unique(column).drop_null()
        kinds, is_id = _kinds_in(name)
        if is_id:
            return self._equal(values, kinds)
        return frozenset(named for text in values.to_pylist() for named in self.in_value(text) if named[0] in kinds)

    def _equal(self, values: pa.Array, kinds: Iterable[str]) -> Found:
        found = set()
        for kind in kinds:
            wanted = pa.array(sorted(self.ids.get(kind, ())), values.type)
            found |= {(kind, id_) for id_ in values.filter(pc.is_in(values, wanted)).to_pylist()}
        return frozenset(found)

    def _in_shard(self, file: Path) -> Found:
        with pa.memory_map(str(file)) as source:
            return self._equal(pa.ipc.open_file(source).get_batch(0)["image_id"], ["image"])

    def _in_json(self, file: Path) -> Found:
        try:
            return self.in_value(json.loads(file.read_bytes()))
        except (ValueError, RecursionError):
            return self._in_bytes(file, self._words)

    def _in_manifest(self, file: Path) -> Found:
        """The ids in the ingest report, the only part with words of the source; a user may be called `images`."""
        try:
            ingest = json.loads(file.read_bytes()).get("ingest", {})
            names = [
                ingest.get("unknown_files", []),
                *(table["unknown_columns"] for table in ingest.get("tables", {}).values()),
            ]
        except (
            ValueError,
            RecursionError,
            AttributeError,
            KeyError,
            TypeError,
        ):  # damaged: any bytes of it may be the id's
            return self._in_bytes(file, self._words)
        return self.in_value(names)

    def _in_report(self, file: Path) -> Found:
        """Ids and tokens cell by cell, as in tables; the rest is running text, as the page that is rendered from it."""
        try:
            cells = list(_cells_of(json.loads(file.read_bytes())))
        except (ValueError, RecursionError):
            return self._in_bytes(file, self._words)
        found = {(kind, id_) for column, id_ in cells if column != ROWS for kind in _kinds_in(column)[0]} & self.named
        for text in {text for column, text in cells if column == ROWS}:
            found |= self.in_value(text) or self._quoted_in(text)
        return frozenset(found) | self._in_bytes(file, self._words)

    def _quoted_in(self, row: str) -> Found:
        """The ids that stand as JSON in a row that is none as a whole: it may have been cut."""
        return frozenset(named for named in self.named if json.dumps(named[1], ensure_ascii=False) in row)

    def _in_bytes(self, file: Path, pattern: re.Pattern[bytes] | None) -> Found:
        if pattern is None or not file.stat().st_size:
            return frozenset()
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return self._matched(pattern, content)

    def _matched(self, pattern: re.Pattern[bytes] | None, content: Any) -> Found:
        if pattern is None:
            return frozenset()
        ids = {self._id_of[match[0]] for match in pattern.finditer(content)}
        return frozenset(named for id_ in ids for named in self._kinds[id_])


def _spellings(id_: str) -> set[str]:
    """An id as written in plain text, JSON, JSON within JSON, HTML and URLs."""
    once, readable = json.dumps(id_)[1:-1], json.dumps(id_, ensure_ascii=False)[1:-1]
    escaped = html.escape(id_, quote=False)
    quoted = {html.escape(id_), escaped, escaped.replace("'", "&#39;").replace('"', "&#34;")}
    return {id_, once, readable, json.dumps(once)[1:-1], quote(id_), quote(id_, safe=""), *quoted}


def _any_of(texts: list[bytes], around: bytes) -> re.Pattern[bytes] | None:
    return re.compile(around % (b"(?:" + b"|".join(map(re.escape, texts)) + b")")) if texts else None


def _is_text(type_: pa.DataType) -> bool:
    inner = type_.value_type if pa.types.is_list(type_) or pa.types.is_large_list(type_) else type_
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))


def _kinds_in(column: str) -> tuple[list[str], bool]:
    """The kinds of id that a column may hold, and whether its cells are nothing but ids."""
    if kinds := [kind for kind in NAMED_IN if column in (*NAMED_IN[kind], *CLEARED_IN[kind])]:
        return kinds, True
    if column in COMMON_TO_IMAGES:
        return ["image"], True
    return ([], True) if column in NO_IDS else (list(NAMED_IN), False)


def _cells_of(value: Any, column: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a JSON value that stands where ids or whole rows stand, with the name of its field."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _cells_of(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _cells_of(item, column)
    elif isinstance(value, str) and (column == ROWS or _kinds_in(column)[1]):
        yield column, value


def _texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts_of(item)
    elif isinstance(value, str):
        yield value
        if value[:1] in ("{", "["):
            with suppress(ValueError):
                yield from _texts_of(json.loads(value))
