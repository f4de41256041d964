"""What a source still says of users and images that were forgotten: left out before any rule looks at it.

So it is neither kept nor quarantined, only counted.
"""

from dataclasses import dataclass

import polars as pl

from storage.sources import rules
from storage.tables.community import IMAGES, TOMBSTONES
from storage.tables.schema import Table
from storage.tombstones import CLEARED_IN, NAMED_IN, IdsByKind, Tombstones

TEXTS_OF_OWNER = ("path", "url", "title")  # cells of a picture's row that may spell its owner's id


@dataclass(frozen=True)
class Struck:
    """A table's rows without those that name somebody forgotten."""

    rows: pl.LazyFrame
    forgotten: int = 0  # rows left out
    cleared: int = 0  # rows of which the owner was emptied, and what else spells the owner's id
    paths: frozenset[str] = frozenset()  # of the pictures left out


def listed(rows: pl.DataFrame) -> IdsByKind:
    """The ids of a source's table of tombstones, by kind."""
    return {kind: frozenset(rows.filter(pl.col("kind") == kind)["id"]) for kind in NAMED_IN}


def strike(rows: pl.LazyFrame, table: Table, tombstones: Tombstones) -> Struck:
    """The rows that name nobody forgotten, ids read as the rules read them."""
    if not tombstones.digests or table is TOMBSTONES:
        return Struck(rows)
    frame = rows.collect()
    text = _texts(frame)
    is_gone, is_owned = (_names(text, len(frame), columns, tombstones) for columns in (NAMED_IN, CLEARED_IN))
    paths = text.filter(is_gone)["path"].drop_nulls() if table is IMAGES and "path" in text.columns else ()
    if is_owned.any():
        frame = _cleared(frame, text, is_owned)
    return Struck(frame.filter(~is_gone).lazy(), int(is_gone.sum()), int((is_owned & ~is_gone).sum()), frozenset(paths))


def _texts(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that name somebody, and a picture's texts, as written."""
    ids = {name for columns in (NAMED_IN, CLEARED_IN) for names in columns.values() for name in names}
    wanted = [name for name in frame.columns if name in ids or name in TEXTS_OF_OWNER]
    return frame.select(rules.cell_of(name, frame.schema[name], False).alias(name) for name in wanted)


def _names(text: pl.DataFrame, num_rows: int, columns: dict[str, tuple[str, ...]], tombstones: Tombstones) -> pl.Series:
    """Which rows name somebody forgotten in one of these columns."""
    found = pl.repeat(False, num_rows, dtype=pl.Boolean, eager=True)
    for kind, names in columns.items():
        for name in names:
            if name in text.columns:
                gone = sorted(tombstones.among(kind, text[name].unique()))
                found = found | text[name].is_in(gone).fill_null(False)
    return found


def _cleared(frame: pl.DataFrame, text: pl.DataFrame, is_owned: pl.Series) -> pl.DataFrame:
    """The rows, where marked without their owner and without a text that spells the owner's id."""
    emptied = {"owner_id": is_owned}
    for name in TEXTS_OF_OWNER:
        if name in text.columns:
            spelled = text.select(pl.col(name).str.contains(pl.col("owner_id"), literal=True).fill_null(False))
            emptied[name] = is_owned & spelled.to_series()
    return frame.with_columns(pl.when(~pl.lit(mask)).then(pl.col(name)).alias(name) for name, mask in emptied.items())
