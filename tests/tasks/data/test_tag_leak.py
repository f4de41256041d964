"""What a report says of tags and held-out favorites."""

import polars as pl
import pytest

from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import FAVORITES, IMAGE_TAGS, IMAGES, TAG_ASSIGNMENTS, USER_TAGS, USERS
from storage.tables.schema import Table
from storage.tables.splits import CONCEALED
from tasks.data.tag_leak import TagAccount, account_of_tags, measure_tags
from tasks.data.tag_withholding import TAG_TABLES, withhold_assignments

USER_IDS, IMAGE_IDS = [f"u{row}" for row in range(6)], [f"i{row}" for row in range(36)]
LIKES = [(user, image) for row, user in enumerate(USER_IDS) for image in IMAGE_IDS[5 * row : 5 * row + 5]]
HELDOUT = LIKES[::5]  # one of each user


def write(table: Table, rows: list[tuple], root: Root) -> Ref:
    """A table whose last columns are empty where rows are shorter."""
    columns = {
        name: [row[place] if place < len(row) else None for row in rows]
        for place, name in enumerate(table.schema.names)
    }
    return parquet.write(table, columns, root)


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


@pytest.fixture
def table(root) -> dict[str, Ref]:
    """Each user puts a tag of their own on each favorite and on an image without favorites, and `pet` on two images."""
    own = {(user, image, f"of {user}") for user, image in LIKES}
    own |= {(user, f"i{30 + row}", f"of {user}") for row, user in enumerate(USER_IDS)}
    given = sorted(own | {(user, image, "pet") for user in USER_IDS for image in ("i1", "i2")})
    counts = (
        pl.DataFrame(given, ["user", "image", "tag"], orient="row").group_by("user", "tag").len().sort("user", "tag")
    )
    rows = {
        USERS: [(user,) for user in USER_IDS],
        IMAGES: [(image,) for image in IMAGE_IDS],
        FAVORITES: LIKES,
        IMAGE_TAGS: sorted({(image, tag) for _, image, tag in given}),
        USER_TAGS: counts.rows(),
        TAG_ASSIGNMENTS: given,
    }
    return {name.name: write(name, given, root) for name, given in rows.items()}


def account(table: dict[str, Ref], root: Root) -> TagAccount:
    """The account of a split that holds out a favorite of each user."""
    training = write(FAVORITES, [pair for pair in LIKES if pair not in HELDOUT], root)
    heldout = write(CONCEALED, HELDOUT, root)
    known = table | {"favorites": training}
    if table["tag_assignments"].rows:
        tags = {name: table[name] for name in TAG_TABLES}
        known |= withhold_assignments.fn(tags, training, [heldout], None, root)
    return measure_tags.fn(table, known, heldout, root)


def without(table: dict[str, Ref], *names: Table, root: Root) -> dict[str, Ref]:
    return table | {name.name: write(name, [], root) for name in names}


def test_withheld_assignments_are_counted_and_what_is_left_tells_nothing(table, root):
    found = account(table, root)

    assert (found.num_assignments, found.num_withheld) == (48, 6)
    assert (found.leak.share, found.is_warning) == (0, False)
    assert found.line.startswith("6 of 48 assignments were withheld")


def test_without_assignments_the_sign_is_that_of_all_favorites(table, root):
    found = account(without(table, TAG_ASSIGNMENTS, root=root), root)

    assert (found.of, found.leak.pairs) == ("favorites", 36)
    assert found.leak.share == pytest.approx(30 / 36)
    assert found.leak.base_rate == pytest.approx(5 / 36)
    assert found.is_warning
    assert "83.3 % are favorites, and of all pairs of these users and any image 13.9 %" in found.line


def test_assignments_that_explain_only_some_tags_leave_a_sign_of_the_rest(table, root):
    few = [row for row in parquet.read(table["tag_assignments"], root).to_pylist() if row["user_id"] > "u2"]
    found = account(
        table | {"tag_assignments": write(TAG_ASSIGNMENTS, [tuple(row.values()) for row in few], root)}, root
    )

    assert found.is_warning
    assert (found.of, found.leak.share) == (
        "held-out favorites",
        pytest.approx(3 / 9),
    )  # of three users' six images each
    assert "what no assignment explains may tell more" in found.line


def test_users_whose_tags_are_those_of_their_favorites_are_measured_on_what_is_held_out(table, root):
    found = account(without(table, TAG_ASSIGNMENTS, USER_TAGS, root=root), root)

    assert (found.of, found.num_assignments) == ("held-out favorites", 0)
    assert (found.leak.pairs, found.leak.share) == (12, 0.5)
    assert "tag_assignments is missing" in found.line
    assert found.line.endswith("a table tag_assignments in the source withholds what they tell")


def test_where_no_tag_has_one_user_only_the_account_says_that_it_cannot_tell(table, root):
    shared = without(table, TAG_ASSIGNMENTS, root=root)
    shared["user_tags"] = write(USER_TAGS, [("u0", "pet", 1), ("u1", "pet", 1)], root)
    found = account(shared, root)

    assert not found.is_warning
    assert "; how far is unknown, as no tag has one user only; " in found.line


def test_images_without_tags_and_a_split_without_a_test_need_no_account(table, root):
    nobody, heldout = write(CONCEALED, [], root), write(CONCEALED, HELDOUT, root)

    assert account_of_tags(without(table, IMAGE_TAGS, root=root), table, heldout, root) is None
    assert account_of_tags(table, table, nobody, root) is None
