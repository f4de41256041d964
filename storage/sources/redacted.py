"""Redact forgotten users and images from a source's rows, before any rule checks them.

Redacted rows are neither kept nor quarantined, only counted.
"""

from dataclasses import dataclass
from functools import reduce
from operator import or_

import polars as pl

from storage.sources import rules
from storage.tables.community import IMAGES, TOMBSTONES
from storage.tables.schema import Table
from storage.tombstones import CLEARED_IN, NAMED_IN, TEXTS, IdsByKind, Tombstones


@dataclass(frozen=True)
class RedactedRows:
    """A table's rows without those that name a forgotten user or image, and what was taken out."""

    rows: pl.LazyFrame
    forgotten: int = 0  # rows taken out
    cleared: int = 0  # rows whose owner, or texts that name somebody forgotten, were emptied
    paths: frozenset[str] = frozenset()  # of the images taken out


def ids_in(rows: pl.DataFrame) -> IdsByKind:
    """The ids of a source's table of tombstones, by kind."""
    return {kind: frozenset(rows.filter(pl.col("kind") == kind)["id"]) for kind in NAMED_IN}


def redact(rows: pl.LazyFrame, table: Table, tombstones: Tombstones) -> RedactedRows:
    """The rows that name no forgotten user or image; ids are compared in the form that the rules give them."""
    if not tombstones.digests or table is TOMBSTONES:
        return RedactedRows(rows)
    frame = rows.collect()
    text = _texts(frame)
    is_forgotten, is_owned = (_names(text, len(frame), columns, tombstones) for columns in (NAMED_IN, CLEARED_IN))
    paths = text.filter(is_forgotten)["path"].drop_nulls() if table is IMAGES and "path" in text.columns else ()
    emptied = _emptied(text, is_owned, tombstones)
    is_cleared = reduce(or_, emptied.values(), is_owned) & ~is_forgotten
    if is_cleared.any():
        masks = (pl.when(~pl.lit(mask)).then(pl.col(name)).alias(name) for name, mask in emptied.items())
        frame = frame.with_columns(masks)
    return RedactedRows(
        frame.filter(~is_forgotten).lazy(), int(is_forgotten.sum()), int(is_cleared.sum()), frozenset(paths)
    )


def _texts(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns with ids of users and images, and texts that may name one, as written."""
    ids = {name for columns in (NAMED_IN, CLEARED_IN) for names in columns.values() for name in names}
    wanted = [name for name in frame.columns if name in ids or name in TEXTS]
    return frame.select(rules.cell_of(name, frame.schema[name], False).alias(name) for name in wanted)


def _names(text: pl.DataFrame, num_rows: int, columns: dict[str, tuple[str, ...]], tombstones: Tombstones) -> pl.Series:
    """bool per row: whether one of these columns holds a forgotten id."""
    found = pl.repeat(False, num_rows, dtype=pl.Boolean, eager=True)
    for kind, names in columns.items():
        for name in names:
            if name in text.columns:
                forgotten = sorted(tombstones.among(kind, text[name].unique()))
                found = found | text[name].is_in(forgotten).fill_null(False)
    return found


def _emptied(text: pl.DataFrame, is_owned: pl.Series, tombstones: Tombstones) -> dict[str, pl.Series]:
    """By column, which cells are emptied: forgotten owners, texts that name one of the forgotten, addresses of pictures
    of a forgotten owner: nothing is fetched for them."""
    emptied = {"owner_id": is_owned} if "owner_id" in text.columns else {}
    for name in TEXTS:
        if name in text.columns:
            naming = [cell for cell in text[name].drop_nulls().unique() if tombstones.name_in(cell)]
            emptied[name] = text[name].is_in(naming).fill_null(False)
            if is_owned.any():  # however short the owner's id is, and wherever in a word
                of_owner = text.select(pl.col(name).str.contains(pl.col("owner_id"), literal=True).fill_null(False))
                emptied[name] = emptied[name] | (is_owned & of_owner.to_series())
    if "path" in emptied:
        is_address = text.select(pl.col("path").str.contains(rules.ADDRESS).fill_null(False)).to_series()
        emptied["path"] = emptied["path"] | (is_owned & is_address)
    return emptied
