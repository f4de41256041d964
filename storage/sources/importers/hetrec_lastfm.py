"""Last.fm of HetRec 2011: artists are images, listening is a favorite, with friends and free tags."""

from pathlib import Path

import polars as pl

from storage.sources.importers.base import ImportConfig, assignments, favorites, importer
from storage.sources.importers.writing import SourceWriter

TAB = {"delimiter": "\t", "quoted": False}  # quotes are part of artists' names


@importer("hetrec-lastfm")
def read(folder: Path, source: SourceWriter, _config: ImportConfig) -> None:
    """HetRec 2011 Last.fm 2K: hetrec2011-lastfm-2k.zip, unpacked."""
    is_address = pl.col("pictureURL").str.contains(r"^https?://[^\s/?#]\S*$")
    for rows in source.rows("images", folder / "artists.dat", ("id", "name", "pictureURL?"), **TAB):
        url = pl.when(is_address).then(pl.col("pictureURL"))
        source.add("images", rows.select(image_id="id", title="name", url=url))
        source.note("picture addresses that are none", rows.filter(~is_address & (pl.col("pictureURL") != "")).height)
    for rows in source.rows("favorites", folder / "user_artists.dat", ("userID", "artistID"), **TAB):
        source.add("favorites", favorites(rows, "userID", "artistID"))
    for rows in source.rows("contacts", folder / "user_friends.dat", ("userID", "friendID"), **TAB):
        source.add("contacts", rows.select(user_id="userID", contact_id="friendID"))
    _tags(folder, source)


def _tags(folder: Path, source: SourceWriter) -> None:
    """Both kinds of tags; a user's count is the number of artists they tagged with it, listed or not."""
    # The vocabulary, the only file kept in memory.
    words = pl.concat(list(source.rows("image_tags", folder / "tags.dat", ("tagID", "tagValue"), **TAB)))
    words = words.unique("tagID", keep="first", maintain_order=True)
    file, when = folder / "user_taggedartists.dat", ["day", "month", "year"]
    day = pl.format("{}-{}-{}", "year", pl.col("month").str.zfill(2), pl.col("day").str.zfill(2))
    at = day.str.to_datetime("%Y-%m-%d", strict=False).dt.epoch("s").cast(pl.String)
    if not file.exists():  # the same assignments, with milliseconds in place of the day
        file, when = folder / "user_taggedartists-timestamps.dat", ["timestamp"]
        at = pl.col("timestamp")
    for rows in source.rows("user_tags", file, ("userID", "artistID", "tagID", *when), **TAB):
        tagged = rows.join(words, on="tagID", how="left", maintain_order="left").with_columns(at=at)
        source.add("image_tags", tagged.select(image_id="artistID", tag="tagValue"))
        source.add("user_tags", tagged.select(user_id="userID", tag="tagValue", count=1))
        source.add("tag_assignments", assignments(tagged, "userID", "artistID", "tagValue", at="at"))
