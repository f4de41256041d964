"""The pictures of a crawl, in files named by their content."""

import hashlib
import time
from contextlib import closing

from storage.roots import Root
from storage.settings.flickr import PictureConfig
from storage.settings.images import ImageLimits
from storage.sources.downloads.pictures import (
    Answers,
    Downloader,
    Picture,
    Progress,
    QuarantinedError,
    refuse_broken,
)
from storage.sources.flickr.client import FlickrError
from storage.sources.flickr.database import Crawl, Database
from storage.sources.flickr.photos import IN_REACH

FOLDER = "images"  # below the source directory
BEGINNINGS = {  # content type -> first bytes of such a file, and its name's ending
    "image/jpeg": (b"\xff\xd8\xff", "jpg"),
    "image/png": (b"\x89PNG\r\n\x1a\n", "png"),
    "image/gif": (b"GIF8", "gif"),
    "image/webp": (b"RIFF", "webp"),
}
PLACEHOLDER = "photo_unavailable"  # in the url that Flickr redirects to if a photo is gone


def _place(_url: str, type_: str, data: bytes) -> str:
    """Named by its content; a picture must be of the type that is declared."""
    if not data.startswith(BEGINNINGS[type_][0]):
        raise QuarantinedError("lying content type")
    refuse_broken(data, ImageLimits())
    name = hashlib.sha256(data).hexdigest()
    return f"{FOLDER}/{name[:2]}/{name}.{BEGINNINGS[type_][1]}"


OF_FLICKR = Answers(BEGINNINGS.__contains__, lambda path: PLACEHOLDER in path, _place)


def fetch_due(
    database: Database,
    crawl: Crawl,
    root: Root,
    config: PictureConfig,
    on_picture: Progress = lambda _done, _total: None,
) -> int:
    """The number of urls requested: those of the crawl's photos that are not fresh. Raises FlickrError."""
    wanted = due(database, crawl, root, config)
    failures = 0
    with closing(Downloader(root, config, OF_FLICKR)) as downloader, closing(downloader.fetch_all(wanted)) as found:
        for done, picture in enumerate(found, 1):
            keep(database, picture, time.time())
            on_picture(done, len(wanted))
            failures = failures + 1 if picture.outcome == "failed" else 0
            if failures == config.failures:
                raise FlickrError(
                    f"{failures} pictures failed one after the other, the last one with: {picture.reason}; "
                    f"start again later with --resume"
                )
    return len(wanted)


def due(database: Database, crawl: Crawl, root: Root, config: PictureConfig) -> list[Picture]:
    """The pictures to request, by url, with their stored state."""
    since = crawl.begun_at - config.freshness_days * 86_400
    rows = database.query(
        f"""SELECT DISTINCT images.url, outcome, reason, path, etag, last_modified, fetched_at
            FROM images LEFT JOIN pictures USING (url) WHERE url IS NOT NULL AND {IN_REACH} ORDER BY images.url"""
    )
    wanted = []
    for url, outcome, reason, path, etag, last_modified, fetched_at in rows:
        is_missing = path is not None and not root.exists(path)
        if is_missing or fetched_at is None or fetched_at < since or outcome == "failed":
            has_file = path is not None and not is_missing
            wanted.append(Picture(url, outcome, reason, path, etag, last_modified) if has_file else Picture(url))
    return wanted


def missing(crawl: Crawl) -> str:
    """The query of the images whose picture this crawl did not find at its url."""
    return f"""SELECT image_id FROM images JOIN pictures USING (url)
        WHERE outcome = 'gone' AND fetched_at >= {crawl.begun_at!r} AND {IN_REACH} ORDER BY image_id"""


def keep(database: Database, picture: Picture, now: float) -> None:
    """Store the outcome of a picture. One that failed keeps its earlier file."""
    database.change(
        "INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?)",
        (picture.url, now, picture.outcome, picture.reason, picture.path, picture.etag, picture.last_modified),
    )


def sweep(database: Database, root: Root) -> None:
    """Delete files that belong to no picture any more."""
    kept = {path for (path,) in database.query("SELECT path FROM pictures WHERE path IS NOT NULL")}
    for entry in list(root.entries(FOLDER)):
        if entry.path not in kept:
            root.delete(entry.path)
