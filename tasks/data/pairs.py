"""Pairs of a user and an image from a file."""

from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from storage import parquet, tombstones
from storage.refs import Ref
from storage.roots import Root
from storage.tables.splits import CONCEALED


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
