"""The gallery's pages: each from a run and from links, which a server and a static folder make in their own ways."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Protocol
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response
from jinja2 import ChoiceLoader, Environment, FileSystemLoader
from markupsafe import Markup
from starlette.exceptions import HTTPException

from models.ensemble.reason_words import reason_in_words
from models.evaluation.headlines import HEADLINES, headline_of
from storage.manifests import Manifest
from tasks.gallery import pictures
from tasks.gallery.runs import Listed, Run, Runs, UnableError, UnknownError
from tasks.pages.night import METRICS, PROTOCOLS, environment
from tasks.upkeep.difference import difference

NUM_PEOPLE, NUM_STRIP, NUM_PICTURES = 12, 6, 24  # of the start page
NUM_LIKED, NUM_LISTED, NUM_USERS = 60, 60, 40
NUM_WHY = 2  # signals of a recommendation, the largest first
NUM_PICKED, NUM_OFFERED = 5, 60
ASSETS = {"gallery.css": "text/css", "gallery.js": "text/javascript"}
DAY_S = 86_400


class Links(Protocol):
    """Addresses of pages, pictures and other files, as they stand in a page."""

    is_static: bool

    def page(self, name: str, **query: str) -> str:
        """Of a page: `start`, `user` with an id, and so on."""

    def picture(self, image_id: str) -> str:
        """Of an image's thumbnail."""

    def asset(self, name: str) -> str:
        """Of a style sheet or a script."""


class ServerLinks:
    """Addresses on the server; they name the run where the page's own address does."""

    is_static = False

    def __init__(self, run_id: str | None):
        self.query = {"run": run_id} if run_id else {}

    def page(self, name: str, **query: str) -> str:
        """Of a page."""
        path = "/" if name == "start" else f"/{name}"
        return f"{path}?{urlencode(asked)}" if (asked := {**query, **self.query}) else path

    def picture(self, image_id: str) -> str:
        """Of an image's thumbnail."""
        return self.page("picture", id=image_id)

    def asset(self, name: str) -> str:
        """Of a style sheet or a script."""
        return f"/assets/{name}"


@dataclass(frozen=True)
class Tile:
    """An image on a page."""

    image_id: str
    title: str
    rank: int | None = None
    score: float | None = None
    near: str | None = None  # the liked image that is nearest to it
    near_title: str = ""
    why: tuple[str, ...] = ()  # what adds most to the score, where the run exports reasons


def tiles_of(run: Run, images: Iterable[int]) -> list[Tile]:
    """Images by row, as tiles."""
    ids = [str(run.image_ids[image]) for image in images]
    return [Tile(id_, title_of(run, id_)) for id_ in ids]


def title_of(run: Run, image_id: str) -> str:
    """What is written below an image: its title, else its id."""
    row = run.image_row.get(image_id)
    return (row is not None and run.titles[row]) or image_id


def listed_tiles(run: Run, images: Sequence[Listed], liked: Sequence[int] = ()) -> list[Tile]:
    """A list's images as tiles, each with the liked one that is nearest to it."""
    near = run.closest([run.image_row[item.image_id] for item in images], liked) if len(liked) else [None] * len(images)
    tiles = []
    for item, row in zip(images, near, strict=True):
        near_id = None if row is None else str(run.image_ids[row])
        near_title = title_of(run, near_id) if near_id else ""
        tiles.append(Tile(item.image_id, title_of(run, item.image_id), item.rank, item.score, near_id, near_title))
    return tiles


def evenly(rows: np.ndarray, at_most: int) -> list[int]:
    """Some of the rows, evenly spaced."""
    if not len(rows):
        return []
    return [int(row) for row in rows[np.unique(np.linspace(0, len(rows) - 1, at_most).astype(int))]]


