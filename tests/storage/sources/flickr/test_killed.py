"""A crawl of 400 users and 8,000 photos, from a server that often fails, killed again and again."""

import multiprocessing
import time
from collections import Counter
from copy import deepcopy
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from storage.settings.flickr import PictureConfig
from storage.sources.flickr.walk import CrawlRequest
from tests.storage.sources.flickr.community import Community, make
from tests.storage.sources.flickr.run import quick, run
from tests.storage.sources.flickr.server import Faults, Flickr, served

NUM_USERS, NUM_PHOTOS, ADDRESSES = 400, 8_000, 200
FAILING = {0: (429, {"Retry-After": "1"})} | {row: ((429, 500, 502, 503, 504)[row % 5], {}) for row in range(1, 11)}
KILLED_AT = [("api", share / 10) for share in (0.5, 2, 3, 4, 5, 6, 8, 9.7)] + [("pictures", 0.3), ("pictures", 0.7)]

# Processes that are there at once, and take SIGKILL as any other.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.storage.sources.flickr.run"])


@cache
def community() -> Community:
    community = make(NUM_USERS, NUM_PHOTOS, addresses=ADDRESSES)
    for user_id in list(community.users)[50::39]:
        community.delete_user(user_id)
    return community


def start(flickr: Flickr, out: Path, resume: bool) -> multiprocessing.process.BaseProcess:
    request = CrawlRequest(users=(flickr.community.first,), groups=("90002@N20",), depth=20, max_users=NUM_USERS)
    process = processes.Process(target=run, args=(out, quick(flickr.address), request, resume))
    process.start()
    return process


def prepare(flickr: Flickr) -> None:
    """The community as it is in the beginning, faults of every kind, lists that change when they are first read."""
    flickr.community = deepcopy(community())
    flickr.asked, flickr.answered, flickr.received = Counter(), Counter(), Counter()
    late = f"flickr.people.getPublicGroups user_id={list(flickr.community.users)[20]}"
    flickr.faults = Faults(statuses=FAILING, truncated=set(range(11, 21)), hanging={late}, modulus=800)
    flickr.shifting = set(list(flickr.community.users)[::24])
    longest = {user_id: user for user_id, user in flickr.community.users.items() if user_id in flickr.shifting}
    for user in longest.values():  # more than one page
        user.contacts = sorted({*user.contacts, *list(flickr.community.users)[100:220]})
    html = b"<html>not found</html>"
    flickr.pictures = {
        "/65535/8_red_n.jpg": (200, {"Content-Type": "image/jpeg"}, html),
        "/65535/9_blue_n.jpg": (200, {"Content-Type": "image/jpeg", "Content-Length": "5000"}, html),
        "/65535/10_green_n.jpg": (200, {"Content-Type": "text/html"}, html),
        "/65535/11_gold_n.jpg": (404, {}, b""),
    }


@pytest.fixture(scope="module")
def server():
    with served(Community({}, {}, {})) as flickr:
        yield flickr


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory):
    """An uninterrupted crawl: its folder, the requests that the server received, and its answers."""
    out = tmp_path_factory.mktemp("whole")
    prepare(server)
    process = start(server, out, resume=False)
    process.join()
    assert process.exitcode == 0
    return out, server.asked, server.answered, server.received


@pytest.fixture(scope="module")
def killed(server, whole, tmp_path_factory):
    """The same crawl of the same server, killed while it reads lists, and while it fetches pictures."""
    out = tmp_path_factory.mktemp("killed")
    prepare(server)
    for kind, share in KILLED_AT:
        process = start(server, out, resume=True)
        while server.received[kind] < share * whole[3][kind]:
            assert process.is_alive()
            time.sleep(0.002)
        process.kill()
        process.join()
    process = start(server, out, resume=True)
    process.join()
    assert process.exitcode == 0
    return out, server.asked, server.answered, server.received


def content(out: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(out)): file.read_bytes()
        for file in sorted(out.rglob("*"))
        if file.is_file() and ".crawl" not in file.parts
    }


def read(out: Path) -> dict[str, pl.DataFrame]:
    return {file.stem: pl.read_parquet(file) for file in out.glob("*.parquet")}


def test_a_crawl_reads_the_whole_community_whatever_fails(whole):
    out, asked, answered, _ = whole
    found, expected = read(out), community()
    favorites = {
        (user_id, photo, second)
        for user_id, user in expected.users.items()
        if not user.hides_favorites
        for photo, second in user.favorites
    }

    assert set(found["users"]["user_id"]) == set(expected.users)
    assert len(favorites) == len(found["favorites"])
    assert {(user, photo) for user, photo, _ in favorites} == set(found["favorites"][:, :2].rows())
    assert set(found["images"]["image_id"]) == {photo for _, photo, _ in favorites}
    assert len(found["images"]) > 7_600
    assert asked.total() > answered.total() + 20  # it did fail, in every way


def test_pictures_that_lie_are_in_quarantine_and_their_images_have_none(whole):
    found = read(whole[0])
    reasons = dict(found["quarantine"].select(pl.col("value").str.split("/").list.last(), "reason").rows())

    assert reasons == {
        "8_red_n.jpg": "lying content type",
        "9_blue_n.jpg": "lying content length",
        "10_green_n.jpg": "no picture's content type",
    }
    without = found["images"].filter(pl.col("path").is_null())
    assert set(without["url"].str.split("/").list.last()) == {*reasons, "11_gold_n.jpg"}


def test_a_crawl_that_was_killed_ten_times_ends_with_the_same_source(whole, killed):
    assert content(killed[0]) == content(whole[0])


def test_nothing_is_fetched_twice(whole):
    shifting = set(list(community().users)[::24])
    again = {asked for asked, count in whole[2].items() if count > 1}

    # A list that changed between its pages is read again, and nothing else is.
    assert {asked.split("user_id=")[-1] for asked in again} <= shifting
    assert all(asked.startswith("flickr.contacts") for asked in again)


def test_a_kill_loses_at_most_the_page_and_the_pictures_in_flight(whole, killed):
    more = killed[2] - whole[2]
    pages = sum(count for asked, count in more.items() if asked.startswith("flickr."))

    assert pages <= len(KILLED_AT)
    assert more.total() - pages <= 2 * PictureConfig().threads  # two of the kills were among the pictures
