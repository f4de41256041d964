"""Whole crawls of a small community: who is reached, what comes out, what a second crawl costs, who is forgotten."""

import fcntl
import json
import logging
from pathlib import Path

import polars as pl
import pytest

from storage.roots import Root
from storage.settings.directory import IngestConfig
from storage.sources import directory
from storage.sources.flickr import crawl
from storage.sources.flickr.client import FlickrError
from storage.sources.flickr.walk import CrawlRequest, seeds_in
from tests.storage.sources.flickr.run import quick, run
from tests.storage.sources.flickr.server import KEY, Faults


@pytest.fixture
def users(flickr):
    return flickr.community.users


@pytest.fixture
def go(flickr, tmp_path):
    """Crawls from the first user into `source`, as far as it goes; everything counts as old at once."""

    def go(
        request: CrawlRequest | None = None, resume: bool = False, freshness_days: float = 0.0, key: str = KEY
    ) -> dict:
        config = quick(flickr.address, freshness_days=freshness_days)
        run(tmp_path / "source", config, request or CrawlRequest(users=(flickr.community.first,), depth=9), resume, key)
        return {file.stem: pl.read_parquet(file) for file in (tmp_path / "source").glob("*.parquet")}

    return go


def ids(table: pl.DataFrame, column: str) -> set[str]:
    return set(table[column])


def test_what_comes_out_is_a_source_without_a_fault(go, flickr, tmp_path):
    go()
    community = directory.ingest(Root(str(tmp_path / "source")), IngestConfig())

    assert community.quarantine.is_empty()
    assert community.report["unknown_files"] in (["quarantine.parquet"], ["quarantine.parquet", "tombstones.parquet"])
    assert ids(community.tables["users"], "user_id") == set(flickr.community.users)
    assert len(community.tables["contacts"]) == sum(len(user.contacts) for user in flickr.community.users.values())
    assert len(community.tables["user_tags"]) == sum(len(user.tags) for user in flickr.community.users.values())
    assert len(community.tables["memberships"]) == sum(len(user.groups) for user in flickr.community.users.values())


def test_an_images_row_tells_what_flickr_tells(go, flickr):
    found = go()
    image_id, photo = next(
        (image_id, photo) for image_id, photo in flickr.community.photos.items() if not photo.is_listed_with_address
    )
    (row,) = found["images"].filter(image_id=image_id).to_dicts()

    assert row["title"] == photo.title
    assert row["owner_id"] == photo.owner
    assert row["url"] == flickr.address + photo.picture
    assert row["path"].startswith("images/")
    assert row["uploaded_at"].timestamp() == photo.uploaded_at
    assert ids(found["image_tags"].filter(image_id=image_id), "tag") == set(photo.tags)


def test_depth_counts_steps_over_contacts_and_groups(go, flickr, users):
    first = flickr.community.first
    direct = {first, *users[first].contacts}
    by_group = {
        flickr.community.photos[photo].owner
        for group in users[first].groups
        for photo in flickr.community.groups[group].pool
    }

    assert ids(go(CrawlRequest(users=(first,), depth=0))["users"], "user_id") == {first}
    assert ids(go(CrawlRequest(users=(first,), depth=1))["users"], "user_id") == direct | by_group


def test_where_there_is_not_room_for_all_those_whom_most_follow_come_first(go, flickr, users):
    first, friend, stranger, favorite = list(users)[:4]
    for user in users.values():
        user.contacts, user.groups = [], []
    users[first].contacts, users[friend].contacts = [friend, stranger], [favorite]
    users[stranger].contacts = [list(users)[9], favorite]

    found = go(CrawlRequest(users=(first,), depth=2, max_users=4))
    assert ids(found["users"], "user_id") == {first, friend, stranger, favorite}


def test_groups_are_read_only_where_contacts_leave_room(go, flickr, users):
    first = flickr.community.first
    go(CrawlRequest(users=(first,), depth=1, max_users=1 + len(users[first].contacts)))

    assert flickr.requests("groups") == 0


def test_seeds_are_ids_names_and_groups(go, flickr, tmp_path):
    file = tmp_path / "seeds.txt"
    file.write_text(f"# whom we know\n{list(flickr.community.users)[7]}  # an id\n\nuser 9\ngroup:90001@N20\n")
    by_id, by_name = list(flickr.community.users)[7], list(flickr.community.users)[9]
    named, groups = seeds_in(file)
    found = go(CrawlRequest(users=tuple(named), groups=tuple(groups), depth=0))
    members = {flickr.community.photos[photo].owner for photo in flickr.community.groups["90001@N20"].pool}

    assert ids(found["users"], "user_id") == {by_id, by_name} | members
    assert found["users"].filter(user_id=by_name)["name"].item() == "user 9"


