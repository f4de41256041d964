"""Single photos that have to be asked about: what their lists left out, and whether those that vanished still exist."""

from collections.abc import Sequence

from storage.sources.flickr import answers
from storage.sources.flickr.database import Database
from storage.sources.flickr.lists import Reader

# The photos of the crawl that is on: those that a user of its frontier favorited.
IN_REACH = "image_id IN (SELECT image_id FROM favorites JOIN frontier USING (user_id))"


def complete(database: Database, reader: Reader, sizes: Sequence[str]) -> None:
    """Ask for the address and the tags of photos whose lists did not tell them."""
    for (image_id,) in database.query(
        f"SELECT image_id FROM images WHERE url IS NULL AND {IN_REACH} ORDER BY image_id"
    ):
        find_address(database, reader, sizes, image_id)
    for (image_id,) in database.query(
        f"SELECT image_id FROM images WHERE tags IS NULL AND {IN_REACH} ORDER BY image_id"
    ):
        outcome, answer = reader.ask("photo tags", image_id, "flickr.tags.getListPhoto", photo_id=image_id)
        if outcome == "gone":
            database.bury("image", image_id)
        elif answer:
            tags = answers.photo_tags(answer)
            database.change("UPDATE images SET tags = ? WHERE image_id = ?", (tags, image_id))


def find_address(database: Database, reader: Reader, sizes: Sequence[str], image_id: str) -> None:
    """Ask where a photo's picture lies. A photo that is gone, or not public any more, gets its tombstone."""
    outcome, answer = reader.ask("sizes", image_id, "flickr.photos.getSizes", photo_id=image_id)
    if outcome in ("gone", "not public"):
        database.bury("image", image_id)
    elif answer:
        url = answers.size_address(answer, sizes)
        database.change("UPDATE images SET url = ? WHERE image_id = ?", (url, image_id))


def drop_the_vanished(database: Database, reader: Reader, sizes: Sequence[str]) -> None:
    """Drop photos that stand in nobody's favorites any more, with a tombstone for those that are gone upstream."""
    vanished = "image_id NOT IN (SELECT image_id FROM favorites)"
    for (image_id,) in database.query(f"SELECT image_id FROM images WHERE {vanished} ORDER BY image_id"):
        find_address(database, reader, sizes, image_id)
        if not database.query(
            "SELECT 1 FROM fetched WHERE kind = 'sizes' AND id = ? AND outcome = 'failed'", (image_id,)
        ):
            database.change("DELETE FROM images WHERE image_id = ?", (image_id,))
