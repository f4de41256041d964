"""Tables from rows in any order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from storage.parquet import ROW_GROUP_ROWS
from storage.sources.importers.writing import SourceWriter
from tests.storage.sources.importers.contract import picture, rows_of


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SourceWriter]:
    folder = tmp_path / "source"
    folder.mkdir()
    with SourceWriter(folder, 256, lambda _table, _rows: None) as writing:
        yield writing


def finish_with_pictures(source: SourceWriter, folder: Path) -> dict[str, Any]:
    """A source of the images a, b and c, with the pictures of a folder; returns the report."""
    source.take_pictures(folder)
    source.add("images", pl.DataFrame({"image_id": ["a", "b", "c"]}))
    source.add("favorites", pl.DataFrame({"user_id": ["u"], "image_id": ["a"]}))
    return source.finish()


def test_a_favorite_keeps_its_earliest_time_and_a_user_tag_the_sum_of_its_counts(source: SourceWriter) -> None:
    source.add("images", pl.DataFrame({"image_id": ["i"]}))
    source.add("favorites", pl.DataFrame({"user_id": ["u"] * 3, "image_id": ["i"] * 3, "favorited_at": [9, None, 5]}))
    source.add("user_tags", pl.DataFrame({"user_id": ["u", "u"], "tag": ["Sea ", "sea"], "count": [2, 3]}))
    source.finish()

    assert rows_of(source.folder, "favorites") == {("u", "i", 5)}
    assert rows_of(source.folder, "user_tags") == {("u", "sea", 5)}


def test_the_first_row_that_says_something_of_an_image_stands(source: SourceWriter) -> None:
    for title in (None, "first", "second"):
        source.add(
            "images", pl.DataFrame({"image_id": ["i"], "title": [title]}, {"image_id": pl.String, "title": pl.String})
        )
    source.add("favorites", pl.DataFrame({"user_id": ["u"], "image_id": ["i"]}))
    report = source.finish()

    assert rows_of(source.folder, "images") == {("i", "first")}
    assert report["tables"]["images"]["left_out"] == {"repeated": 2}


def test_ids_of_other_types_become_their_text_and_keep_their_spaces(source: SourceWriter) -> None:
    source.add("images", pl.DataFrame({"image_id": [7, 8]}))
    source.add("favorites", pl.DataFrame({"user_id": [" u", "  "], "image_id": [7, 8]}))
    report = source.finish()

    assert rows_of(source.folder, "favorites") == {(" u", "7")}
    assert report["tables"]["favorites"]["left_out"] == {"missing id": 1}


def test_users_are_completed_by_those_whom_other_tables_name(source: SourceWriter) -> None:
    source.add("users", pl.DataFrame({"user_id": ["a"], "name": ["Anna"]}))
    source.add("images", pl.DataFrame({"image_id": ["i"]}))
    source.add("favorites", pl.DataFrame({"user_id": ["a", "b"], "image_id": ["i", "i"]}))
    source.add("contacts", pl.DataFrame({"user_id": ["a"], "contact_id": ["c"]}))
    report = source.finish()

    assert rows_of(source.folder, "users") == {("a", "Anna"), ("b", None), ("c", None)}
    assert report["tables"]["users"]["named_elsewhere"] == 2


def test_a_membership_of_a_group_that_is_not_listed_is_left_out(source: SourceWriter) -> None:
    source.add("images", pl.DataFrame({"image_id": ["i"]}))
    source.add("favorites", pl.DataFrame({"user_id": ["u"], "image_id": ["i"]}))
    source.add("groups", pl.DataFrame({"group_id": ["g"], "name": ["Gulls"]}))
    source.add("memberships", pl.DataFrame({"user_id": ["u", "u"], "group_id": ["g", "h"]}))
    report = source.finish()

    assert rows_of(source.folder, "memberships") == {("u", "g")}
    assert report["tables"]["memberships"]["left_out"] == {"no such group": 1}


def test_many_rows_in_any_order_give_the_same_file_in_groups_of_one_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = pl.DataFrame({"user_id": rng.integers(0, 9_000, 200_000), "image_id": rng.integers(0, 50, 200_000)})
    files = []
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        with SourceWriter(tmp_path / str(seed), 128, lambda _table, _rows: None) as writing:
            writing.names_images = True
            for part in pairs.sample(fraction=1, shuffle=True, seed=seed).iter_slices(30_000):
                writing.add("favorites", part)
            writing.finish()
        files.append(tmp_path / str(seed) / "favorites.parquet")

    assert files[0].read_bytes() == files[1].read_bytes()
    assert pl.read_parquet(files[0]).equals(pairs.cast(pl.String).unique().sort("user_id", "image_id"))
    metadata = pq.read_metadata(files[0])
    assert metadata.row_group(0).num_rows == ROW_GROUP_ROWS
    assert metadata.num_row_groups == 2


def test_a_picture_is_found_by_its_images_id_in_any_folder_and_the_better_known_format_wins(
    source: SourceWriter, tmp_path: Path
) -> None:
    for name in ("a.png", "a.JPG", "deep/er/b.webp", "c.txt", "unknown.jpg"):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / name).write_bytes(picture())
    finish_with_pictures(source, tmp_path / "pictures")

    assert rows_of(source.folder, "images") == {("a", "images/a.JPG"), ("b", "images/deep/er/b.webp"), ("c", None)}
    assert len(list((source.folder / "images").rglob("*.*"))) == 2


def test_a_picture_that_links_out_of_its_folder_is_not_taken(source: SourceWriter, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"of this machine")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "real.jpg").write_bytes(picture())
    (tmp_path / "pictures" / "a.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "pictures" / "b.jpg").symlink_to("real.jpg")
    (tmp_path / "pictures" / "c.jpg").symlink_to("nowhere.jpg")
    report = finish_with_pictures(source, tmp_path / "pictures")

    assert rows_of(source.folder, "images") == {("a", None), ("b", "images/b.jpg"), ("c", None)}
    assert report["notes"] == {"pictures that are no files, or links out of their folder": 2}
    assert not (source.folder / "images" / "b.jpg").is_symlink()