def test_seeds_that_nobody_knows_are_named(go):
    with pytest.raises(FlickrError, match="no user is found from the seeds 1@N00, nobody"):
        go(CrawlRequest(users=("1@N00", "nobody")))


def test_within_the_freshness_window_a_second_crawl_asks_nothing(go, flickr, tmp_path):
    go()
    before, num_requests = files(tmp_path / "source"), flickr.asked.total()
    go(freshness_days=7)

    assert flickr.asked.total() == num_requests
    assert files(tmp_path / "source") == before


def files(out: Path) -> dict[str, bytes]:
    found = [file for file in out.rglob("*") if file.is_file() and ".crawl" not in file.parts]
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(found)}


def test_a_user_who_left_is_dropped_with_their_photos_and_gets_a_tombstone(go, flickr, tmp_path):
    before = go()
    leaver = next(id_ for id_, user in flickr.community.users.items() if id_ != flickr.community.first)
    photos = {id_ for id_, photo in flickr.community.photos.items() if photo.owner == leaver}
    seen = photos & ids(before["images"], "image_id")
    flickr.community.delete_user(leaver)
    after = go()

    assert seen
    assert set(after["tombstones"].rows()) == {("user", leaver), *(("image", image) for image in seen)}
    named = {(name, column) for name, table in after.items() for column in table.columns if name != "tombstones"}
    for name, column in named:
        if after[name][column].dtype == pl.String:
            assert not ids(after[name], column) & {leaver, *seen}, (name, column)


def test_no_byte_of_a_user_who_left_stays_but_the_tombstone(go, flickr, users, tmp_path):
    leaver = list(users)[5]
    users[leaver].name = "Ephemera Vanish"
    users[leaver].tags = {"unmistakableword": 3}
    go()
    assert b"unmistakableword" in (tmp_path / "source" / ".crawl" / "crawl.sqlite").read_bytes()
    flickr.community.delete_user(leaver)
    go()

    left = [file for file in (tmp_path / "source").rglob("*") if file.is_file()]
    assert all(word not in file.read_bytes() for file in left for word in (b"Ephemera Vanish", b"unmistakableword"))


def test_a_photo_that_is_gone_gets_a_tombstone_and_one_that_nobody_likes_any_more_does_not(go, flickr, users):
    found = go()
    deleted, unloved = sorted(ids(found["images"], "image_id"))[:2]
    flickr.community.delete_photo(deleted)
    for user in users.values():
        user.favorites = [pair for pair in user.favorites if pair[0] != unloved]
    after = go()

    assert after["tombstones"].rows() == [("image", deleted)]
    assert not ids(after["images"], "image_id") & {deleted, unloved}


def test_the_new_address_of_a_missing_picture_is_requested(go, flickr):
    found = go()
    broken, withdrawn = sorted(ids(found["images"], "image_id"))[:2]
    for image_id in (broken, withdrawn):  # an address that leads nowhere
        flickr.community.photos[image_id].picture = f"/old/{image_id}.jpg"
    flickr.withdrawn = {withdrawn}
    after = go()

    assert after["images"].filter(image_id=broken)["path"].item() is None
    assert after["tombstones"].rows() == [("image", withdrawn)]
    assert withdrawn not in ids(after["favorites"], "image_id")


def test_a_vanished_photo_is_requested_even_if_its_address_is_fresh(go, flickr, tmp_path):
    go()
    image_id = next(id_ for id_, photo in flickr.community.photos.items() if not photo.is_listed_with_address)
    flickr.community.delete_photo(image_id)
    with crawl.opened(tmp_path / "source") as database:  # as if all but this answer had been had a month ago
        database.change("UPDATE fetched SET fetched_at = fetched_at - 2600000 WHERE kind != 'sizes'")

    assert go(freshness_days=7)["tombstones"].rows() == [("image", image_id)]


def test_a_picture_whose_file_was_lost_is_fetched_again(go, flickr, tmp_path):
    before = go()
    lost = before["images"]["path"][0]
    (tmp_path / "source" / lost).unlink()
    num_requests = flickr.requests()
    go(freshness_days=7)

    assert (tmp_path / "source" / lost).is_file()
    assert flickr.requests() == num_requests


