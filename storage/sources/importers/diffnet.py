"""DiffNet's data sets: ratings in three parts, links between users, and a vector for each user and item."""

from pathlib import Path
from typing import Literal

import polars as pl

from storage.sources.importers import arrays, reading
from storage.sources.importers.base import ImportConfig, importer
from storage.sources.importers.reading import LayoutError
from storage.sources.importers.writing import Features, SourceWriter

PARTS = {"train": ("favorites",), "val": ("favorites", "official_val"), "test": ("official_test",)}
VECTORS = {"item_vector.npy": ("image", "images"), "user_vector.npy": ("user", "users")}


@importer("diffnet")
def read(folder: Path, source: SourceWriter, _config: ImportConfig) -> None:
    """DiffNet's Yelp and Flickr: NAME.(train|val|test).rating, NAME.links, (user|item)_vector.npy."""
    found = sorted(folder.glob("*.train.rating"))
    if len(found) != 1:
        raise LayoutError(
            f"{folder}: one file NAME.train.rating is needed, found "
            f"{', '.join(file.name for file in found) or 'none'}; name the folder of one data set"
        )
    name = found[0].name.removesuffix(".train.rating")
    source.names_images = True
    highest = {"user_id": -1, "image_id": -1}  # the highest number that a file names
    for part, tables in PARTS.items():
        _read_pairs(folder / f"{name}.{part}.rating", ("user_id", "image_id"), tables, source, highest)
    if (links := folder / f"{name}.links").exists():
        _read_pairs(links, ("user_id", "contact_id"), ("contacts",), source, highest)
    for file, (kind, table) in VECTORS.items():
        if (folder / file).exists():
            _add_vectors(folder / file, kind, table, source, highest)


def _read_pairs(
    file: Path, columns: tuple[str, str], tables: tuple[str, ...], source: SourceWriter, highest: dict[str, int]
) -> None:
    """Lines `user item rating` or `user user weight`, of which the first two words are read."""
    for lines in reading.lines(file):
        words = lines.str.extract_all(r"\S+").to_frame()
        pairs = words.select(pl.col("line").list.get(n, null_on_oob=True).alias(name) for n, name in enumerate(columns))
        is_whole = pl.col(columns[1]).is_not_null()
        source.leave_out(tables[0], "unreadable row", len(pairs.filter(~is_whole)))
        pairs = pairs.filter(is_whole)
        for table in tables:
            source.add(table, pairs)
        for column, key in zip(columns, ("user_id", "user_id" if "contact_id" in columns else "image_id"), strict=True):
            numbers = pairs[column].cast(pl.Int64, strict=False).drop_nulls().to_numpy()
            highest[key] = max(highest[key], int(numbers.max(initial=-1)))


def _add_vectors(file: Path, kind: str, table: str, source: SourceWriter, highest: dict[str, int]) -> None:
    """The vectors of all users or items: row n is the one of number n, so that every number needs a row."""
    key: Literal["user_id", "image_id"] = "user_id" if table == "users" else "image_id"
    numbers = arrays.features(file)
    if highest[key] >= len(numbers):
        raise LayoutError(f"{file}: {len(numbers)} rows, but the other files name {table[:-1]} {highest[key]}")
    ids = [str(number) for number in range(len(numbers))]
    source.add(table, pl.DataFrame({key: ids}))
    source.add_features(Features(kind, key, ids, numbers))
