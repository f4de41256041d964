"""The gallery as a static folder, for those who may not run a server: it works from file:// too."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tasks.gallery import pages
from tasks.gallery.pictures import SIZES, plate
from tasks.gallery.runs import Run, UnableError

MARK = "gallery.css"  # a folder with it is one of ours, and may be written again
SHOWN_SIMILAR = 12  # of an image: each of them is a picture in the folder


@dataclass(frozen=True)
class Written:
    """How many pages and pictures a folder has."""

    users: int
    images: int
    pictures: int
    bytes: int


@dataclass
class FolderLinks:
    """Addresses of files in one folder; an id without a page has none. Writes the pictures that pages show."""

    users: frozenset[str]
    images: frozenset[str]
    run: Run
    folder: Path
    pictures: dict[str, int] = field(default_factory=dict)  # bytes of each that was written
    is_static: bool = True

    def page(self, name: str, **query: str) -> str:
        """Of a page: a file named by the digest of the id; empty where the folder has none."""
        if name in ("user", "image"):
            known = query["id"] in (self.users if name == "user" else self.images)
            return f"{name}-{_digest(query['id'])}.html" if known else ""
        return "index.html" if name == "start" else f"{name}.html"

    def picture(self, image_id: str) -> str:
        """Of an image's thumbnail, or of the plate in its place."""
        row, size_px = self.run.image_row[image_id], SIZES["large"]
        name = f"pictures/{_digest(image_id)}"
        if found := next((name + end for end in (".jpg", ".svg") if name + end in self.pictures), None):
            return found
        jpeg = self.run.pictures.jpeg(self.run.paths[row], size_px)
        data, name = (jpeg, f"{name}.jpg") if jpeg else (plate(image_id, self.run.titles[row], size_px), f"{name}.svg")
        (self.folder / name).write_bytes(data)
        self.pictures[name] = len(data)
        return name

    def asset(self, name: str) -> str:
        """Of a style sheet or a script."""
        return name


def write(run: Run, folder: Path, max_users: int) -> Written:
    """Write pages of so many users, evenly spaced by id, of the images in their lists, of clusters, and the map.

    Raises ValueError for a folder that holds something else, or that lies below the root, where nothing is written.
    """
    _check(folder, run)
    users = pages.evenly(np.flatnonzero(run.recommendations.lengths), max_users)
    images = {row for user in users for row in run.recommendations.of(user, pages.NUM_LISTED)[0].tolist()}
    images |= {row for user in users for row in run.liked.of(user, pages.NUM_LISTED)[0].tolist()}
    start, clusters = pages.start(run), pages.clusters(run)
    images |= {run.image_row[tile.image_id] for tile in start["popular"]}
    images |= {run.image_row[tile.image_id] for item in clusters["clusters"] for tile in item["tiles"]}
    user_ids, image_ids = ([str(id_) for id_ in ids] for ids in (run.user_ids[users], run.image_ids[sorted(images)]))
    links = FolderLinks(frozenset(user_ids), frozenset(image_ids), run, folder)
    start["people"] = [person for person in start["people"] if person["user_id"] in links.users]
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    size = 0

    def put(name: str, content: bytes | str) -> None:
        nonlocal size
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)
        size += len(data)

    for name in pages.ASSETS:
        put(name, pages.asset(name))
    put("index.html", pages.render("start", links, run, **start))
    put("clusters.html", pages.render("clusters", links, run, **clusters))
    put("search.html", pages.render("found", links, run, query=""))
    put("map.html", pages.render("map", links, run, **pages.map_(run, links)))
    for user_id in user_ids:
        put(links.page("user", id=user_id), pages.render("user", links, run, **pages.user(run, user_id)))
    for image_id in image_ids:
        shown = pages.image(run, image_id)
        shown["similar"] = shown["similar"][:SHOWN_SIMILAR]
        put(links.page("image", id=image_id), pages.render("image", links, run, **shown))
    put("entries.js", pages.entries(run, links, user_ids, image_ids))
    with suppress(UnableError):
        put("points.js", pages.points(run, links))
    return Written(len(user_ids), len(image_ids), len(links.pictures), size + sum(links.pictures.values()))


def _digest(id_: str) -> str:
    return hashlib.sha256(id_.encode()).hexdigest()[:20]


def _check(folder: Path, run: Run) -> None:
    if not run.root.is_remote and folder.resolve().is_relative_to(Path(run.root.address)):
        raise ValueError(f"{folder}: lies below the root {run.root.address}, where the gallery writes nothing")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise ValueError(f"{folder}: holds other files; name a new or an empty folder")
