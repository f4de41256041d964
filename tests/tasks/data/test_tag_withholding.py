"""The tag tables as they may be known while some favorites are held out."""

import polars as pl
import pytest

from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import FAVORITES, IMAGE_TAGS, TAG_ASSIGNMENTS, USER_TAGS
from storage.tables.splits import CONCEALED
from tasks.data.tag_withholding import known_tables, withhold_assignments

TAGS = {
    "user_tags": {("ann", "sea", 2), ("ann", "sky", 1), ("ben", "sea", 1)},
    "image_tags": {("i1", "sea"), ("i2", "sea"), ("i2", "sky"), ("i3", "genre")},
    "tag_assignments": {("ann", "i1", "sea"), ("ann", "i2", "sea"), ("ann", "i2", "sky"), ("ben", "i1", "sea")},
}


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def tables(root: Root, tagged_at: int | None = None) -> dict[str, Ref]:
    """The tag tables; all assignments at one second, or of unknown time."""
    user_tags, image_tags, assigned = (sorted(TAGS[name]) for name in TAGS)
    time = pl.Series([tagged_at] * len(assigned), dtype=pl.Int64).cast(pl.Datetime("ms", "UTC"))
    frames = {
        USER_TAGS: pl.DataFrame(user_tags, ["user_id", "tag", "count"], orient="row"),
        IMAGE_TAGS: pl.DataFrame(image_tags, ["image_id", "tag"], orient="row"),
        TAG_ASSIGNMENTS: pl.DataFrame(assigned, ["user_id", "image_id", "tag"], orient="row").with_columns(
            tagged_at=time
        ),
    }
    return {table.name: parquet.write(table, rows, root) for table, rows in frames.items()}


def favorites(root: Root, *pairs: tuple[str, str], second: int | None = None) -> Ref:
    time = pl.Series([second] * len(pairs), dtype=pl.Int64).cast(pl.Datetime("ms", "UTC"))
    rows = pl.DataFrame(pairs, ["user_id", "image_id"], orient="row").with_columns(favorited_at=time)
    return parquet.write(FAVORITES, rows, root)


def heldout(root: Root, *pairs: tuple[str, str]) -> Ref:
    return parquet.write(CONCEALED, pl.DataFrame(pairs, ["user_id", "image_id"], orient="row"), root)


def known(root: Root, given: dict[str, Ref], training: Ref, pairs: list[Ref], *, time_of: str | None = None) -> dict:
    left = withhold_assignments.fn(given, training, pairs, time_of, root)
    columns = {"user_tags": ["user_id", "tag", "count"], "image_tags": ["image_id", "tag"]}
    columns["tag_assignments"] = ["user_id", "image_id", "tag"]
    return {name: set(pl.DataFrame(parquet.read(ref, root)).select(columns[name]).rows()) for name, ref in left.items()}


def test_both_tag_tables_lose_what_a_held_out_favorite_explains(root):
    left = known(root, tables(root), favorites(root, ("ann", "i1")), [heldout(root, ("ann", "i2"))])

    assert left["user_tags"] == {("ann", "sea", 1), ("ben", "sea", 1)}
    assert left["image_tags"] == {("i1", "sea"), ("i3", "genre")}
    assert left["tag_assignments"] == {("ann", "i1", "sea"), ("ben", "i1", "sea")}


def test_a_tag_that_somebody_else_put_there_stays_and_every_held_out_part_counts(root):
    parts = [heldout(root, ("ann", "i1")), heldout(root, ("ann", "i2"))]
    left = known(root, tables(root), favorites(root, ("ben", "i3")), parts)

    assert left["user_tags"] == {("ben", "sea", 1)}
    assert left["image_tags"] == {("i1", "sea"), ("i3", "genre")}


@pytest.mark.parametrize(("tagged_at", "is_known"), [(99_000, True), (101_000, False), (None, True)])
def test_on_a_split_by_time_later_assignments_of_tested_users_go_too(root, tagged_at, is_known):
    training = favorites(root, ("ann", "i3"), ("ben", "i3"), second=100_000)
    given = tables(root, tagged_at)
    pairs = [heldout(root, ("ann", "i9"))]

    assert (("ann", "sea", 2) in known(root, given, training, pairs, time_of="user")["user_tags"]) == is_known
    assert ("ben", "sea", 1) in known(root, given, training, pairs, time_of="user")["user_tags"]
    assert known(root, given, training, pairs)["user_tags"] == TAGS["user_tags"]


def test_on_a_split_by_one_moment_nobodys_assignments_after_it_are_known(root):
    training = favorites(root, ("ann", "i3"), ("ben", "i3"), second=100_000)
    pairs = [heldout(root, ("ann", "i9"))]

    assert known(root, tables(root, 101_000), training, pairs, time_of="community")["user_tags"] == set()
    assert known(root, tables(root, 99_000), training, pairs, time_of="community")["user_tags"] == TAGS["user_tags"]


def test_a_source_without_assignments_and_a_night_that_tests_nobody_keep_their_tables(root):
    given, nobody = tables(root), heldout(root, ("ann", "i2"))
    empty = parquet.write(TAG_ASSIGNMENTS, {name: [] for name in TAG_ASSIGNMENTS.schema.names}, root)
    none_heldout = parquet.write(CONCEALED, {"user_id": [], "image_id": []}, root)
    training = favorites(root, ("ann", "i1"))
    without = given | {"tag_assignments": empty}

    assert known_tables(without, training, [nobody], root, time_of=None) == without | {"favorites": training}
    assert known_tables(given, training, [none_heldout], root, time_of=None) == given | {"favorites": training}