def start(run: Run) -> dict[str, Any]:
    """Some people with the beginning of their lists, the favorites of most users, and the run's figures."""
    people = [
        {
            "user_id": str(run.user_ids[user]),
            "name": run.names[user],
            "liked": tiles_of(run, run.liked.of(user, NUM_STRIP)[0]),
            "got": listed_tiles(run, run.listed(run.recommendations, user, NUM_STRIP)),
        }
        for user in evenly(np.flatnonzero(run.recommendations.lengths), NUM_PEOPLE)
    ]
    likes = run.liked_by.lengths if len(run.liked.items_N) else run.recommended_to.lengths
    popular = np.lexsort((np.arange(len(likes)), -likes))[:NUM_PICTURES]
    return {"people": people, "popular": tiles_of(run, popular), "figures": figures(run.manifest)}


def user(run: Run, user_id: str) -> dict[str, Any]:
    """What a user likes and what they got."""
    row = run.user(user_id)
    liked = run.liked.of(row)[0]
    listed, reasons = run.listed(run.recommendations, row, NUM_LISTED), run.reasons(user_id)
    return {
        "user_id": user_id,
        "name": run.names[row],
        "num_liked": len(liked),
        "liked": tiles_of(run, liked[:NUM_LIKED]),
        "num_got": int(run.recommendations.lengths[row]),
        "got": [replace(tile, why=_why(run, reasons, tile)) for tile in listed_tiles(run, listed, liked.tolist())],
    }


def _why(run: Run, reasons: dict[int, list[tuple[str, float, str | None]]], tile: Tile) -> tuple[str, ...]:
    shown = []
    for signal, share, because in reasons.get(tile.rank or 0, [])[:NUM_WHY]:
        behind = because and (title_of(run, because) if signal in ("favorites", "content") else because)
        shown.append(f"{share:+.2f} {reason_in_words(signal, behind or None)}")
    return tuple(shown)


def image(run: Run, image_id: str) -> dict[str, Any]:
    """An image, those that are like it, who likes it and who gets it."""
    row = run.image(image_id)
    return {
        "image_id": image_id,
        "title": title_of(run, image_id),
        "tags": run.tags_of(row),
        "similar": listed_tiles(run, run.listed(run.similar, row, NUM_LISTED)),
        "likers": _users(run, run.liked_by.of(row, NUM_USERS)[0]),
        "num_likers": int(run.liked_by.lengths[row]),
        "getters": _users(run, run.recommended_to.of(row, NUM_USERS)[0]),
        "num_getters": int(run.recommended_to.lengths[row]),
    }


def clusters(run: Run) -> dict[str, Any]:
    """The largest clusters with examples."""
    shown = [
        {"cluster": item, "tiles": tiles_of(run, [run.image_row[id_] for id_ in item.examples])}
        for item in run.clusters
    ]
    return {"clusters": shown}


def search(run: Run, query: str) -> dict[str, Any]:
    """Users and images that a search found."""
    users, images = run.find(query, NUM_USERS)
    return {
        "query": query,
        "users": _users(run, [run.user_row[id_] for id_ in users]),
        "images": tiles_of(run, [run.image_row[id_] for id_ in images]),
    }


