import pytest

from storage.near_ids import UnknownIdError, nearest

IDS = [f"user{number:05d}" for number in range(20_000)]


@pytest.mark.parametrize("wanted", ["User00012", " user00012 ", "user00012"])
def test_an_id_that_differs_in_case_or_space_alone_comes_first(wanted):
    assert nearest(wanted, IDS)[0] == "user00012"


def test_the_most_alike_ids_come_first_and_no_more_than_wanted():
    assert nearest("user000123", IDS, 2) == nearest("user000123", IDS)[:2]
    assert nearest("user000123", IDS)[0] in ("user00012", "user00123")


def test_of_equally_alike_ids_that_with_a_digit_more_or_less_comes_first():
    ids = [f"u{number:06d}" for number in range(1500)]

    assert nearest("u00003", ids)[0] == "u000003"


def test_where_no_id_is_alike_its_neighbours_in_order_are_named():
    assert nearest("b", ["a", "c", "d", "e"]) == ["a", "c", "d"]
    assert nearest("z", ["a", "c"]) == ["c"]
    assert nearest("z", []) == []


def test_the_error_names_the_id_where_it_was_looked_for_and_what_is_near():
    assert str(UnknownIdError("user", "anm", "run 7", ["ann", "bob"])) == (
        "user 'anm' has no row in run 7; near ones: 'ann'"
    )
    assert str(UnknownIdError("user", "ann", "run 7", [])) == "user 'ann' has no row in run 7; nor has any"
