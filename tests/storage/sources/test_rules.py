"""The rules for a source's rows, table by table."""

import json

import polars as pl
import pytest

from storage.sources import rules
from storage.tables.community import CONTACTS, FAVORITES, IMAGES, QUARANTINE, USER_TAGS


def check(table, ids=None, **columns) -> tuple[pl.DataFrame, list[tuple[object, ...]]]:
    """The valid rows, and the bad ones as (row, reason, value)."""
    rows = pl.LazyFrame(columns).with_row_index("row")
    valid, bad = rules.check(
        rows, table, rules.words_of(table, {name: pl.Series(values) for name, values in (ids or {}).items()}), 4096
    )
    return valid, bad.drop("text").rows()


def test_valid_rows_have_the_types_of_their_table_and_missing_columns_are_null():
    valid, bad = check(FAVORITES, user_id=["u"], image_id=[12])

    assert bad == []
    assert rules.merge([valid], FAVORITES)[0].schema == rules.frame_schema(FAVORITES)
    assert valid.rows() == [(0, "u", "12", None)]


def test_a_row_that_breaks_several_rules_gets_the_first_one_s_reason():
    _, bad = check(FAVORITES, {"users": ["u"]}, user_id=[" ", "x"], image_id=["i", "i"], favorited_at=["soon", "soon"])

    assert bad == [(0, "missing id", None), (1, "unreadable time", "soon")]


def test_references_are_checked_only_against_tables_that_exist():
    columns = {"user_id": ["u", "x"], "contact_id": ["v", "u"]}

    assert check(CONTACTS, **columns)[1] == []
    assert check(CONTACTS, {"users": ["u", "v"]}, **columns)[1] == [(1, "dangling reference", "x")]


def test_text_keeps_its_white_space_only_in_ids_names_titles_and_paths():
    valid, _ = check(USER_TAGS, user_id=[" u "], tag=[" sea "])

    assert valid.select("user_id", "tag", "count").rows() == [(" u ", "sea", 1)]


@pytest.mark.parametrize("path", ["/etc/passwd", "a/../b.jpg", "c:/x.jpg", "a\\b.jpg", "s3://host/x.jpg"])
def test_a_path_that_may_lead_outside_breaks_a_rule(path):
    assert check(IMAGES, image_id=["i"], path=[path])[1] == [(0, "path outside the source directory", path)]


def test_a_column_of_the_wrong_kind_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="column user_id holds List"):
        check(FAVORITES, user_id=[["u"]], image_id=["i"])


def test_merged_favorites_keep_the_earliest_time_and_merged_user_tags_the_sum():
    favorites, _ = check(FAVORITES, user_id=["u"] * 3, image_id=["i"] * 3, favorited_at=[None, 9, 5])
    user_tags, _ = check(USER_TAGS, user_id=["u", "u"], tag=["sea", "sea"], count=[2, 3])

    assert rules.merge([favorites], FAVORITES)[0]["favorited_at"].dt.epoch("s").to_list() == [5]
    assert rules.merge([user_tags], USER_TAGS)[0]["count"].to_list() == [5]


def test_a_repeated_id_with_other_values_is_a_duplicate_and_its_first_row_stays():
    images, _ = check(IMAGES, image_id=["i", "i", "i"], title=["one", "two", "one"])
    kept, duplicates = rules.merge([images], IMAGES)

    assert kept.select("image_id", "title").rows() == [("i", "one")]
    assert duplicates.select("row", "reason", "value").rows() == [(1, "duplicate id", "i")]
    assert json.loads(duplicates["text"][0])["title"] == "two"
    assert rules.quarantine(IMAGES, duplicates).columns == QUARANTINE.schema.names
