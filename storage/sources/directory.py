"""The source directory of the source contract: table files in, community tables and quarantine out."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import yaml

from storage.roots import Root
from storage.settings.directory import EVENT_WEIGHTS, IngestConfig
from storage.sources import redacted, rules
from storage.sources.findings import Finding, findings
from storage.sources.table_files import (
    COLUMNS_FILE,
    UNREADABLE,
    Ingested,
    SourceError,
    TableFiles,
    fetched,
    files_of,
    ingest_table,
)
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
HOW_COLUMNS = "write the names as {favorites: {user_id: userId, image_id: photo_id}}"
SHOWN_NAMES = 12  # at most so many file names in an error
NAMING_USERS = {
    "favorites": ("user_id",),
    "user_tags": ("user_id",),
    "tag_assignments": ("user_id",),
    "contacts": ("user_id", "contact_id"),
    "memberships": ("user_id",),
}


@dataclass(frozen=True)
class Community:
    """A source's valid rows, typed, unique and sorted by key; its quarantined rows; and the report."""

    tables: dict[str, pl.DataFrame]  # by table name; all of COMMUNITY, but image_features only if the source has it
    quarantine: pl.DataFrame
    report: dict[str, Any]


def ingest(source: Root, config: IngestConfig, forgotten: Tombstones = NOBODY, *, fetches: bool = False) -> Community:
    """The community of a source directory, the rows kept out of it, and the report (plain JSON types).

    No user or image that is `forgotten`, or listed in the source's own table of tombstones, is in any of the three. The
    tables do not depend on the files' format, nor on the order of rows, unless an id is repeated with other values.
    With `fetches` the path of an image may be an http address. Raises SourceError if a required table or column is
    missing, a file cannot be read, no favorite is left, or more than the allowed share of rows was quarantined.
    """
    files, unknown_files = listing(source)
    ingested: dict[str, Ingested] = {}
    names_of = _names_of_columns(source, config.columns)
    ids: dict[str, pl.Series] = {}

    def take(table: Table) -> None:
        names = names_of.get(table.name, {})
        ingested[table.name] = ingest_table(
            source, files[table.name], table, ids, forgotten, config, names, fetches=fetches
        )

    if TOMBSTONES.name in files:
        take(TOMBSTONES)
        forgotten = forgotten.with_(redacted.ids_in(ingested[TOMBSTONES.name].kept))
    for table in sorted((*COMMUNITY, EVENTS), key=lambda table: table not in REFERRED):
        if table.name in files:
            take(table)
            if table in REFERRED:
                ids[table.name] = ingested[table.name].kept[table.key[0]]
    tables = {name: result.kept for name, result in ingested.items()}
    _take_events(tables, config)
    pictures = set(tables["images"]["path"].filter(tables["images"]["path"].is_in(unknown_files)))
    pictures |= ingested["images"].paths  # a picture's file name may be its id
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


def listing(source: Root) -> tuple[dict[str, TableFiles], list[str]]:
    """The files of each table by its name, and the names of all other files in the folder.

    Raises SourceError where the folder or a required table is missing, or a table stands in two places.
    """
    files, unknown_files = files_of(source, TABLES)
    required = [table.name for table in REQUIRED if table is not FAVORITES or EVENTS.name not in files]
    if missing := [name for name in required if name not in files]:
        names = [table.path for table in files.values()] + unknown_files
        found = ", ".join([*names[:SHOWN_NAMES], *(["..."] if len(names) > SHOWN_NAMES else [])]) or "no file"
        alike = next((name for name in unknown_files if name.lower().partition(".")[0] in missing), None)
        raise SourceError(
            f"{source.address}: no table {' and no '.join(missing)} (found {found}); "
            f"every source needs {' and '.join(table.name + '.parquet, .csv or .jsonl' for table in REQUIRED)}"
            + ("; of an image its image_id is enough, and path where it has a picture" if "images" in missing else "")
            + (f"; {alike} is not read: capital letters in names count, and so do their endings" if alike else "")
        )
    return files, unknown_files


def table_files(source: Root) -> dict[str, TableFiles]:
    """The files of each table, by its name. Raises SourceError for a missing directory or two files of one table."""
    return files_of(source, TABLES)[0]


def tables_digest(source: Root) -> str:
    """The sha256 of all table files, names and contents, tombstones too, without the pictures."""
    digest = hashlib.sha256()
    names = source.entry(COLUMNS_FILE)
    entries = [entry for table in table_files(source).values() for entry in table.parts]
    for entry in sorted([*entries, *([names] if names else [])], key=lambda entry: entry.path):
        with fetched(source, entry) as file, file.open("rb") as stream:
            digest.update(f"{entry.path} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def tombstones_of(source: Root) -> IdsByKind:
    """The ids in the source's own table of tombstones, by kind. Raises SourceError if it has no such table."""
    files = table_files(source).get(TOMBSTONES.name)
    if files is None:
        raise SourceError(f"{source.address}: no table {TOMBSTONES.name}; name the ids to forget, or add the table")
    names = _names_of_columns(source, {}).get(TOMBSTONES.name, {})
    return redacted.ids_in(ingest_table(source, files, TOMBSTONES, {}, NOBODY, IngestConfig(), names).kept)


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


def _take_events(tables: dict[str, pl.DataFrame], config: IngestConfig) -> None:
    """Add what the events amount to to the favorites and the hides."""
    if EVENTS.name not in tables:
        return
    weights = {**EVENT_WEIGHTS, **config.event_weights}
    for table, rows in zip(
        (FAVORITES, HIDES), rules.of_events(tables.pop(EVENTS.name), weights, config.favorite_weight), strict=True
    ):
        if table.name in tables:
            rows, _ = rules.merge([tables[table.name], rows.select(tables[table.name].columns)], table)
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


def _account(files: TableFiles | None, ingested: Ingested | None, rows: pl.DataFrame | None) -> dict[str, Any]:
    """The report's entry for a table."""
    kept = len(rows) if rows is not None else len(ingested.kept) if ingested else 0
    if files is None or ingested is None:
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
        "file": files.path,
        "missing": False,
        "read": ingested.read,
        "kept": kept,
        "duplicates": ingested.read - len(ingested.kept) - len(ingested.quarantined) - ingested.forgotten,
        "forgotten": ingested.forgotten,
        "cleared": ingested.cleared,
        "quarantined": dict(sorted(Counter(ingested.quarantined["reason"]).items())),
        "unknown_columns": list(ingested.unknown_columns),
        "notes": list(ingested.notes),
    }


def _check_enough_is_left(community: Community, config: IngestConfig, ingested: Mapping[str, Ingested]) -> None:
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


def _sentence(finding: Finding, account: Mapping[str, Any], ingested: Mapping[str, Ingested]) -> str:
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
