"""Write the crawl as a source directory of the contract, with tombstones and the quarantine of pictures."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage import parquet
from storage.roots import WORK_FOLDER
from storage.sources.flickr.database import Database
from storage.tables.community import (
    CONTACTS,
    FAVORITES,
    GROUPS,
    IMAGE_TAGS,
    IMAGES,
    MEMBERSHIPS,
    QUARANTINE,
    TOMBSTONES,
    USER_TAGS,
    USERS,
)
from storage.tables.schema import Table

CHUNK_ROWS = 65_536

REACHED = "user_id IN (SELECT user_id FROM frontier)"
SHOWN = f"image_id IN (SELECT image_id FROM favorites WHERE {REACHED})"
QUERIES = {
    "users": (USERS, "SELECT user_id, name FROM frontier LEFT JOIN names USING (user_id)"),
    "favorites": (FAVORITES, f"SELECT user_id, image_id, favorited_at FROM favorites WHERE {REACHED}"),
    "user_tags": (USER_TAGS, f"SELECT user_id, tag, count FROM user_tags WHERE {REACHED}"),
    "contacts": (
        CONTACTS,
        f"SELECT user_id, contact_id FROM contacts WHERE {REACHED} AND contact_id IN (SELECT user_id FROM frontier)",
    ),
    "groups": (
        GROUPS,
        f"SELECT group_id, name FROM groups WHERE group_id IN (SELECT group_id FROM memberships WHERE {REACHED})",
    ),
    "memberships": (MEMBERSHIPS, f"SELECT user_id, group_id FROM memberships WHERE {REACHED}"),
    "quarantine": (
        QUARANTINE,
        f"""SELECT DISTINCT 'images', NULL, reason, url, NULL FROM pictures JOIN images USING (url)
            WHERE outcome = 'quarantined' AND {SHOWN}""",
    ),
    "tombstones": (TOMBSTONES, "SELECT kind, id FROM tombstones"),
    "images": (
        IMAGES,
        f"""SELECT image_id, path, url, owner_id, title, uploaded_at FROM images LEFT JOIN pictures USING (url)
            WHERE {SHOWN}""",
    ),
}


@dataclass(frozen=True)
class SourceCounts:
    """Counts of what the source directory contains."""

    rows: dict[str, int]  # by table
    pictures: dict[str, int]  # urls of the crawl by outcome
    unread: dict[str, int]  # lists of the crawl's users that could not be read, by kind and reason


def write(database: Database, folder: Path) -> SourceCounts:
    """Write the tables, each atomically. `images`, which every source needs, is deleted first and written last, so a
    folder between two crawls is refused instead of read as a mixture of both.
    """
    workspace = folder / WORK_FOLDER / "tables"
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True)
    rows = {}
    for name, (table, sql) in QUERIES.items():
        found = parquet.conform(table, _read(database, table, sql))
        if name == "quarantine":
            found = found.cast(pa.schema([pa.field(item.name, item.type, item.nullable) for item in table.schema]))
        parquet.write_file(found, workspace / f"{name}.parquet", name)
        rows[name] = len(found)
    rows["image_tags"] = _write_image_tags(database, workspace)
    (folder / "images.parquet").unlink(missing_ok=True)
    for name in sorted(rows, key=lambda name: name == "images"):
        (workspace / f"{name}.parquet").replace(folder / f"{name}.parquet")
    shutil.rmtree(workspace)
    pictures = database.query(
        f"""SELECT outcome, count(DISTINCT url) FROM pictures JOIN images USING (url) WHERE {SHOWN}
            GROUP BY outcome ORDER BY outcome"""
    )
    unread = database.query(
        """SELECT kind || ' ' || outcome, count(*) FROM fetched JOIN frontier ON id = user_id
           WHERE kind IN ('contacts', 'favorites', 'groups', 'tags') AND outcome != 'ok' GROUP BY 1 ORDER BY 1"""
    )
    return SourceCounts({name: rows[name] for name in sorted(rows)}, dict(pictures), dict(unread))


def _read(database: Database, table: Table, sql: str) -> pa.Table:
    """The rows of a query, in the table's columns."""
    cursor = database.connection.execute(sql)
    batches = []
    while chunk := cursor.fetchmany(CHUNK_ROWS):
        batches.append(_batch(table, list(zip(*chunk, strict=True))))
    return pa.Table.from_batches(batches, _plain(table))


def _write_image_tags(database: Database, workspace: Path) -> int:
    cursor = database.connection.execute(f"SELECT image_id, tags FROM images WHERE tags != '' AND {SHOWN}")
    batches = []
    while chunk := cursor.fetchmany(CHUNK_ROWS):
        pairs = [(image_id, tag) for image_id, tags in chunk for tag in dict.fromkeys(tags.split())]
        if pairs:
            batches.append(_batch(IMAGE_TAGS, list(zip(*pairs, strict=True))))
    rows = parquet.conform(IMAGE_TAGS, pa.Table.from_batches(batches, _plain(IMAGE_TAGS)))
    parquet.write_file(rows, workspace / "image_tags.parquet", "image_tags")
    return len(rows)


def _batch(table: Table, columns: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    schema = _plain(table)
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def _plain(table: Table) -> pa.Schema:
    return pa.schema([pa.field(field.name, field.type) for field in table.schema])
