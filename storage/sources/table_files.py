"""Read one table of a source: its files, one or the parts in a folder, with every row checked and each key once."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from polars.exceptions import PanicException, PolarsError

from storage.roots import Entry, Root
from storage.settings.reading import TableLimits
from storage.sources import reading, redacted, rules
from storage.sources.reading import SUFFIXES, UnfitFileError
from storage.tables.community import EVENTS, IMAGE_FEATURES, TOMBSTONES
from storage.tables.schema import Table
from storage.tombstones import NOBODY, Tombstones

UNREADABLE = "unreadable row"
COLUMNS_FILE = "columns.yaml"
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"  # a missing value in the name of a folder


class SourceError(ValueError):
    """A source that cannot be ingested: a table, a column or every favorite is missing, or too many rows are bad.

    `found` is the Community that was read of it, where all tables could be read.
    """

    def __init__(self, message: str, found: Any = None) -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class TableFiles:
    """Where one table stands: in a file, or in the parts in a folder, in order of their paths."""

    path: str  # of the file, or of the folder with a slash at its end
    parts: tuple[Entry, ...]


@dataclass(frozen=True)
class Part:
    """A local file with rows of a table."""

    file: Path
    url: str
    values: Mapping[str, str | None]  # of columns that are the same in all its rows


@dataclass(kw_only=True)
class Ingested:
    """A table's rows: each was kept, quarantined, forgotten, or a duplicate of a kept one."""

    kept: pl.DataFrame = field(default_factory=pl.DataFrame)
    quarantined: pl.DataFrame = field(default_factory=pl.DataFrame)
    read: int = 0
    unknown_columns: dict[str, None] = field(default_factory=dict)
    forgotten: int = 0  # rows taken out, as they name a user or an image that is forgotten
    cleared: int = 0  # rows whose owner, and texts with the owner's id, were emptied
    paths: frozenset[str] = frozenset()  # of the images taken out
    not_utf8: int = 0  # rows that are unreadable because they are not UTF-8
    notes: dict[str, None] = field(default_factory=dict)  # what was found out about how the files are written


def files_of(source: Root, tables: Sequence[Table]) -> tuple[dict[str, TableFiles], list[str]]:
    """The files of each table, by table name, and the names of all other files in the folder.

    Raises SourceError for a missing directory, two files of one table, or one that is no file of the source.
    """
    entries = {entry.path: entry for entry in source.entries(recursive=False)}
    if not entries and (source.is_remote or not Path(source.address).is_dir()):
        raise SourceError(
            f"{source.address}: no such source directory; {_near(source)}check the address and its permissions"
        )
    others = source.others()
    _refuse_foreign(source, COLUMNS_FILE, others)
    files: dict[str, TableFiles] = {}
    for table in tables:
        suffixes = SUFFIXES[:1] if table is IMAGE_FEATURES else SUFFIXES
        found = []
        for name in [table.name + suffix for suffix in suffixes]:
            if others.get(name) == "folder":
                if not (parts := _parts(source, name, suffixes)):
                    raise SourceError(f"{source.url(name)}: a folder without a table file; put the file itself there")
                found.append(TableFiles(f"{name}/", parts))
            else:
                _refuse_foreign(source, name, others)
            if name in entries:
                found.append(TableFiles(name, (entries.pop(name),)))
        if not found and others.get(table.name) == "folder" and (parts := _parts(source, table.name, suffixes)):
            found.append(TableFiles(f"{table.name}/", parts))
        if len(found) > 1:
            raise SourceError(
                f"{source.address}: table {table.name} stands in {' and in '.join(one.path for one in found)}; "
                f"keep one of them"
            )
        if found:
            files[table.name] = found[0]
    entries.pop(COLUMNS_FILE, None)
    # A name that is not UTF-8 has halves of surrogate pairs, which no table and no report can hold.
    return files, sorted(name.encode(errors="surrogateescape").decode(errors="backslashreplace") for name in entries)


