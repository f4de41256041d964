"""MovieLens in its three layouts: films are images, good ratings are favorites; posters are pixels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from storage.sources.importers.base import ImportConfig, assignments, favorites, importer, tags
from storage.sources.importers.reading import LayoutError
from storage.sources.importers.writing import SourceWriter

RATINGS = ("userId", "movieId", "rating", "timestamp")
MOVIES = ("movieId", "title", "genres")
DAT = {"delimiter": "::", "quoted": False}
NO_GENRE = "(no genres listed)"


@importer("movielens", threshold=4.0)
def read(folder: Path, source: SourceWriter, config: ImportConfig) -> None:
    """MovieLens: ml-latest(-small), ml-25m, ml-20m (csv), ml-1m, ml-10m (dat) or ml-100k (u.data), unpacked."""
    if config.images is None and (folder / "posters").is_dir():
        source.take_pictures(folder / "posters")
    if (folder / "ratings.csv").exists():
        _films(folder / "movies.csv", source, {})
        _ratings(folder / "ratings.csv", source, config, {})
        _free_tags(folder / "tags.csv", source, {})
    elif (folder / "ratings.dat").exists():
        _films(folder / "movies.dat", source, {**DAT, "header": MOVIES})
        _ratings(folder / "ratings.dat", source, config, {**DAT, "header": RATINGS})
        _free_tags(folder / "tags.dat", source, {**DAT, "header": ("userId", "movieId", "tag", "timestamp")})
    elif (folder / "u.data").exists():
        _films_of_100k(folder, source)
        _ratings(folder / "u.data", source, config, {"delimiter": "\t", "header": RATINGS})
    else:
        raise LayoutError(
            f"{folder}: neither ratings.csv nor ratings.dat nor u.data; unpack MovieLens and name its folder"
        )


def _films(file: Path, source: SourceWriter, how: Mapping[str, Any]) -> None:
    for rows in source.rows("images", file, MOVIES, **how):
        source.add("images", rows.select(image_id="movieId", title="title"))
        genres = tags(rows, "movieId", "genres", "|")
        missing = pl.when(pl.col("tag") == NO_GENRE).then(pl.lit("no genre"))
        source.add("image_tags", genres.with_columns(left_out=missing))


def _ratings(file: Path, source: SourceWriter, config: ImportConfig, how: Mapping[str, Any]) -> None:
    for rows in source.rows("favorites", file, RATINGS, **how):
        kept = favorites(rows, "userId", "movieId", at="timestamp", rating="rating", threshold=config.threshold or 0)
        source.add("favorites", kept)


def _free_tags(file: Path, source: SourceWriter, how: Mapping[str, Any]) -> None:
    """Tags that users gave films, as tags of both; ml-1m has none."""
    if not file.exists():
        return
    for rows in source.rows("user_tags", file, ("userId", "movieId", "tag", "timestamp"), **how):
        source.add("image_tags", rows.select(image_id="movieId", tag="tag"))
        source.add("tag_assignments", assignments(rows, "userId", "movieId", "tag", at="timestamp"))
        source.add("user_tags", rows.select(user_id="userId", tag="tag", count=1))


def _films_of_100k(folder: Path, source: SourceWriter) -> None:
    """u.item: a film's id, title, dates, address, and a column of 0 and 1 for each line of u.genre."""
    names = pl.concat(
        list(source.rows("image_tags", folder / "u.genre", ("name",), delimiter="|", header=("name", "number")))
    )
    genres = names["name"].to_list()
    header = ("movieId", "title", "released", "video", "address", *genres)
    for rows in source.rows("images", folder / "u.item", header, delimiter="|", header=header, quoted=False):
        source.add("images", rows.select(image_id="movieId", title="title"))
        tagged = rows.unpivot(genres, index="movieId", variable_name="tag").filter(pl.col("value") == "1")
        missing = pl.when(pl.col("tag") == "unknown").then(pl.lit("no genre"))
        source.add("image_tags", tagged.select(image_id="movieId", tag="tag", left_out=missing))
