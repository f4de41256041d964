"""Pairs of a user and an image from a file."""

import logging
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from storage import parquet, tombstones
from storage.refs import Ref
from storage.roots import Root
from storage.sources import directory
from storage.tables.community import TOMBSTONES, USERS
from storage.tables.splits import CONCEALED

log = logging.getLogger("tastegraph")


def read_pairs(file: Path) -> pl.DataFrame:
    """The distinct user_id, image_id pairs of a Parquet, CSV or JSON-lines file, as strings."""
    readers = {
        ".parquet": pl.read_parquet,
        ".csv": lambda path: pl.read_csv(path, infer_schema=False),
        ".jsonl": pl.read_ndjson,
    }
    if file.suffix not in readers:
        raise ValueError(f"{file}: held-out favorites are read from .parquet, .csv or .jsonl")
    try:
        rows = readers[file.suffix](file)
    except PolarsError as error:
        raise ValueError(f"{file}: cannot be read as {file.suffix[1:]}: {error}; write it again") from error
    if missing := {"user_id", "image_id"} - set(rows.columns):
        raise ValueError(f"{file}: no column {', '.join(sorted(missing))} (got {', '.join(rows.columns)})")
    return rows.select(pl.col("user_id", "image_id").cast(pl.String)).drop_nulls().unique(maintain_order=True)


def take_pairs(file: str | None, root: Root) -> Ref | None:
    """Held-out favorites from the user's file, as a table, without forgotten users and images; None without a file."""
    if not file:
        return None
    return parquet.write(CONCEALED, tombstones.read(root).without(read_pairs(Path(file))), root)


def with_tested_users(table: dict[str, Ref], files: Sequence[Ref | None], source: Root, root: Root) -> dict[str, Ref]:
    """The community's tables, with the users whom only files of held-out favorites name: users without favorites.

    A published test counts them, though a source without a list of users has no row of theirs. Users whom the source
    wants forgotten are not added, and nobody of a file that names no user of the community: it is another one's.
    """
    users = pl.DataFrame(parquet.read(table["users"], root))
    known = set(users["user_id"])
    forgotten = directory.tombstones_of(source)["user"] if TOMBSTONES.name in directory.table_files(source) else set()
    named = [set(parquet.read(file, root, ["user_id"])["user_id"].to_pylist()) for file in files if file]
    added = set().union(*(ids for ids in named if ids & known)) - known - forgotten
    if not added:
        return table
    log.info("%-18s %d users whom only files of held-out favorites name", "take-pairs", len(added))
    rows = pl.concat([users, pl.DataFrame({"user_id": sorted(added)})], how="diagonal").sort("user_id")
    return {**table, "users": parquet.write(USERS, rows, root)}
