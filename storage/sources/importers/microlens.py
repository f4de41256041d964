"""PixelRec and MicroLens: videos are images, their covers are pixels, comments or views are favorites."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from storage.sources.importers import reading
from storage.sources.importers.base import ImportConfig, favorites, importer
from storage.sources.importers.reading import LayoutError, is_given
from storage.sources.importers.writing import SourceWriter


@importer("pixelrec")
def read_pixelrec(folder: Path, source: SourceWriter, config: ImportConfig) -> None:
    """PixelRec and its subsets: an interaction csv (item_id, user_id, timestamp), item_info.csv, and cover/."""
    files = [file for file in _csv_files(folder) if {"item_id", "user_id", "timestamp"} <= set(_columns(file))]
    infos = [file for file in _csv_files(folder) if file not in files and {"item_id", "title"} <= set(_columns(file))]
    for rows in source.rows("favorites", _only(files, folder, "interactions"), ("user_id", "item_id", "timestamp")):
        source.add("favorites", favorites(rows, "user_id", "item_id", at="timestamp"))
    for rows in source.rows("images", _only(infos, folder, "items"), ("item_id", "title", "tag?")):
        source.add("images", rows.select(image_id="item_id", title="title"))
        source.add("image_tags", rows.filter(is_given("tag")).select(image_id="item_id", tag="tag"))
    _take_covers(folder, source, config, ("cover", "covers", "images"))


@importer("microlens")
def read_microlens(folder: Path, source: SourceWriter, config: ImportConfig) -> None:
    """MicroLens: NAME_pairs.csv (user, item, timestamp), NAME_title(s)(_en).csv, tags_to_summary.csv, NAME_covers/."""
    source.names_images = True  # not every video has a title
    pairs = _only(sorted(folder.glob("*_pairs.csv")), folder, "interactions (*_pairs.csv)")
    columns = ("user", "item", "timestamp")
    for rows in source.rows(
        "favorites", pairs, columns, header=() if set(columns) <= set(_columns(pairs)) else columns
    ):
        source.add("favorites", favorites(rows, "user", "item", at="timestamp"))
    for file in sorted(folder.glob("*_title*.csv")):
        for rows in _two_columns(file, "images", source):
            source.add("images", rows.select(image_id="item", title="text"))
    if (file := folder / "tags_to_summary.csv").exists():
        for rows in _two_columns(file, "image_tags", source):
            source.add("image_tags", rows.filter(is_given("text")).select(image_id="item", tag="text"))
    _take_covers(folder, source, config, [path.name for path in sorted(folder.glob("*covers"))])


def _two_columns(file: Path, table: str, source: SourceWriter) -> Iterator[pl.DataFrame]:
    """Columns `item` and `text` of a file of two columns, with or without a header line."""
    first, names = _columns(file)[0], ("item", "text")
    for rows in source.rows(table, file, names, header=names):
        yield rows if first.isdigit() else rows.filter(pl.col("item") != first)


def _take_covers(folder: Path, source: SourceWriter, config: ImportConfig, names: Sequence[str]) -> None:
    if config.images is None:
        for covers in (folder / name for name in names if (folder / name).is_dir()):
            source.take_pictures(covers)


def _columns(file: Path) -> list[str]:
    return reading.columns_of(file, ",")


def _csv_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.csv"))


def _only(files: Sequence[Path], folder: Path, what: str) -> Path:
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise LayoutError(f"{folder}: one file of {what} is needed, found {found}; keep one data set in a folder")
    return files[0]
