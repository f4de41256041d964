"""Lists of recommended and of similar images, and their update from the lists of the previous run."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from storage import parquet, shards
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import FAVORITES, IMAGE_TAGS
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from storage.tables.tastes import INTERESTS
from tasks.runtime import ledger
from tasks.settings.lists import RecommendConfig
from tasks.systems.appearance import describe_looks
from tasks.systems.inputs import index_images
from tasks.systems.lists import ListBlock, ListRequest, Lists
from tasks.systems.model import Embeddings, Model, write_embeddings
from tasks.systems.recall import measure_recall
from tasks.systems.recommend import recommend
from tasks.systems.similar import find_similar

CONFIG = RecommendConfig(num_recommendations=6, reserve=3, num_similar=4, block_users=16)
USERS, IMAGES = ([f"{kind}{row:02d}" for row in range(count)] for kind, count in (("user", 24), ("image", 60)))


@pytest.fixture
def model(table: dict[str, Ref], root: Root) -> Model:
    rng = np.random.default_rng(0)
    return model_of(rng.normal(size=(24, 5)), rng.normal(size=(60, 5)), table, root)


def model_of(users_Ud: np.ndarray, images_Id: np.ndarray, table: dict[str, Ref], root: Root) -> Model:
    users, images = (np.array(ids, object) for ids in (USERS, IMAGES))
    embeddings = Embeddings(
        write_embeddings(USER_EMBEDDINGS, users, users_Ud.astype(np.float32), "m", root),
        [write_embeddings(IMAGE_EMBEDDINGS, images, images_Id.astype(np.float32), "m", root)],
    )
    return Model("m", "m", table["users"], table["images"], embeddings, None)


def all_lists(
    request: ListRequest,
    root: Root,
    appearance: Ref | None = None,
    last: Lists | None = None,
    config: RecommendConfig = CONFIG,
) -> Lists:
    appearance = appearance or describe_looks.fn(request.model, root)
    index = index_images.fn(request, config, root) if config.recall < 1 else None
    blocks = [recommend.fn(block, request, config, root, last, index) for block in range(-(-24 // config.block_users))]
    similar = find_similar.fn(request.model, appearance, config, request.policy, [], root, last)
    return Lists(request, config, appearance, blocks, similar)


def rows(blocks: list[ListBlock], root: Root) -> pl.DataFrame:
    return pl.concat(parquet.scan(block.exported, root) for block in blocks).collect()


def test_each_user_gets_the_images_of_the_best_scores_and_no_favorite(table, root, model):
    request = ListRequest(model, table["favorites"], None, None)
    exported = rows(all_lists(request, root).recommendations, root)
    users_Ud, images_Id = (
        np.stack(parquet.read(ref, root)["embedding"].to_pylist())
        for ref in (model.embeddings.users, *model.embeddings.images)
    )
    scores_UI = pl.DataFrame(users_Ud @ images_Id.T, schema=IMAGES).with_columns(user_id=pl.Series(USERS))
    favorites = pl.DataFrame(parquet.read(table["favorites"], root)).select("user_id", "image_id")
    expected = (
        scores_UI.unpivot(index="user_id", variable_name="image_id", value_name="score")
        .join(favorites, on=["user_id", "image_id"], how="anti")
        .sort("user_id", "score", descending=[False, True])
        .group_by("user_id", maintain_order=True)
        .head(6)
    )

    assert exported["user_id"].to_list() == expected["user_id"].to_list()
    assert exported["image_id"].to_list() == expected["image_id"].to_list()
    assert np.allclose(exported["score"], expected["score"], atol=1e-5)
    assert exported["rank"].to_list() == list(range(1, 7)) * 24


def test_candidates_have_a_tag_of_the_users_interests(table, root, model):
    interests = pl.DataFrame({"user_id": ["user00"], "tag": ["t"], "count": [1], "lift": [1.0]})
    labels = pl.DataFrame({"image_id": IMAGES[30:34], "tag": ["t"] * 4})
    request = ListRequest(
        model, table["favorites"], parquet.write(INTERESTS, interests, root), parquet.write(IMAGE_TAGS, labels, root)
    )
    lists = rows([recommend.fn(0, request, CONFIG, root, None)], root)
    sizes = dict(lists.group_by("user_id").len().iter_rows())

    assert set(lists.filter(user_id="user00")["image_id"]) == set(IMAGES[30:34])
    assert sizes["user01"] == 6  # a user without interests: all images are candidates


def test_lists_updated_from_the_previous_run_are_those_computed_from_scratch(table, root, model):
    last = all_lists(ListRequest(model, table["favorites"], None, None), root)
    rng = np.random.default_rng(0)
    users_Ud, images_Id = rng.normal(size=(24, 5)), rng.normal(size=(60, 5))
    users_Ud[3] += 1
    images_Id[40] *= 2
    one_more = pl.DataFrame(parquet.read(table["favorites"], root))
    best = rows(last.recommendations, root).row(0, named=True)
    one_more = pl.concat([one_more, one_more.head(1).with_columns(image_id=pl.lit(best["image_id"]))])
    favorites = parquet.write(FAVORITES, one_more, root)
    request = ListRequest(model_of(users_Ud, images_Id, table, root), favorites, None, None)

    with ledger.account() as account:
        updated = all_lists(request, root, last.appearance, last)
    computed = all_lists(request, root, last.appearance)
    assert replace(updated, recommendations=[]) == replace(computed, recommendations=[])
    assert [block.exported for block in updated.recommendations] == [
        block.exported for block in computed.recommendations
    ]
    assert 2 <= account.work["users recommended"] < 12  # user00, user03 and users with image40 in their list


def test_lists_of_an_index_hold_no_favorite_and_are_the_same_in_blocks_of_any_size(table, root, model):
    request = ListRequest(model, table["favorites"], None, None)
    by_index = replace(CONFIG, recall=0.8)
    lists = all_lists(request, root, config=by_index)
    found, exact = (rows(some.recommendations, root) for some in (lists, all_lists(request, root)))
    favorites = pl.DataFrame(parquet.read(table["favorites"], root))

    of_recommendations, of_similar = measure_recall.fn(lists, [], root)
    keys = ["user_id", "image_id"]
    both = found.join(exact, on=keys, suffix="_exact")
    assert of_recommendations.value == pytest.approx(len(both) / len(exact))
    assert 0.7 < of_recommendations.low < of_recommendations.value < of_recommendations.high <= 1
    assert 0.7 < of_similar.value < 1
    assert (both["score"] == both["score_exact"]).all()
    assert len(found.join(favorites, on=keys, how="semi")) == 0
    assert len(found) == len(exact)  # everybody's list is full
    in_larger_blocks = all_lists(request, root, config=replace(by_index, block_users=32))
    assert rows(in_larger_blocks.recommendations, root).equals(found)
    assert in_larger_blocks.similar == lists.similar


def test_similar_images_are_near_in_what_users_disagree_on(table, root):
    angle_I = np.linspace(0, np.pi, 60)
    images_Id = np.column_stack([np.cos(angle_I), np.sin(angle_I), np.arange(60) % 7])
    users_Ud = np.column_stack([np.random.default_rng(0).normal(size=(24, 2)), np.ones(24)])
    model = model_of(users_Ud, images_Id, table, root)
    similar = pl.DataFrame(
        parquet.read(find_similar.fn(model, describe_looks.fn(model, root), CONFIG, None, [], root, None), root)
    )

    centred_If = images_Id[:, :2] - images_Id[:, :2].mean(axis=0)  # the third entry is the same for all users
    centred_If /= np.linalg.norm(centred_If, axis=1, keepdims=True)
    cosines_II = centred_If @ centred_If.T - 9 * np.eye(60)
    best = similar.filter(rank=1)
    assert [int(image[-2:]) for image in best["similar_image_id"]] == cosines_II.argmax(axis=1).tolist()
    assert similar.group_by("image_id").len()["len"].unique().to_list() == [4]


def test_a_model_without_embeddings_has_no_similar_images(table, root, model):
    assert find_similar.fn(model, None, CONFIG, None, [], root, None).rows == 0


def test_images_without_a_picture_that_nothing_tells_apart_are_not_similar(table, root):
    rng = np.random.default_rng(0)
    images_Id = rng.normal(size=(60, 5))
    images_Id[:3] = images_Id[3:6] = images_Id[0]  # 0 to 2 have pictures: these are copies of each other
    images_Id[7] = images_Id[0] * 1.001  # without a picture, and not the same
    model = model_of(rng.normal(size=(24, 5)), images_Id, table, root)
    looks = describe_looks.fn(model, root)
    seen = [image for row, image in enumerate(IMAGES) if row not in (3, 4, 5, 7)]
    pixels = [shards.write(seen, np.zeros((len(seen), 1, 1, 3), np.uint8), "pixels", root)]

    found = find_similar.fn(model, looks, CONFIG, None, pixels, root, None)

    similar = pl.DataFrame(parquet.read(found, root))
    assert set(IMAGES) - set(similar["image_id"]) == set(IMAGES[3:6])
    assert not set(IMAGES[3:6]) & set(similar["similar_image_id"])
    assert set(similar.filter(pl.col("image_id") == IMAGES[0], pl.col("rank") <= 2)["similar_image_id"]) <= {
        *IMAGES[1:3],
        IMAGES[7],
    }

    # One of them gets a picture, the others stay alike: its list is the one that is computed anew.
    pixels = [shards.write([*seen, IMAGES[3]], np.zeros((len(seen) + 1, 1, 1, 3), np.uint8), "pixels", root)]
    last = Lists(ListRequest(model, table["favorites"], None, None), CONFIG, looks, [], found)
    updated = find_similar.fn(model, looks, CONFIG, None, pixels, root, last)
    assert updated == find_similar.fn(model, looks, CONFIG, None, pixels, root, None)
    assert IMAGES[3] in set(pl.DataFrame(parquet.read(updated, root))["image_id"])
