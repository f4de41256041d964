"""Requests for single photos: fields that their lists lack, and whether vanished photos still exist."""

from collections.abc import Sequence
from typing import Any

from storage.sources.flickr import answers
from storage.sources.flickr.database import Database, Outcome
from storage.sources.flickr.lists import Reader

# The photos of the current crawl: those that a user of its frontier favorited.
IN_REACH = "image_id IN (SELECT image_id FROM favorites JOIN frontier USING (user_id))"


def complete(database: Database, reader: Reader, sizes: Sequence[str]) -> None:
    """Request the url and the tags of photos whose lists lack them."""

    def keep_tags(answer: dict[str, Any]) -> None:
        database.change("UPDATE images SET tags = ? WHERE image_id = ?", (answers.photo_tags(answer), image_id))

    for (image_id,) in database.query(
        f"SELECT image_id FROM images WHERE url IS NULL AND {IN_REACH} ORDER BY image_id"
    ):
        ask_for_sizes(database, reader, sizes, "sizes", image_id)
    for (image_id,) in database.query(
        f"SELECT image_id FROM images WHERE tags IS NULL AND {IN_REACH} ORDER BY image_id"
    ):
        outcome, _ = reader.ask("photo tags", image_id, "flickr.tags.getListPhoto", keep_tags, photo_id=image_id)
        if outcome == "gone":
            database.add_tombstone("image", image_id)


def find_missing(database: Database, reader: Reader, sizes: Sequence[str], images: str) -> None:
    """Request the new address of photos whose picture is missing. `images` is the query of their ids, in order."""
    for (image_id,) in database.query(images):
        ask_for_sizes(database, reader, sizes, "whereabouts", image_id)


def drop_vanished(database: Database, reader: Reader, sizes: Sequence[str]) -> None:
    """Delete photos that are no user's favorite any more, and add a tombstone for those that are gone upstream."""
    vanished = "image_id NOT IN (SELECT image_id FROM favorites)"
    for (image_id,) in database.query(f"SELECT image_id FROM images WHERE {vanished} ORDER BY image_id"):
        if ask_for_sizes(database, reader, sizes, "whereabouts", image_id) != "failed":
            database.change("DELETE FROM images WHERE image_id = ?", (image_id,))


def ask_for_sizes(database: Database, reader: Reader, sizes: Sequence[str], kind: str, image_id: str) -> Outcome:
    """Request the url of a photo's picture. A photo that is gone or no longer public gets a tombstone."""

    def keep_address(answer: dict[str, Any]) -> None:
        url = answers.size_address(answer, sizes)
        database.change("UPDATE images SET url = ? WHERE image_id = ?", (url, image_id))

    outcome, _ = reader.ask(kind, image_id, "flickr.photos.getSizes", keep_address, photo_id=image_id)
    if outcome in ("gone", "not public"):
        database.add_tombstone("image", image_id)
    return outcome
