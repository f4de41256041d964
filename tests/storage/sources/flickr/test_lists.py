"""Lists read page by page, also while they change."""

import time
from contextlib import closing

import pytest
from pydantic import SecretStr

from storage.sources.flickr.budget import Budget
from storage.sources.flickr.client import Client
from storage.sources.flickr.database import Database
from storage.sources.flickr.lists import Reader
from tests.storage.sources.flickr.run import quick
from tests.storage.sources.flickr.server import KEY, Faults


@pytest.fixture
def database(tmp_path):
    with closing(Database(tmp_path / "crawl.sqlite")) as database:
        yield database


@pytest.fixture
def reader(flickr, database, tmp_path):
    """Reads pages of five items, for a crawl that begins now."""
    config = quick(flickr.address, per_page=5)
    with closing(Client(SecretStr(KEY), config.api, Budget(tmp_path / "budget", config.budget))) as client:
        yield Reader(client, database, database.begin({}, time.time()), config.lists, config.pictures.sizes)


@pytest.fixture
def user(flickr):
    """The id of a user with several pages of each list."""
    users = flickr.community.users
    users[flickr.community.first].contacts = sorted(set(users) - {flickr.community.first})
    liked = list(flickr.community.photos)[40:63]
    users[flickr.community.first].favorites = [(photo, 1_710_000_000 - 60 * row) for row, photo in enumerate(liked)]
    return flickr.community.first


def when(flickr, method: str, number: int, change) -> None:
    """Make a change once the method has been answered so often."""
    answer = flickr.answer
    answers = []

    def changing(arguments):
        found = answer(arguments)
        if method in arguments["method"]:
            answers.append(1)
            if len(answers) == number:
                change()
        return found

    flickr.answer = changing


def favorites_of(database, user):
    return {image for (image,) in database.query("SELECT image_id FROM favorites WHERE user_id = ?", (user,))}


def contacts_of(database, user):
    return {contact for (contact,) in database.query("SELECT contact_id FROM contacts WHERE user_id = ?", (user,))}


def test_every_page_of_a_list_is_read_once(flickr, reader, database, user):
    assert reader.read("contacts", user) == "ok"

    assert contacts_of(database, user) == set(flickr.community.users[user].contacts)
    assert flickr.requests("contacts") == 5  # 23 contacts
    assert database.query("SELECT count(*) FROM pages") == [(0,)]


def test_favorites_that_are_taken_back_while_they_are_read_cost_no_other_favorite(flickr, reader, database, user):
    listed = [photo for photo, _ in flickr.community.users[user].favorites]
    when(flickr, "favorites", 1, lambda: flickr.community.users[user].favorites.__delitem__(slice(0, 2)))
    reader.read("favorites", user)

    assert favorites_of(database, user) == set(listed)


def test_a_favorite_that_is_added_while_they_are_read_waits_for_the_next_crawl(flickr, reader, database, user):
    listed = [photo for photo, _ in flickr.community.users[user].favorites]
    other = next(photo for photo in flickr.community.photos if photo not in listed)
    late = (other, int(time.time()) + 60)
    when(flickr, "favorites", 1, lambda: flickr.community.users[user].favorites.insert(0, late))
    reader.read("favorites", user)

    assert favorites_of(database, user) == set(listed)


def test_many_favorites_of_one_second_are_read_to_the_last(flickr, reader, database, user):
    flickr.community.users[user].favorites = [(photo, 1_710_000_000) for photo in list(flickr.community.photos)[:23]]
    reader.read("favorites", user)

    assert len(favorites_of(database, user)) == 23


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("change", ["removed", "added"])
def test_contacts_that_change_between_two_pages_are_read_again_until_the_pages_agree(
    flickr, reader, database, user, change, place
):
    contacts = flickr.community.users[user].contacts
    where = 0 if place == "before" else len(contacts) - 1
    act = {"removed": lambda: contacts.pop(where), "added": lambda: contacts.insert(where, "77777@N07")}[change]
    when(flickr, "contacts", 2, act)
    reader.read("contacts", user)

    assert contacts_of(database, user) == set(contacts)
    assert flickr.requests("contacts") == 10


def test_contacts_that_never_stand_still_are_all_that_were_seen(flickr, reader, database, user):
    contacts = flickr.community.users[user].contacts
    kept = set(contacts[2:])
    for number in (1, 6, 11):
        when(flickr, "contacts", number, lambda: contacts.append(contacts.pop(0) + "0"))
        when(flickr, "contacts", number + 1, contacts.pop)
    reader.read("contacts", user)

    assert kept <= contacts_of(database, user)
    assert flickr.requests("contacts") <= 15


def test_a_list_that_was_broken_off_goes_on_with_its_next_page(flickr, reader, database, user):
    def break_off(_request):
        if flickr.requests("contacts") == 3:
            raise SystemExit

    reader.client._http.event_hooks = {"request": [break_off]}
    with pytest.raises(SystemExit):
        reader.read("contacts", user)
    reader.client._http.event_hooks = {}

    assert reader.read("contacts", user) == "ok"
    assert contacts_of(database, user) == set(flickr.community.users[user].contacts)
    assert set(flickr.asked.values()) == {1}


def test_what_is_fresh_is_not_read_again(flickr, reader, database, user):
    reader.read_user(user)
    before = flickr.requests()
    later = database.begin({}, time.time())
    again = Reader(reader.client, database, later, reader.config, ("n",))

    assert again.read_user(user)
    assert flickr.requests() == before


def test_hidden_favorites_are_none_and_the_user_stays(flickr, reader, database, user):
    reader.read("favorites", user)
    flickr.community.users[user].hides_favorites = True
    reader.since = time.time() + 1

    assert reader.read_user(user)
    assert favorites_of(database, user) == set()
    assert contacts_of(database, user)


def test_a_list_that_fails_keeps_what_was_known_of_it(flickr, reader, database, user):
    reader.read("contacts", user)
    known = contacts_of(database, user)
    flickr.faults = Faults(statuses={0: (500, {})}, modulus=1, for_good=True)
    reader.since = time.time() + 1

    assert reader.read("contacts", user) == "failed"
    assert contacts_of(database, user) == known


def test_members_shown_only_with_a_login_are_requested_once(flickr, reader, database):
    groups = list(flickr.community.groups)
    for group in groups[:3]:
        reader.read_group(group)

    assert flickr.requests("groups.members") == 1
    found = {user for (user,) in database.query("SELECT user_id FROM group_users WHERE group_id = ?", (groups[0],))}
    first = flickr.community.groups[groups[0]]
    assert found == {flickr.community.photos[photo].owner for photo in first.pool[:10]}  # two pages of five
