"""The source directory of the source contract: table files in, community tables and quarantine out."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl
import pyarrow as pa
import yaml
from polars.exceptions import PanicException, PolarsError

from storage.roots import Entry, Root
from storage.settings.directory import EVENT_WEIGHTS, IngestConfig
from storage.settings.reading import TableLimits
from storage.sources import reading, redacted, rules
from storage.sources.findings import Finding, findings
from storage.sources.reading import SUFFIXES, UnfitFileError
from storage.sources.redacted import RedactedRows
from storage.tables.community import (
    COMMUNITY,
    EVENTS,
    FAVORITES,
    GROUPS,
    HIDES,
    IMAGE_FEATURES,
    IMAGES,
    QUARANTINE,
    TOMBSTONES,
    USERS,
)
from storage.tables.schema import Table
from storage.tombstones import NOBODY, IdsByKind, Tombstones

TABLES = (*COMMUNITY, EVENTS, TOMBSTONES)
READ_ONLY = (EVENTS, TOMBSTONES)  # of these no table is kept
REQUIRED = (IMAGES, FAVORITES)
REFERRED = (USERS, IMAGES, GROUPS)  # read first: rows of other tables refer to these
UNREADABLE = "unreadable row"
COLUMNS_FILE = "columns.yaml"
HOW_COLUMNS = "write the names as {favorites: {user_id: userId, image_id: photo_id}}"
SHOWN_NAMES = 12  # at most so many file names in an error
NAMING_USERS = {
    "favorites": ("user_id",),
    "user_tags": ("user_id",),
    "tag_assignments": ("user_id",),
    "contacts": ("user_id", "contact_id"),
    "memberships": ("user_id",),
}


class SourceError(ValueError):
    """A source that cannot be ingested: a table, a column or every favorite is missing, or too many rows are bad.

    `found` is what was read of it, where all tables could be read.
    """

    def __init__(self, message: str, found: "Community | None" = None) -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class Community:
    """A source's valid rows, typed, unique and sorted by key; its quarantined rows; and the report."""

    tables: dict[str, pl.DataFrame]  # by table name; all of COMMUNITY, but image_features only if the source has it
    quarantine: pl.DataFrame
    report: dict[str, Any]


@dataclass(frozen=True)
class _Ingested:
    """The result for one table file: each row was kept, quarantined, redacted, or a duplicate of a kept one."""

    kept: pl.DataFrame
    quarantined: pl.DataFrame
    read: int
    unknown_columns: list[str]
    redacted: RedactedRows
    not_utf8: int = 0  # rows that are unreadable because they are not UTF-8
    notes: tuple[str, ...] = ()  # what was found out about how the file is written


def ingest(source: Root, config: IngestConfig, forgotten: Tombstones = NOBODY) -> Community:
    """The community of a source directory, the rows kept out of it, and the report (plain JSON types).

    No user or image that is `forgotten`, or listed in the source's own table of tombstones, is in any of the three. The
    tables do not depend on the files' format, nor on the order of rows, unless an id is repeated with other values.
    Raises SourceError if a required table or column is missing, a file cannot be read, no favorite is left, or more
    than the allowed share of rows was quarantined.
    """
    files, unknown_files = listing(source)
    ingested: dict[str, _Ingested] = {}
    config = replace(config, columns=_names_of_columns(source, config.columns))
    if TOMBSTONES.name in files:
        ingested[TOMBSTONES.name] = _ingest_table(source, files[TOMBSTONES.name], TOMBSTONES, {}, forgotten, config)
        forgotten = forgotten.with_(redacted.ids_in(ingested[TOMBSTONES.name].kept))
    ids: dict[str, pl.Series] = {}
    for table in sorted((*COMMUNITY, EVENTS), key=lambda table: table not in REFERRED):
        if table.name in files:
            ingested[table.name] = _ingest_table(source, files[table.name], table, ids, forgotten, config)
            if table in REFERRED:
                ids[table.name] = ingested[table.name].kept[table.key[0]]
    tables = {name: result.kept for name, result in ingested.items()}
    _take_events(tables, config)
    pictures = set(tables["images"]["path"].filter(tables["images"]["path"].is_in(unknown_files)))
    pictures |= ingested["images"].redacted.paths  # a picture's file name may be its id
    derived = _complete(tables)
    quarantine = pl.concat(result.quarantined for result in ingested.values()).sort(QUARANTINE.key)
    report = {
        "source": source.address,
        "tables": {
            table.name: _account(files.get(table.name), ingested.get(table.name), tables.get(table.name))
            for table in TABLES
            if table not in READ_ONLY or table.name in files
        },
        "rows_read": sum(result.read for result in ingested.values()),
        "rows_quarantined": len(quarantine),
        "derived": derived,
        "has_user_tags": "user_tags" in files,
        "unknown_files": [name for name in unknown_files if name not in pictures],
    }
    tables = {table.name: tables[table.name] for table in COMMUNITY if table.name in tables}  # in the contract's order
    community = Community(tables, quarantine, report)
    _check_enough_is_left(community, config, ingested)
    return community