def test_who_comes_back_loses_the_tombstone_and_has_all_their_rows_again(go, flickr, users, tmp_path):
    leaver = list(users)[5]
    kept = users[leaver]
    before = go()
    del users[leaver]
    with crawl.opened(tmp_path / "source") as database:  # only one of their lists is no longer fresh
        database.change("UPDATE fetched SET fetched_at = 0 WHERE kind = 'tags' AND id = ?", (leaver,))
    assert ("user", leaver) in go(freshness_days=7)["tombstones"].rows()
    users[leaver] = kept
    with crawl.opened(tmp_path / "source") as database:  # a week later
        database.change("UPDATE fetched SET fetched_at = 0 WHERE outcome = 'gone' OR kind = 'contacts'")
    after = go(freshness_days=7)

    assert ("user", leaver) not in after["tombstones"].rows()
    for name in ("favorites", "user_tags", "memberships"):
        assert after[name].filter(user_id=leaver).equals(before[name].filter(user_id=leaver))


def test_pictures_that_nobody_shows_any_more_are_deleted(go, flickr, users, tmp_path):
    go()
    many = len(list((tmp_path / "source" / "images").rglob("*.jpg")))
    for user in users.values():
        user.favorites = [
            pair for pair in user.favorites if flickr.community.photos[pair[0]].picture.endswith("red_n.jpg")
        ]
    found = go()

    paths = {
        file.relative_to(tmp_path / "source").as_posix() for file in (tmp_path / "source" / "images").rglob("*.jpg")
    }
    assert paths == ids(found["images"], "path")
    assert len(paths) < many


def test_a_crawl_that_did_not_end_is_in_the_way_until_it_is_resumed(go, flickr):
    flickr.faults = Faults(statuses={0: (404, {})}, modulus=1, for_good=True)
    with pytest.raises(FlickrError):
        go()
    flickr.faults = Faults()
    with pytest.raises(ValueError, match=r"holds an unfinished crawl; continue it with --resume"):
        go()
    with pytest.raises(ValueError, match=r"request of the unfinished crawl was .* not .*user 3"):
        go(CrawlRequest(users=("user 3",)), resume=True)
    found = go(CrawlRequest(), resume=True)

    assert ids(found["users"], "user_id") == set(flickr.community.users)


def test_a_seed_given_by_name_is_looked_up_once_also_if_the_crawl_breaks_off_after_it(go, flickr):
    flickr.faults = Faults(statuses={0: (404, {})}, modulus=1, methods="contacts", for_good=True)
    with pytest.raises(FlickrError):
        go(CrawlRequest(users=("user 3",)))
    flickr.faults = Faults()
    found = go(CrawlRequest(), resume=True)

    assert found["users"].filter(name="user 3").height == 1
    assert flickr.requests("people.findByUsername") == 1


def test_a_crawl_without_a_seed_or_one_to_resume_is_refused(go):
    with pytest.raises(ValueError, match=r"no crawl to resume, and no seed; give --user"):
        go(CrawlRequest(), resume=True)


def test_what_failed_is_tried_again_when_the_crawl_goes_on(go, flickr, tmp_path):
    flickr.faults = Faults(statuses={row: (500, {}) for row in range(6)}, modulus=100, for_good=True)
    first = go()
    assert first["users"].height
    flickr.faults = Faults()
    after = go(freshness_days=7)

    assert ids(after["users"], "user_id") == set(flickr.community.users)
    assert len(after["user_tags"]) == sum(len(user.tags) for user in flickr.community.users.values())


def test_two_crawls_at_once_in_one_folder_are_refused(go, tmp_path):
    lock = tmp_path / "source" / crawl.FOLDER / "lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another crawl is running here"):
            go()


def test_the_key_is_nowhere_but_in_the_requests(go, flickr, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    go()
    flickr.echoes_key = True
    with pytest.raises(FlickrError) as refused:
        go(key=KEY[::-1])

    texts = [caplog.text, *capfd.readouterr(), str(refused.value), repr(refused.value), json.dumps(list(flickr.asked))]
    for key in (KEY, KEY[::-1]):
        assert all(key not in text for text in texts)
        assert all(key.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert "HTTP Request: POST" in caplog.text  # the log would have shown it
