"""Forgotten users and images in a source's rows."""

import polars as pl
import pytest

from storage.sources import redacted
from storage.tables.community import CONTACTS, FAVORITES, IMAGES, TOMBSTONES, USERS
from storage.tombstones import NOBODY, Tombstones

FORGOTTEN = Tombstones().with_({"user": frozenset({"anna", "7"}), "image": frozenset({"i2"})})


def test_rows_that_name_a_forgotten_id_in_any_column_are_taken_out_and_counted():
    favorites = pl.LazyFrame({"user_id": ["anna", "ben", "ben"], "image_id": ["i1", "i2", "i1"]})
    contacts = pl.LazyFrame({"user_id": ["ben", "anna"], "contact_id": ["anna", "ben"]})
    left = redacted.redact(favorites, FAVORITES, FORGOTTEN)

    assert (left.rows.collect().rows(), left.forgotten) == ([("ben", "i1")], 2)
    assert redacted.redact(contacts, CONTACTS, FORGOTTEN).rows.collect().is_empty()


def test_a_user_called_as_a_forgotten_image_stays():
    favorites = pl.LazyFrame({"user_id": ["i2"], "image_id": ["anna"]})

    assert redacted.redact(favorites, FAVORITES, FORGOTTEN).rows.collect().rows() == [("i2", "anna")]


def test_a_numeric_id_is_forgotten_by_its_decimal_text():
    favorites = pl.LazyFrame({"user_id": [7.0, 70.0], "image_id": ["i1", "i1"]})

    assert redacted.redact(favorites, FAVORITES, FORGOTTEN).rows.collect()["user_id"].to_list() == [70.0]


def test_a_forgotten_owner_and_texts_with_the_owner_s_id_are_emptied():
    images = pl.LazyFrame(
        {
            "image_id": ["i1", "i2", "i3"],
            "path": ["i1.jpg", "i2.jpg", "i3.jpg"],
            "title": ["by anna", "two", "anna's cat"],
            "owner_id": ["anna", "ben", "ben"],
        }
    )
    left = redacted.redact(images, IMAGES, FORGOTTEN)

    assert left.rows.collect().rows() == [("i1", "i1.jpg", None, None), ("i3", "i3.jpg", "anna's cat", "ben")]
    assert (left.forgotten, left.cleared, left.paths) == (1, 1, {"i2.jpg"})


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("a portrait of 12037949754@N01, at home", False),
        ("photos/12037949754@N01/5.jpg", False),
        ("https://example.com/u/12037949754%40N01?size=1", False),
        ("marie_ in her garden", False),
        ("Jos\u00e9phine's cat", False),
        ("i2", False),
        ("pictures/i2.jpg", False),
        ("anna's cat", True),  # short: any word of a title may be like it
        ("i2 at night", True),
        ("112037949754@N01", True),
        ("maries garden", True),
        ("", True),
        (None, True),
    ],
)
@pytest.mark.parametrize("column", ["title", "path", "url"])
def test_a_text_that_names_somebody_who_is_forgotten_is_emptied_whoever_s_it_is(column, text, stays):
    forgotten = FORGOTTEN.with_({"user": frozenset({"12037949754@N01", "marie_", "Jos\u00e9phine"})})
    left = redacted.redact(
        pl.LazyFrame({"image_id": ["i1"], column: pl.Series([text], dtype=pl.String)}), IMAGES, forgotten
    )

    assert left.rows.collect().rows() == [("i1", text if stays else None)]
    assert (left.forgotten, left.cleared) == (0, not stays)


def test_so_is_a_name_of_another_user():
    users = pl.LazyFrame({"user_id": ["ben"], "name": ["friend of marie-louise"]})
    left = redacted.redact(users, USERS, NOBODY.with_({"user": frozenset({"marie-louise"})}))

    assert left.rows.collect().rows() == [("ben", None)]


def test_without_tombstones_and_in_a_table_of_tombstones_every_row_stays():
    rows = pl.LazyFrame({"kind": ["user"], "id": ["anna"], "user_id": ["anna"]})

    assert redacted.redact(rows, FAVORITES, NOBODY).rows is rows
    assert redacted.redact(rows, TOMBSTONES, FORGOTTEN).rows is rows


def test_a_source_s_tombstones_are_ids_by_kind():
    rows = pl.DataFrame({"kind": ["user", "image", "user"], "id": ["a", "b", "c"]})

    assert redacted.ids_in(rows) == {"user": {"a", "c"}, "image": {"b"}}