def table_files(source: Root) -> dict[str, Entry]:
    """The file of each table, by table name. Raises SourceError for a missing directory or two files of one table."""
    return _listing(source)[0]


def tables_digest(source: Root) -> str:
    """The sha256 of all table files, names and contents, tombstones too, without the pictures."""
    digest = hashlib.sha256()
    names = source.entry(COLUMNS_FILE)
    for entry in sorted([*table_files(source).values(), *([names] if names else [])], key=lambda entry: entry.path):
        with _fetched(source, entry) as file, file.open("rb") as stream:
            digest.update(f"{entry.path} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def tombstones_of(source: Root) -> IdsByKind:
    """The ids in the source's own table of tombstones, by kind. Raises SourceError if it has no such table."""
    entry = table_files(source).get(TOMBSTONES.name)
    if entry is None:
        raise SourceError(f"{source.address}: no table {TOMBSTONES.name}; name the ids to forget, or add the table")
    config = IngestConfig(columns=_names_of_columns(source, {}))
    return redacted.ids_in(_ingest_table(source, entry, TOMBSTONES, {}, NOBODY, config).kept)


def _names_of_columns(source: Root, chosen: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """By table and column, the name that the column has in the table's file where it has another one.

    Raises SourceError for a table or a column that is none of the contract.
    """
    given: Any = {}
    if source.exists(COLUMNS_FILE):
        try:
            given = yaml.safe_load(source.read(COLUMNS_FILE)) or {}
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            raise SourceError(f"{source.url(COLUMNS_FILE)}: cannot be read as YAML; {HOW_COLUMNS}") from error
    tables = {table.name: table for table in TABLES}
    merged: dict[str, dict[str, str]] = {}
    for where, names in ((source.url(COLUMNS_FILE), given), ("ingest.columns", chosen)):
        if not isinstance(names, Mapping) or not all(isinstance(one, Mapping) for one in names.values()):
            raise SourceError(f"{where}: no names of columns; {HOW_COLUMNS}")
        for table, columns in names.items():
            if table not in tables:
                raise SourceError(f"{where}: there is no table {table}; there are {', '.join(tables)}")
            for ours, theirs in columns.items():
                known = tables[table].schema.names
                if ours not in known or not isinstance(theirs, str):
                    raise SourceError(
                        f"{where}: {table}: {{{ours}: {theirs}}} names none of its columns {', '.join(known)}, or is "
                        f"no text; {HOW_COLUMNS}"
                    )
                merged.setdefault(table, {})[ours] = theirs
    return merged


def listing(source: Root) -> tuple[dict[str, Entry], list[str]]:
    """The table files by table name, and the names of all other files in the folder.

    Raises SourceError where the folder or a required table is missing, or two files are of one table.
    """
    files, unknown_files = _listing(source)
    required = [table.name for table in REQUIRED if table is not FAVORITES or EVENTS.name not in files]
    if missing := [name for name in required if name not in files]:
        folders = source.others()
        if parts := next((name for name in missing if name in folders), None):
            raise SourceError(
                f"{source.url(parts)}: a {folders[parts]}, but a table is one file; write its parts as one "
                f"{parts}.parquet, {parts}.csv or {parts}.jsonl, with the columns that stand in names of folders"
            )
        names = [entry.path for entry in files.values()] + unknown_files
        found = ", ".join([*names[:SHOWN_NAMES], *(["..."] if len(names) > SHOWN_NAMES else [])]) or "no file"
        raise SourceError(
            f"{source.address}: no table {' and no '.join(missing)} (found {found}); "
            f"every source needs {' and '.join(table.name + '.parquet, .csv or .jsonl' for table in REQUIRED)}"
        )
    return files, unknown_files


def _listing(source: Root) -> tuple[dict[str, Entry], list[str]]:
    """The table files by table name, and the names of all other files in the folder."""
    entries = {entry.path: entry for entry in source.entries(recursive=False)}
    if not entries and (source.is_remote or not Path(source.address).is_dir()):
        raise SourceError(f"{source.address}: no such source directory; check the address and its permissions")
    others = source.others()
    files: dict[str, Entry] = {}
    for table in TABLES:
        suffixes = SUFFIXES[:1] if table is IMAGE_FEATURES else SUFFIXES
        for name in (*(table.name + suffix for suffix in suffixes), COLUMNS_FILE):
            if name in others:
                raise SourceError(
                    f"{source.url(name)}: a {others[name]}, but a table is one file; put the file itself there"
                )
            if source.leads_out(name):
                target = Path(source.address, name).resolve()
                raise SourceError(
                    f"{source.url(name)}: a link out of the source directory, to {target}; put the file itself there"
                )
        found = [entries.pop(table.name + suffix) for suffix in suffixes if table.name + suffix in entries]
        if len(found) > 1:
            raise SourceError(
                f"{source.address}: table {table.name} stands in {' and in '.join(entry.path for entry in found)}; "
                f"keep one of them"
            )
        if found:
            files[table.name] = found[0]
    entries.pop(COLUMNS_FILE, None)
    # A name that is not UTF-8 has halves of surrogate pairs, which no table and no report can hold.
    return files, sorted(name.encode(errors="surrogateescape").decode(errors="backslashreplace") for name in entries)


@contextmanager
def _fetched(source: Root, entry: Entry) -> Iterator[Path]:
    """A local file with the bytes of a table file; from S3 a copy, kept by version.

    Raises SourceError if the file changed since it was listed: unlike files of a root, a source's files may change.
    """
    yield source.local(entry.path)
    if source.entry(entry.path) != entry:
        raise SourceError(f"{source.url(entry.path)}: the file changed while it was read; run again")


def read_table(file: Path, table: Table, limits: TableLimits) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The valid rows of a file as those of a source's table, each key once, and the quarantined ones; no id is checked.

    Raises SourceError if the file is missing, cannot be read, or lacks a column.
    """
    if not file.is_file():
        raise SourceError(f"{file}: no such file")
    ingested = _ingest_file(file, str(file), table, {}, NOBODY, limits)
    return ingested.kept, ingested.quarantined


def _ingest_table(
    source: Root,
    entry: Entry,
    table: Table,
    ids: Mapping[str, pl.Series],
    forgotten: Tombstones,
    config: IngestConfig,
) -> _Ingested:
    with _fetched(source, entry) as file:
        names = config.columns.get(table.name, {})
        return _ingest_file(file, source.url(entry.path), table, ids, forgotten, config, names)


def _ingest_file(
    file: Path,
    url: str,
    table: Table,
    ids: Mapping[str, pl.Series],
    forgotten: Tombstones,
    limits: TableLimits,
    names: Mapping[str, str] = MappingProxyType({}),
) -> _Ingested:
    columns = table.schema.names
    needed = [name for name in columns if name in table.key or name == "feature"]
    theirs = {name: names.get(name, name) for name in columns}
    if twice := sorted({name for name in theirs.values() if list(theirs.values()).count(name) > 1}):
        raise SourceError(f"{url}: {', '.join(twice)} is to be two of {', '.join(columns)}; name one column for each")
    try:
        found = reading.read(file, list(theirs.values()), limits)
        if missing := [name for name in columns if name in {*needed, *names} and theirs[name] not in found.columns]:
            raise SourceError(_lacks(url, table, [theirs[name] for name in missing], found.columns, needed))
        rows = found.rows.rename({old: new for new, old in theirs.items() if old in found.columns})
        kept_out = redacted.redact(rows, table, forgotten)
        checked, broken = rules.check(kept_out.rows, table, ids, limits.max_text_bytes)
    except SourceError:
        raise
    except UnfitFileError as error:
        raise SourceError(f"{url}: cannot be read as {reading.suffix_of(file.name)[1:]}: {error}") from error
    except (ValueError, OSError, pa.ArrowException, PolarsError, PanicException) as error:
        form = reading.suffix_of(file.name)[1:]
        why = getattr(error, "strerror", None) or "it is damaged, or was not written to its end; write it again"
        raise SourceError(f"{url}: cannot be read as {form}: {why}") from error
    # Events repeat, and count each time.
    kept, contradicting = rules.merge(checked, table) if table is not EVENTS else (checked.drop("row"), broken.clear())
    if table is TOMBSTONES:  # who is to be forgotten is not written down
        broken = broken.with_columns(text=pl.lit(None, pl.String))
    # An unreadable line may name a forgotten id: if there are tombstones, it is counted and not shown.
    is_shown = not forgotten.digests and table is not TOMBSTONES
    unreadable = pl.DataFrame(
        [(row, UNREADABLE, line if is_shown else None, None) for row, line in found.broken],
        {"row": pl.Int64, "reason": pl.String, "value": pl.String, "text": pl.String},
        orient="row",
    )
    return _Ingested(
        kept,
        rules.quarantine(table, unreadable, broken, contradicting),
        len(checked) + len(broken) + len(unreadable) + kept_out.forgotten,
        _unknown([name for name in found.columns if name not in theirs.values()]),
        kept_out,
        found.not_utf8,
        found.notes,
    )


def _lacks(url: str, table: Table, missing: Sequence[str], found: Sequence[str], needed: Sequence[str]) -> str:
    """That a file lacks columns, and how to say which column of another name is meant."""
    alike = {re.sub(r"[\W_]", "", name).lower(): name for name in found}
    guess = alike.get(missing[0].replace("_", ""), "ITS_NAME")
    guess = guess if guess.isidentifier() else json.dumps(guess)
    return (
        f"{url}: no column {', '.join(missing)} (found {', '.join(found)}); {table.name} needs {', '.join(needed)}; "
        f"if one has another name, add --set 'ingest.columns={{{table.name}: {{{missing[0]}: {guess}}}}}' "
        f"or write it in {COLUMNS_FILE}"
    )


def _unknown(names: Sequence[str]) -> list[str]:
    """The names of columns, those without a name counted."""
    named = [name for name in names if name.strip()]
    unnamed = len(names) - len(named)
    return [*named, *([f"({unnamed} without a name)"] if unnamed else [])]


def _take_events(tables: dict[str, pl.DataFrame], config: IngestConfig) -> None:
    """Add what the events amount to to the favorites and the hides."""
    if EVENTS.name not in tables:
        return
    weights = {**EVENT_WEIGHTS, **config.event_weights}
    for table, rows in zip(
        (FAVORITES, HIDES), rules.of_events(tables.pop(EVENTS.name), weights, config.favorite_weight), strict=True
    ):
        if table.name in tables:
            together = pl.concat([tables[table.name], rows.select(tables[table.name].columns)]).with_row_index("row")
            rows, _ = rules.merge(together, table)
        tables[table.name] = rows.select(list(rules.frame_schema(table)))


def _complete(tables: dict[str, pl.DataFrame]) -> list[str]:
    """Add the tables that the source lacks; returns the names of those derived from other tables."""
    derived = []
    if "users" not in tables:
        named = [tables[name][column] for name, columns in NAMING_USERS.items() if name in tables for column in columns]
        tables["users"] = _rows_of(USERS, named)
        derived.append("users")
    if "groups" not in tables and "memberships" in tables:
        tables["groups"] = _rows_of(GROUPS, [tables["memberships"]["group_id"]])
        derived.append("groups")
    for table in COMMUNITY:
        if table is not IMAGE_FEATURES:
            tables.setdefault(table.name, pl.DataFrame(schema=rules.frame_schema(table)))
    return derived


def _rows_of(table: Table, ids: Sequence[pl.Series]) -> pl.DataFrame:
    """One row per id, every other column null."""
    distinct = pl.concat([column.unique().alias(table.key[0]) for column in ids]).unique().sort().to_frame()
    optional = {name: type_ for name, type_ in rules.frame_schema(table).items() if name not in table.key}
    return distinct.with_columns(pl.lit(None, type_).alias(name) for name, type_ in optional.items())


def _account(entry: Entry | None, ingested: _Ingested | None, rows: pl.DataFrame | None) -> dict[str, Any]:
    """The report's entry for a table."""
    kept = len(rows) if rows is not None else len(ingested.kept) if ingested else 0
    if entry is None or ingested is None:
        return {
            "file": None,
            "missing": True,
            "read": 0,
            "kept": kept,
            "duplicates": 0,
            "forgotten": 0,
            "cleared": 0,
            "quarantined": {},
            "unknown_columns": [],
            "notes": [],
        }
    return {
        "file": entry.path,
        "missing": False,
        "read": ingested.read,
        "kept": kept,
        "duplicates": ingested.read - len(ingested.kept) - len(ingested.quarantined) - ingested.redacted.forgotten,
        "forgotten": ingested.redacted.forgotten,
        "cleared": ingested.redacted.cleared,
        "quarantined": dict(sorted(Counter(ingested.quarantined["reason"]).items())),
        "unknown_columns": ingested.unknown_columns,
        "notes": list(ingested.notes),
    }


def _check_enough_is_left(community: Community, config: IngestConfig, ingested: Mapping[str, _Ingested]) -> None:
    report = community.report
    source, accounts = report["source"], report["tables"]
    reasons = "; ".join(_sentence(one, accounts[one.table], ingested) for one in findings(community.quarantine))
    if community.tables["favorites"].is_empty():
        of_favorites = [accounts[name] for name in ("favorites", EVENTS.name) if name in ingested]
        if not (read := sum(account["read"] for account in of_favorites)):
            files = " and ".join(account["file"] for account in of_favorites)
            raise SourceError(f"{source}/{files}: no row is in it, only a header", community)
        raise SourceError(
            f"{source}: no favorite is left of {read} ({reasons or 'nothing was quarantined'}); correct the source",
            community,
        )
    if report["rows_quarantined"] > config.max_quarantined_share * report["rows_read"]:
        raise SourceError(
            f"{source}: {report['rows_quarantined']} of {report['rows_read']} rows break a rule, "
            f"more than the share of {config.max_quarantined_share} that is allowed ({reasons}); "
            f"correct the source, or raise ingest.max_quarantined_share",
            community,
        )


def _sentence(finding: Finding, account: Mapping[str, Any], ingested: Mapping[str, _Ingested]) -> str:
    """A reason with its count, the first row in its file, and what to do."""
    not_utf8 = ingested[finding.table].not_utf8 if finding.reason == UNREADABLE else 0
    return (
        f"{finding.table}: {finding.count} of {account['read']} rows {finding.reason}{_encoding(not_utf8)}, "
        f"{account['file']} {finding.example}" + ("" if not_utf8 else f", {finding.advice}")
    )


def _encoding(rows: int) -> str:
    """What to add to a count of unreadable rows of which so many are not UTF-8."""
    ways = "save the file as UTF-8, or name it as in --set ingest.encoding=cp1252"
    return f" ({rows} not UTF-8, but Latin-1, Windows-1252 or another encoding: {ways})" if rows else ""
