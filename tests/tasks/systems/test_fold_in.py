"""A kept model over a community that has changed."""

import numpy as np
import polars as pl
import pytest

from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import CONTACTS, FAVORITES, IMAGE_TAGS, IMAGES, USER_TAGS, USERS
from tasks.data.community import CommunityTables
from tasks.runtime import ledger
from tasks.systems.embed import embed_system
from tasks.systems.fit import fit_system
from tasks.systems.fold_in import SideInformation, fold_in, learn_fold_in
from tasks.systems.model import Model, read_embeddings


@pytest.fixture
def kept(table: dict[str, Ref], root: Root) -> Model:
    fitted = fit_system.fn(
        "als", "1", {"factors": 4, "regularization": 1.0}, 0, CommunityTables(table, table["favorites"]), root
    )
    return embed_system.fn(fitted, table["users"], table["images"], root)


def with_rows(table: dict[str, Ref], root: Root, **rows: list[dict[str, object]]) -> dict[str, Ref]:
    """The tables with some more rows."""
    schemas = {
        "users": USERS, "images": IMAGES, "favorites": FAVORITES, "image_tags": IMAGE_TAGS, "user_tags": USER_TAGS,
        "contacts": CONTACTS,
    }  # fmt: skip
    changed = dict(table)
    for name, more in rows.items():
        before = pl.DataFrame(parquet.read(table[name], root))
        together = pl.concat([before, pl.DataFrame(more, schema_overrides=dict(before.schema))], how="diagonal_relaxed")
        changed[name] = parquet.write(schemas[name], together, root)
    return changed


def folded(kept: Model, before: dict[str, Ref], now: dict[str, Ref], root: Root) -> Model:
    tables, tables_now = SideInformation.of(before, []), SideInformation.of(now, [])
    maps = learn_fold_in.fn(kept, before["favorites"], tables, root)
    return fold_in.fn(maps, kept, before["favorites"], tables, tables_now, now["favorites"], root)


def vectors(model: Model, root: Root) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    users, images = (read_embeddings(refs, root) for refs in ([model.embeddings.users], model.embeddings.images))
    return dict(zip(*users, strict=True)), dict(zip(*images, strict=True))


def test_on_the_same_community_the_kept_model_is_the_same(table, root, kept):
    with ledger.account() as account:
        assert folded(kept, table, table, root) == kept
    assert account.work == {"users embedded": 0, "images embedded": 0}


def test_new_users_and_images_get_vectors_of_their_taste_and_all_others_keep_theirs(table, root, kept):
    now = with_rows(
        table,
        root,
        users=[{"user_id": "user99"}, {"user_id": "cold"}],
        images=[{"image_id": "image98"}, {"image_id": "image99"}, {"image_id": "unknown"}],
        favorites=[{"user_id": "user99", "image_id": f"image{row:02d}"} for row in range(8)]
        + [{"user_id": f"user{row:02d}", "image_id": "image98"} for row in range(12, 24)],
        image_tags=[{"image_id": "image99", "tag": "rose"}, {"image_id": "image99", "tag": "ruby"}],
        user_tags=[{"user_id": "cold", "tag": "sea", "count": 3}, {"user_id": "cold", "tag": "sky", "count": 2}],
    )
    (users_before, images_before), (users, images) = (
        vectors(model, root) for model in (kept, folded(kept, table, now, root))
    )

    red, blue = (np.mean([images[f"image{row:02d}"] for row in half], axis=0) for half in (range(30), range(30, 60)))
    assert users["user99"] @ red > users["user99"] @ blue  # favorites of red images
    assert users["cold"] @ blue > users["cold"] @ red  # blue tags
    red_user, blue_user = (
        np.mean([users_before[f"user{row:02d}"] for row in half], axis=0) for half in (range(12), range(12, 24))
    )
    assert images["image98"] @ blue_user > images["image98"] @ red_user  # favored by blue users
    assert images["image99"] @ red_user > images["image99"] @ blue_user  # red tags
    assert "unknown" not in images  # neither favorites nor side information
    assert all(np.array_equal(images[name], vector) for name, vector in images_before.items())
    changed = {name for name, vector in users_before.items() if not np.array_equal(users[name], vector)}
    assert not changed  # a new image is no reason


def test_a_user_with_one_more_favorite_of_a_known_image_gets_a_new_vector(table, root, kept):
    now = with_rows(table, root, favorites=[{"user_id": "user05", "image_id": "image59"}])
    with ledger.account() as account:
        users, _ = vectors(folded(kept, table, now, root), root)
    before, _ = vectors(kept, root)

    assert {name for name in before if not np.array_equal(users[name], before[name])} == {"user05"}
    assert account.work["users embedded"] == 1