def read_table(file: Path, table: Table, limits: TableLimits) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The valid rows of a file as those of a source's table, each key once, and the quarantined ones; no id is checked.

    Raises SourceError if the file is missing, cannot be read, or lacks a column.
    """
    if not file.is_file():
        raise SourceError(f"{file}: no such file")
    ingested = _ingest([Part(file, str(file), {})], table, {}, NOBODY, limits)
    return ingested.kept, ingested.quarantined


def ingest_table(
    source: Root,
    files: TableFiles,
    table: Table,
    ids: Mapping[str, pl.Series],
    forgotten: Tombstones,
    limits: TableLimits,
    names: Mapping[str, str],
    *,
    fetches: bool = False,
) -> Ingested:
    """What is kept of a table, and what is not. Rows are numbered through all its files.

    Args:
        ids: the ids that exist, by table: a row that names another one is quarantined.
        names: the names of columns in the files, where they are others.
        fetches: whether the path of an image may be an address.
    """

    def parts() -> Iterator[Part]:
        for entry in files.parts:
            with fetched(source, entry) as file:
                yield Part(file, source.url(entry.path), _values(files, entry))

    ingested = _ingest(parts(), table, ids, forgotten, limits, names, fetches=fetches)
    if files.path.endswith("/"):
        ingested.notes = {f"{len(files.parts)} files": None, **ingested.notes}
    return ingested


def _ingest(
    parts: Iterable[Part],
    table: Table,
    ids: Mapping[str, pl.Series],
    forgotten: Tombstones,
    limits: TableLimits,
    names: Mapping[str, str] = MappingProxyType({}),
    *,
    fetches: bool = False,
) -> Ingested:
    columns = table.schema.names
    theirs = {name: names.get(name, name).strip() for name in columns}
    known = list(theirs.values())
    words, result = rules.words_of(table, ids), Ingested()
    checked, broken, unreadable = list[pl.DataFrame](), list[pl.DataFrame](), list[tuple[int, str]]()
    together: list[pl.DataFrame] = []

    def check(rows: pl.DataFrame) -> None:
        left = redacted.redact(rows.lazy(), table, forgotten)
        kept, bad = rules.check(left.rows, table, words, limits.max_text_bytes, fetches=fetches)
        checked.append(kept if len(table.key) == 1 else kept.drop("row"))
        broken.append(bad)
        result.forgotten, result.cleared = result.forgotten + left.forgotten, result.cleared + left.cleared
        result.paths |= left.paths

    for part in parts:
        with _errors_of(part):
            if twice := sorted({name for name in known if known.count(name) > 1}):
                raise SourceError(
                    f"{part.url}: {', '.join(twice)} is to be two of {', '.join(columns)}; name one column for each"
                )
            found, first = reading.read(part.file, known, limits), result.read
            for chunk in found.chunks:
                if found.is_headed:
                    _refuse_lacking(part, table, theirs, names, [*found.columns, *part.values])
                result.read += len(chunk)
                values = {name: value for name, value in part.values.items() if name not in chunk.columns}
                chunk = chunk.with_columns(
                    pl.col("row") + first,
                    *(pl.lit(value, pl.String).alias(name) for name, value in values.items() if name in known),
                )
                chunk = chunk.rename({old: new for new, old in theirs.items() if old in chunk.columns})
                if table is IMAGE_FEATURES:  # their lengths are compared with each other
                    feature = rules.cell_of("feature", chunk.schema["feature"], False)
                    together.append(chunk.with_columns(feature.alias("feature")))
                else:
                    check(chunk)
            _refuse_lacking(part, table, theirs, names, [*found.columns, *part.values])
            result.read += len(found.broken)
            if result.read > limits.max_rows:
                raise UnfitFileError(reading.too_many(limits))
        unreadable += [(first + row, line) for row, line in found.broken]
        result.not_utf8 += found.not_utf8
        result.notes |= dict.fromkeys(found.notes)
        unknown = [name for name in [*found.columns, *part.values] if name not in known]
        result.unknown_columns |= dict.fromkeys(_unknown(unknown))
        result.notes |= dict.fromkeys(
            _alike(table, [name for name in theirs if theirs[name] not in found.columns], unknown)
        )
        last = part
    if together:
        with _errors_of(last):
            check(pl.concat(together, how="vertical_relaxed"))
    if table is EVENTS:  # events repeat, and count each time
        result.kept, contradicting = rules.together(checked), broken[0].clear()
    else:
        result.kept, contradicting = rules.merge(checked, table)
    if table is TOMBSTONES:  # who is to be forgotten is not written down
        broken = [bad.with_columns(text=pl.lit(None, pl.String)) for bad in broken]
    # An unreadable line may name a forgotten id: if there are tombstones, it is counted and not shown.
    is_shown = not forgotten.digests and table is not TOMBSTONES
    lines = pl.DataFrame(
        [(row, UNREADABLE, line if is_shown else None, None) for row, line in unreadable],
        {"row": pl.Int64, "reason": pl.String, "value": pl.String, "text": pl.String},
        orient="row",
    )
    result.quarantined = rules.quarantine(table, lines, *broken, contradicting)
    return result


def _near(source: Root) -> str:
    """Which folders beside a missing one are called almost like it."""
    beside = Path(source.address).parent
    if source.is_remote or not beside.is_dir():
        return ""
    names = get_close_matches(Path(source.address).name, [path.name for path in beside.iterdir() if path.is_dir()])
    return f"did you mean {' or '.join(names)}? " if names else ""


def _refuse_lacking(
    part: Part, table: Table, theirs: Mapping[str, str], names: Mapping[str, str], found: Sequence[str]
) -> None:
    """Raises SourceError where a column is missing, with how to say which column of another name is meant."""
    needed = [name for name in theirs if name in table.key or name == "feature"]
    missing = [name for name in theirs if name in {*needed, *names} and theirs[name] not in found]
    if not missing:
        return
    same = _by_letters(found)
    # Names are given for all columns of the table that are alike, so that one error leads to one setting for it.
    wanted = [name for name in theirs if name in missing or (theirs[name] not in found and _letters(name) in same)]
    guesses = {
        name: same.get(_letters(name), f"NAME{missing.index(name) or ''}" if name in missing else "") for name in wanted
    }
    raise SourceError(
        f"{part.url}: no column {', '.join(theirs[name] for name in missing)} (found {', '.join(found)}); "
        f"{table.name} needs {', '.join(needed)}; if they have other names, add "
        f"{_as_setting(table, guesses)} or write them in {COLUMNS_FILE}"
    )


def _alike(table: Table, missing: Sequence[str], unknown: Sequence[str]) -> list[str]:
    """A note where an ignored column differs from a missing one in capital letters, spaces or underscores alone."""
    same = _by_letters(unknown)
    guesses = {name: same[_letters(name)] for name in missing if _letters(name) in same}
    return [f"has no {', '.join(guesses)}; to take what is alike, add {_as_setting(table, guesses)}"] if guesses else []


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _by_letters(names: Sequence[str]) -> dict[str, str]:
    return {_letters(name): name for name in names}


def _as_setting(table: Table, names: Mapping[str, str]) -> str:
    shown = ", ".join(f"{name}: {one if one.isidentifier() else json.dumps(one)}" for name, one in names.items())
    return f"--set 'ingest.columns={{{table.name}: {{{shown}}}}}'"


def _unknown(names: Sequence[str]) -> list[str]:
    """The names of columns, those without a name counted."""
    named = [name for name in names if name.strip()]
    unnamed = len(names) - len(named)
    return [*named, *([f"({unnamed} without a name)"] if unnamed else [])]


@contextmanager
def _errors_of(part: Part) -> Iterator[None]:
    """What goes wrong with a file as a SourceError that names it, without the words of another library."""
    form = reading.suffix_of(part.file.name)[1:]
    try:
        yield
    except SourceError:
        raise
    except UnfitFileError as error:
        raise SourceError(f"{part.url}: cannot be read as {form}: {error}") from error
    except (ValueError, OSError, pa.ArrowException, PolarsError, PanicException) as error:
        why = getattr(error, "strerror", None) or "it is damaged, or was not written to its end; write it again"
        raise SourceError(f"{part.url}: cannot be read as {form}: {why}") from error


def _refuse_foreign(source: Root, name: str, others: Mapping[str, str] = MappingProxyType({})) -> None:
    """Raises SourceError for a name that is no file, or a link out of the source directory."""
    if name in others:
        raise SourceError(f"{source.url(name)}: a {others[name]}, but a table is a file; put the file itself there")
    if source.leads_out(name):
        target = Path(source.address, name).resolve()
        raise SourceError(
            f"{source.url(name)}: a link out of the source directory, to {target}; put the file itself there"
        )


def _parts(source: Root, folder: str, suffixes: Sequence[str]) -> tuple[Entry, ...]:
    """The table files in a folder, in order of their paths; none whose names begin with _ or ., as _SUCCESS does."""
    found = []
    for entry in source.entries(folder):
        names = entry.path.removeprefix(f"{folder}/").split("/")
        if entry.path.endswith(tuple(suffixes)) and not any(name.startswith(("_", ".")) for name in names):
            _refuse_foreign(source, entry.path)
            found.append(entry)
    return tuple(found)


def _values(files: TableFiles, part: Entry) -> dict[str, str | None]:
    """What the names of folders say of a part's rows, as date=2024-03-01 does, by column."""
    folders = part.path.removeprefix(files.path).split("/")[:-1]
    values = dict(folder.split("=", 1) for folder in folders if "=" in folder)
    return {name: None if value == HIVE_NULL else unquote(value) for name, value in values.items()}


@contextmanager
def fetched(source: Root, entry: Entry) -> Iterator[Path]:
    """A local file with the bytes of a table file; from S3 a copy, kept by version.

    Raises SourceError if the file changed since it was listed: unlike files of a root, a source's files may change.
    """
    yield source.local(entry.path)
    if source.entry(entry.path) != entry:
        raise SourceError(f"{source.url(entry.path)}: the file changed while it was read; run again")
