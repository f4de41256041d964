"""Real communities written back in the layouts that they came in.

A layout says who put which tag on what. Where a user used a tag more often than the set's assignments say, the others
went to images that the list lacks, as in the originals.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import coo_matrix

GENRES = (
    "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Film-Noir",
    "Horror", "IMAX", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
UNLISTED = 10_000_000  # and on: ids of images that no list has


def table(source: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(source / f"{name}.parquet")


def triples(user_tags: pl.DataFrame, assignments: pl.DataFrame) -> Iterator[tuple[str, str, str]]:
    """(user, image, tag): the assignments, and as many more on images without a row as each user's counts need."""
    yield from assignments.select("user_id", "image_id", "tag").iter_rows()
    listed = assignments.group_by("user_id", "tag").agg(listed=pl.len())
    counts = user_tags.join(listed, on=["user_id", "tag"], how="left").with_columns(pl.col("listed").fill_null(0))
    for user, tag, more in counts.select("user_id", "tag", pl.col("count") - pl.col("listed")).iter_rows():
        yield from ((user, str(UNLISTED + number), tag) for number in range(more))


def lines(file: Path, header: str, rows: Iterator[tuple[object, ...]] | list[tuple[object, ...]], between: str) -> None:
    """A text file with one line for each row."""
    body = "".join(between.join(map(str, row)) + "\n" for row in rows)
    file.write_text(header + "\n" * bool(header) + body, encoding="utf-8")


def hetrec_lastfm(source: Path, folder: Path) -> None:
    """artists.dat and the rest; listening counts and dates are made up, as the set does not hold them."""
    artists = table(source, "images").select(
        "image_id", "title", url=pl.lit("http://www.last.fm/music"), picture=pl.lit("")
    )
    lines(folder / "artists.dat", "id\tname\turl\tpictureURL", artists.rows(), "\t")
    lines(folder / "user_friends.dat", "userID\tfriendID", table(source, "contacts").rows(), "\t")
    heard = table(source, "favorites").select("user_id", "image_id", weight=7)
    lines(folder / "user_artists.dat", "userID\tartistID\tweight", heard.rows(), "\t")
    image_tags, user_tags = table(source, "image_tags"), table(source, "user_tags")
    words = pl.concat([image_tags["tag"], user_tags["tag"]]).unique().sort().to_list()
    # the original is in Latin-1, but for words that it cannot hold
    with (folder / "tags.dat").open("wb") as file:
        file.write(b"tagID\ttagValue\n")
        for number, word in enumerate(words):
            line = f"{number}\t{word}\n"
            file.write(
                line.encode("latin-1") if line.encode("latin-1", "ignore").decode("latin-1") == line else line.encode()
            )
    number_of = {word: number for number, word in enumerate(words)}
    given = (
        (user, image, number_of[tag], 1, 4, 2009)
        for user, image, tag in triples(user_tags, table(source, "tag_assignments"))
    )
    lines(folder / "user_taggedartists.dat", "userID\tartistID\ttagID\tday\tmonth\tyear", given, "\t")


def lightgcn(source: Path, folder: Path) -> None:
    """train.txt and test.txt."""
    for name, file in (("favorites", "train.txt"), ("official_test", "test.txt")):
        users = table(source, name).group_by("user_id", maintain_order=True).agg("image_id").iter_rows()
        lines(folder / file, "", ((user, *images) for user, images in users), " ")


def movielens(source: Path, folder: Path) -> None:
    """movies.csv, ratings.csv, tags.csv; a favorite is a rating of 4 to 5, and a thousand lower ones are added."""
    image_tags, genres = table(source, "image_tags"), {genre.lower(): genre for genre in GENRES}
    is_genre = pl.col("tag").is_in(list(genres))
    carried = (
        image_tags.filter(is_genre).with_columns(pl.col("tag").replace_strict(genres)).group_by("image_id").agg("tag")
    )
    films = table(source, "images").join(carried, on="image_id", how="left").select(
        movieId="image_id", title="title", genres=pl.col("tag").list.join("|").fill_null("(no genres listed)")
    )  # fmt: skip
    films.write_csv(folder / "movies.csv")
    favorites = table(source, "favorites")
    rated = favorites.select(
        userId="user_id", movieId="image_id", rating=4.0 + (pl.int_range(pl.len()) % 3) / 2, timestamp="favorited_at"
    )
    below = rated.head(1000).select("userId", pl.col("movieId").reverse(), pl.lit(3.5).alias("rating"), "timestamp")
    pl.concat([rated, below]).write_csv(folder / "ratings.csv")
    given = triples(table(source, "user_tags"), table(source, "tag_assignments"))
    tags = pl.DataFrame([(*triple, 0) for triple in given], ["userId", "movieId", "tag", "timestamp"], orient="row")
    tags.with_columns(pl.col("tag").str.to_titlecase()).write_csv(folder / "tags.csv")


def _matrix(pairs: pl.DataFrame, shape: tuple[int, int]) -> coo_matrix:
    """The pairs of a table of two columns, whose ids are a letter and a number."""
    row, column = (pairs[name].str.slice(1).cast(pl.Int64).to_numpy() for name in pairs.columns[:2])
    return coo_matrix((np.ones(len(row), np.float32), (row, column)), shape=shape)


def diffmm(source: Path, folder: Path) -> None:
    """trnMat.pkl, valMat.pkl, tstMat.pkl, image_feat.npy in half precision and audio_feat.npy."""
    shape = (9308, table(source, "images").height)
    for name, file in (("favorites", "trnMat"), ("official_val", "valMat"), ("official_test", "tstMat")):
        (folder / f"{file}.pkl").write_bytes(pickle.dumps(_matrix(table(source, name), shape)))
    for kind in ("image", "audio"):
        rows = table(source, f"{kind}_features").sort(pl.col("image_id").str.slice(1).cast(pl.Int64))
        np.save(folder / f"{kind}_feat.npy", np.array(rows["feature"].to_list(), np.float16))


def recdiff(source: Path, folder: Path) -> None:
    """dataset.pkl: matrices in compressed rows, in one dict."""
    num_users, num_items = 1925, table(source, "images").height
    held = {
        name: _matrix(table(source, rows), (num_users, num_items)).tocsr()
        for name, rows in (("train", "favorites"), ("val", "official_val"), ("test", "official_test"))
    }
    trust = _matrix(table(source, "contacts"), (num_users, num_users)).tocsr()
    tags = table(source, "image_tags").select("image_id", tag="c" + pl.col("tag").str.replace("category ", ""))
    categories = _matrix(tags, (num_items, 6))
    held |= {"trust": trust, "category": categories.tocsr(), "userCount": num_users, "itemCount": num_items}
    (folder / "dataset.pkl").write_bytes(pickle.dumps(held, protocol=2))