def pick(run: Run, image_ids: Sequence[str]) -> dict[str, Any]:
    """Pictures to choose from; and, where some are chosen, what a newcomer with these favorites would get."""
    chosen = [image_id for image_id in dict.fromkeys(image_ids) if image_id in run.image_row][:NUM_PICKED]
    unable, got = "", list[Tile]()
    if chosen:
        try:
            listed = run.for_newcomer(chosen, NUM_LISTED // 2)
            got = listed_tiles(run, listed, [run.image_row[image_id] for image_id in chosen])
        except UnableError as error:
            unable = str(error)
    likes = run.liked_by.lengths
    offered = evenly(np.lexsort((np.arange(len(likes)), -likes))[: max(NUM_OFFERED, len(likes) // 10)], NUM_OFFERED)
    rows = [run.image_row[image_id] for image_id in chosen]
    return {
        "chosen": tiles_of(run, rows),
        "got": got,
        "unable": unable,
        "offered": tiles_of(run, [*rows, *(row for row in offered if row not in rows)]),
        "most": NUM_PICKED,
    }


def map_(run: Run, links: Links) -> dict[str, Any]:
    """The map of images: ready, busy, or why there is none."""
    found: dict[str, Any] = {"state": "ready", "points": links.asset("points.js"), "picture": "", "target": ""}
    if isinstance(links, ServerLinks):
        found |= {"points": links.page("points.js"), "target": links.page("image", id="ID")}
        found |= {"picture": links.page("picture", id="ID", size="small")}
    try:
        placed = run.positions(wait=links.is_static)
    except UnableError as error:
        return {**found, "state": str(error), "count": 0}
    return {**found, "state": "busy" if placed is None else "ready", "count": 0 if placed is None else len(placed)}


def points(run: Run, links: Links) -> bytes:
    """A script with the map's points, from 0 to 65,535, and ids; for a folder also files, of images with a page."""
    placed = run.positions(wait=True)
    assert placed is not None
    ids = run.image_ids[run.has_vector]
    if links.is_static:
        has_page = np.array([bool(links.page("image", id=id_)) for id_ in ids], bool)
        ids, placed = ids[has_page], placed[has_page]
    x, y = (placed * 65535).astype(int).T.tolist()
    value = {"x": x, "y": y, "ids": ids.tolist()}
    if links.is_static:
        value["pages"] = [links.page("image", id=id_) for id_ in ids]
        value["pictures"] = [links.picture(id_) for id_ in ids]
    return f"window.points = {_script(value)};".encode()


def entries(run: Run, links: Links, users: Iterable[str], images: Iterable[str]) -> bytes:
    """A script with what a folder's search finds: texts, each with its page."""
    names = [(run.names[run.user_row[id_]], "user", id_) for id_ in users]
    titles = [(run.titles[run.image_row[id_]], "image", id_) for id_ in images]
    found = [(f"{text} ({id_})" if text else id_, links.page(name, id=id_)) for text, name, id_ in names + titles]
    return f"window.entries = {_script(found)};".encode()


def _script(value: Any) -> str:
    """A value as JSON that no page's parser takes for markup."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def compare(runs: Runs, first: Run, second: Run, user_id: str) -> dict[str, Any]:
    """Two runs: their figures, how their lists differ, and one user's lists side by side."""
    lists = []
    for run in (first, second):
        row = run.user_row.get(user_id)
        listed = [] if row is None else run.listed(run.recommendations, row, NUM_LISTED // 2)
        lists.append(listed_tiles(run, listed))
    ids = [{tile.image_id for tile in tiles} for tiles in lists]
    if user_id and all(user_id not in run.user_row for run in (first, second)):
        raise UnknownError("user", user_id, f"runs {first.run_id} and {second.run_id}", first.user_index.near(user_id))
    is_same = first.run_id == second.run_id
    return {
        "first": first,
        "second": second,
        "figures": [figures(run.manifest) for run in (first, second)],
        "differences": [] if is_same or user_id else difference(first.manifest, second.manifest, first.root, 8),
        "user_id": user_id,
        "lists": lists,
        "only": [ids[0] - ids[1], ids[1] - ids[0]],
        "published": runs.manifests(),
    }


def figures(manifest: Manifest) -> list[tuple[str, str]]:
    """The headline figures of a run, each with its name."""
    shown = []
    for protocol, metric in HEADLINES:
        if row := headline_of(manifest.metrics, manifest.system, protocol, metric):
            value = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            shown.append((f"{METRICS.get(metric, metric)}@{row['k']}, {PROTOCOLS.get(protocol, protocol)}", value))
    return shown


def render(page: str, links: Links, run: Run | None, **context: Any) -> str:
    """A page as HTML; every string in it is data, never markup."""
    return _environment().get_template(f"{page}.html.jinja").render(links=links, run=run, **context)


def asset(name: str) -> bytes:
    """A style sheet or a script."""
    return _environment().get_template(f"{name}.jinja").render().encode()


def problem(text: str, nearest: Sequence[str], runs: Runs) -> str:
    """The page of an error."""
    return render("problem", ServerLinks(None), None, text=text, nearest=nearest)


def router(runs: Runs) -> APIRouter:
    """The routes of the pages."""
    routes = APIRouter(default_response_class=HTMLResponse)
    text = Annotated[str, Query(max_length=2000)]
    run_id = Annotated[str | None, Query(alias="run", max_length=200)]

    def page(name: str, of: str | None, context: dict[str, Any]) -> str:
        return render(name, ServerLinks(of), runs.run(of), **context)

    @routes.get("/")
    def start_page(of: run_id = None) -> str:
        return page("start", of, start(runs.run(of)))

    @routes.get("/user")
    def user_page(id: text, of: run_id = None) -> str:
        return page("user", of, user(runs.run(of), id))

    @routes.get("/image")
    def image_page(id: text, of: run_id = None) -> str:
        return page("image", of, image(runs.run(of), id))

    @routes.get("/clusters")
    def clusters_page(of: run_id = None) -> str:
        return page("clusters", of, clusters(runs.run(of)))

    @routes.get("/search")
    def search_page(q: text = "", of: run_id = None) -> str:
        return page("search", of, search(runs.run(of), q))

    @routes.get("/pick")
    def pick_page(image: Annotated[list[str], Query(max_length=100)] = [], of: run_id = None) -> str:  # noqa: B006
        return page("pick", of, pick(runs.run(of), image))

    @routes.get("/compare")
    def compare_page(second: str | None = None, user: text = "", of: run_id = None) -> str:
        others = [found.run_id for found in runs.manifests()]
        one = runs.run(of)
        other = second or next((id_ for id_ in others if id_ != one.run_id), one.run_id)
        return page("compare", of, compare(runs, one, runs.run(other), user))

    @routes.get("/map")
    def map_page(of: run_id = None) -> str:
        return page("map", of, map_(runs.run(of), ServerLinks(of)))

    @routes.get("/points.js")
    def points_script(of: run_id = None) -> Response:
        run = runs.run(of)
        if run.positions() is None:
            raise HTTPException(503, "the map is being computed")
        return Response(
            points(run, ServerLinks(of)), media_type=ASSETS["gallery.js"], headers={"cache-control": "no-cache"}
        )

    @routes.get("/picture")
    def picture(id: text, of: run_id = None, size: str = "large") -> Response:
        run = runs.run(of)
        if size not in pictures.SIZES:
            raise HTTPException(422, f"size is one of {', '.join(pictures.SIZES)}")
        row, size_px = run.image(id), pictures.SIZES[size]
        if jpeg := run.pictures.jpeg(run.paths[row], size_px):
            return Response(jpeg, media_type="image/jpeg", headers={"cache-control": f"private, max-age={DAY_S}"})
        svg = pictures.plate(id, run.titles[row], size_px)
        return Response(svg, media_type="image/svg+xml", headers={"cache-control": "no-store"})

    @routes.get("/assets/{name}")
    def asset_file(name: str) -> Response:
        if name not in ASSETS:
            raise HTTPException(404, "not found")
        return Response(asset(name), media_type=ASSETS[name], headers={"cache-control": "no-cache"})

    return routes


def _users(run: Run, users: Iterable[int]) -> list[tuple[str, str | None]]:
    return [(str(run.user_ids[user]), run.names[user]) for user in users]


@cache
def _environment() -> Environment:
    found = environment()
    assert found.loader
    found.filters["href"] = lambda link: Markup(' href="{}"').format(link) if link else ""
    found.loader = ChoiceLoader([FileSystemLoader(Path(__file__).parent / "templates"), found.loader])
    return found
