"""The splits of NGCF and LightGCN (a user's line lists their items), and those of NCF (a line for each rating)."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from storage.sources.importers import reading
from storage.sources.importers.base import ImportConfig, importer
from storage.sources.importers.reading import LayoutError, columns_of
from storage.sources.importers.writing import SourceWriter


@importer("lightgcn")
def read(folder: Path, source: SourceWriter, _config: ImportConfig) -> None:
    """Gowalla, Yelp2018, Amazon-Book (train.txt, test.txt); NCF's Pinterest (NAME.train.rating, NAME.test.rating)."""
    source.names_images = True
    if (folder / "train.txt").exists():
        _read_lines(folder, source)
        return
    ratings = sorted(folder.glob("*.train.rating"))
    if len(ratings) != 1:
        raise LayoutError(
            f"{folder}: no train.txt, and {len(ratings)} files *.train.rating where one is needed "
            f"({', '.join(file.name for file in ratings) or 'none'}); name the folder of one data set"
        )
    _read_ratings(folder, ratings[0].name.removesuffix(".train.rating"), source)


def _read_lines(folder: Path, source: SourceWriter) -> None:
    """The layout of NGCF and LightGCN."""
    names = {"user": _names(folder / "user_list.txt"), "image": _names(folder / "item_list.txt")}
    if (items := names["image"]) is not None:
        source.add("images", items.select(image_id="org_id"))
    for file, table in (("train.txt", "favorites"), ("test.txt", "official_test")):
        for pairs in _line_format(folder / file):
            source.add(table, _renamed(pairs, names))


def _read_ratings(folder: Path, name: str, source: SourceWriter) -> None:
    """The layout of NCF, whose ratings are all 1."""
    columns = ("user", "image", "rating", "time")
    for part, table in (("train", "favorites"), ("test", "official_test")):
        file = folder / f"{name}.{part}.rating"
        for rows in source.rows(table, file, columns[:2], delimiter="\t", header=columns, quoted=False):
            source.add(table, rows.select(user_id="user", image_id="image"))


def _line_format(file: Path) -> Iterator[pl.DataFrame]:
    """Pairs of user and image from lines `user item item ...`; a user without items gives none."""
    for lines in reading.lines(file):
        words = lines.str.extract_all(r"\S+").to_frame()
        pairs = words.select(user=pl.col("line").list.first(), image=pl.col("line").list.slice(1))
        yield pairs.filter(pl.col("image").list.len() > 0).explode("image")


def _names(file: Path) -> pl.DataFrame | None:
    """The original ids for the numbers of the line format; None if the download lacks the file."""
    if not file.exists():
        return None
    # `org_id remap_id`, and in some downloads a third column
    columns = columns_of(file, " ")
    if columns[:2] != ["org_id", "remap_id"]:
        raise LayoutError(f"{file}: begins with {' '.join(columns)!r}, not with 'org_id remap_id'")
    listed = pl.concat(list(reading.lines(file))).str.extract_all(r"\S+").to_frame().slice(1)
    return listed.select(org_id=pl.col("line").list.get(0), number=pl.col("line").list.get(1, null_on_oob=True))


def _renamed(pairs: pl.DataFrame, names: dict[str, pl.DataFrame | None]) -> pl.DataFrame:
    """Pairs with the original ids, if there is a list; a pair whose number is not in the list is left out."""
    reasons = [pl.lit(None, pl.String)]
    for column, listed in names.items():
        if listed is None:
            pairs = pairs.rename({column: f"{column}_id"})
        else:
            found = listed.select(pl.col("org_id").alias(f"{column}_id"), "number")
            pairs = pairs.join(found, left_on=column, right_on="number", how="left", maintain_order="left")
            reasons.append(pl.when(pl.col(f"{column}_id").is_null()).then(pl.lit(f"{column} not in its list")))
    return pairs.select("user_id", "image_id", left_out=pl.coalesce(reasons))
