"""Pairs of a user and an image from a file."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from storage import parquet, tombstones
from storage.refs import Ref
from storage.roots import Root
from storage.settings.reading import TableLimits
from storage.sources import directory
from storage.sources.table_files import SourceError, read_table
from storage.tables.community import TOMBSTONES, USERS
from storage.tables.splits import CONCEALED

log = logging.getLogger("tastegraph")


def read_pairs(file: Path) -> tuple[pl.DataFrame, dict[str, int]]:
    """The distinct user_id, image_id pairs of a file, as the ingest reads favorites, and the rows left out, by reason.

    Raises SourceError if the file cannot be read as Parquet, CSV or JSON lines, or no row of it is left.
    """
    pairs, quarantined = read_table(file, CONCEALED, TableLimits())
    left_out = dict(sorted(Counter(quarantined["reason"]).items()))
    if left_out:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
        log.warning("%-18s rows of %s that are left out: %s", "take-pairs", file, reasons)
    if pairs.is_empty():
        raise SourceError(f"{file}: no pair of a user and an image is in it; write a row for each held-out favorite")
    return pairs, left_out


def take_pairs(file: str | None, root: Root) -> Ref | None:
    """Held-out favorites from the user's file, as a table, without forgotten users and images; None without a file."""
    if not file:
        return None
    pairs, _ = read_pairs(Path(file))
    return parquet.write(CONCEALED, tombstones.read(root).without(pairs), root)


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
