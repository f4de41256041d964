"""The policy's rules: what they keep out of lists, that lists stay full and exact, and that updated ones obey them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from flows.lists import policy_of
from storage import parquet, shards
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import BLOCKED_IMAGES, BLOCKED_OWNERS, HIDES, IMAGE_TAGS, USER_BLOCKS, USER_MUTES
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from storage.tables.schema import Table
from tasks.data.community import CommunityTables
from tasks.settings.lists import PolicyConfig, RecommendConfig
from tasks.systems.appearance import describe_looks
from tasks.systems.fit import fit_system
from tasks.systems.lists import ListRequest, Lists
from tasks.systems.model import Embeddings, Fitted, Model, write_embeddings
from tasks.systems.recommend import recommend
from tasks.systems.similar import find_similar

CONFIG = RecommendConfig(num_recommendations=6, reserve=3, num_similar=4, block_users=16)
USERS, IMAGES = ([f"{kind}{row:02d}" for row in range(count)] for kind, count in (("user", 24), ("image", 60)))
OWNER = {f"image{row:02d}": f"user{row % 24:02d}" if row else None for row in range(60)}  # as the fixture has them
ALL = PolicyConfig(own_uploads=True)


@pytest.fixture
def model(table: dict[str, Ref], root: Root) -> Model:
    rng = np.random.default_rng(0)
    users_Ud, images_Id = rng.normal(size=(24, 5)), rng.normal(size=(60, 5))
    images_Id[1::24] *= 3  # user01 uploads what many like
    users, images = (np.array(ids, object) for ids in (USERS, IMAGES))
    embeddings = Embeddings(
        write_embeddings(USER_EMBEDDINGS, users, users_Ud.astype(np.float32), "m", root),
        [write_embeddings(IMAGE_EMBEDDINGS, images, images_Id.astype(np.float32), "m", root)],
    )
    return Model("m", "m", table["users"], table["images"], embeddings, None)


@pytest.fixture
def request_of(table: dict[str, Ref], root: Root, model: Model) -> Callable[..., ListRequest]:
    """The request for lists under a policy; tables of the policy are given as columns."""

    def request(
        config: PolicyConfig = ALL, rows: dict[Table, dict[str, list[str]]] | None = None, seen: Sequence[str] = ()
    ) -> ListRequest:
        written = {of.name: parquet.write(of, columns, root) for of, columns in (rows or {}).items()}
        return ListRequest(
            model, table["favorites"], None, None, policy_of(table | written, pixels_of(seen, root), config)
        )

    return request


def pixels_of(seen: Sequence[str], root: Root) -> list[Ref]:
    """A shard with pictures of these images."""
    return [shards.write(seen, np.zeros((len(seen), 1, 1, 3), np.uint8), "pixels", root)] if seen else []


def all_lists(request: ListRequest, root: Root, last: Lists | None = None) -> Lists:
    looks = describe_looks.fn(request.model, root)
    blocks = [recommend.fn(block, request, CONFIG, root, last) for block in range(2)]
    similar = find_similar.fn(request.model, looks, CONFIG, request.policy, [], root, last)
    return Lists(request, CONFIG, looks, blocks, similar)


def exported(lists: Lists, root: Root) -> pl.DataFrame:
    rows = pl.concat(parquet.scan(block.exported, root) for block in lists.recommendations).collect()
    return rows.with_columns(owner=pl.col("image_id").replace_strict(OWNER, return_dtype=pl.String))


def by_user(rows: pl.DataFrame) -> dict[str, list[str]]:
    return {user: rows.filter(user_id=user).sort("rank")["image_id"].to_list() for user in USERS}


def ranked(table: dict[str, Ref], model: Model, root: Root) -> dict[str, list[tuple[str, float]]]:
    """Every user's images but their favorites, with scores, best first."""
    users_Ud, images_Id = vectors(model, root)
    scores_UI = users_Ud @ images_Id.T
    seen = set(pl.DataFrame(parquet.read(table["favorites"], root)).select("user_id", "image_id").iter_rows())
    return {
        user: sorted(
            ((image, float(score)) for image, score in zip(IMAGES, row, strict=True) if (user, image) not in seen),
            key=lambda pair: -pair[1],
        )
        for user, row in zip(USERS, scores_UI, strict=True)
    }


def vectors(model: Model, root: Root) -> tuple[np.ndarray, np.ndarray]:
    users_Ud, images_Id = (
        np.stack(parquet.read(ref, root)["embedding"].to_pylist())
        for ref in (model.embeddings.users, *model.embeddings.images)
    )
    return users_Ud, images_Id


def test_users_are_not_recommended_their_own_uploads_and_get_the_next_best_in_their_place(
    request_of, table, model, root
):
    found = by_user(exported(all_lists(request_of(PolicyConfig()), root), root))
    expected = {
        user: [image for image, _ in best if OWNER[image] != user][:6]
        for user, best in ranked(table, model, root).items()
    }

    assert found == expected
    assert found != by_user(exported(all_lists(request_of(ALL), root), root))


def test_images_without_a_picture_are_listed_unless_the_policy_keeps_them_out(request_of, root):
    seen, config = IMAGES[:50], replace(ALL, without_picture=False)
    kept = all_lists(request_of(ALL, seen=seen), root)
    filtered = all_lists(request_of(config, seen=seen), root)
    updated = all_lists(request_of(config, seen=IMAGES[:52]), root, filtered)

    assert not set(exported(kept, root)["image_id"]) <= set(seen)
    assert set(exported(filtered, root)["image_id"]) <= set(seen)
    assert set(pl.DataFrame(parquet.read(filtered.similar, root))["image_id"]) == set(seen)
    assert by_user(exported(updated, root)) == by_user(
        exported(all_lists(request_of(config, seen=IMAGES[:52]), root), root)
    )
    assert by_user(exported(all_lists(request_of(config), root), root)) == by_user(exported(kept, root))  # no picture


def test_without_rules_lists_are_the_best_images(request_of, table, model, root):
    found = by_user(exported(all_lists(request_of(ALL), root), root))

    assert found == {user: [image for image, _ in best[:6]] for user, best in ranked(table, model, root).items()}


@pytest.mark.parametrize(
    ("config", "rows", "is_kept_out"),
    [
        (ALL, {BLOCKED_IMAGES: {"image_id": ["image01", "image40"]}}, lambda _, image: image in ("image01", "image40")),
        (ALL, {BLOCKED_OWNERS: {"user_id": ["user01", "nobody"]}}, lambda _, image: OWNER[image] == "user01"),
        (
            ALL,
            {USER_BLOCKS: {"user_id": ["user03", "user20"], "blocked_id": ["user01", "user02"]}},
            lambda user, image: (user, OWNER[image]) in (("user03", "user01"), ("user20", "user02")),
        ),
        (
            ALL,
            {USER_MUTES: {"user_id": ["user05", "user05"], "tag": ["ruby", "unheard"]}},
            lambda user, image: user == "user05" and image in tagged("ruby"),
        ),
        (
            ALL,
            {HIDES: {"user_id": ["user05", "user05", "gone"], "image_id": ["image01", "image40", "image01"]}},
            lambda user, image: user == "user05" and image in ("image01", "image40"),
        ),
        (replace(ALL, muted_tags=("ice", "unheard")), {}, lambda _, image: image in tagged("ice")),
    ],
    ids=["blocked images", "blocked owners", "user blocks", "user mutes", "hides", "muted tags"],
)
def test_what_is_blocked_or_muted_is_in_no_list_that_it_is_kept_out_of_and_lists_stay_full(
    request_of, table, model, root, config, rows, is_kept_out
):
    tags = pl.DataFrame({"image_id": IMAGES[::3] + IMAGES[1::3], "tag": ["ruby"] * 20 + ["ice"] * 20})
    table["image_tags"] = parquet.write(IMAGE_TAGS, tags, root)
    lists = all_lists(request_of(config, rows), root)
    best = ranked(table, model, root)

    assert by_user(exported(lists, root)) == {
        user: [image for image, _ in best[user] if not is_kept_out(user, image)][:6] for user in USERS
    }
    assert any(is_kept_out(user, image) for user in USERS for image, _ in best[user][:6])  # else it shows nothing
    for_all = {image for image in IMAGES if all(is_kept_out(user, image) for user in USERS)}
    similar = parquet.read(lists.similar, root)
    assert set(similar["image_id"].to_pylist()) == set(IMAGES) - for_all
    assert for_all.isdisjoint(similar["similar_image_id"].to_pylist())


def tagged(tag: str) -> list[str]:
    return IMAGES[::3] if tag == "ruby" else IMAGES[1::3]


@pytest.mark.parametrize("pool", [6, 8, 100])
def test_a_limit_per_owner_gives_the_best_list_within_it_however_few_images_are_looked_at_first(
    request_of, table, model, root, pool
):
    found = by_user(exported(all_lists(request_of(replace(ALL, max_of_owner=1, pool=pool)), root), root))
    expected = {}
    for user, best in ranked(table, model, root).items():
        chosen: list[str] = []
        for image, _ in best:
            if OWNER[image] is None or OWNER[image] not in {OWNER[other] for other in chosen}:
                chosen.append(image)
        expected[user] = chosen[:6]

    assert found == expected
    assert found != by_user(exported(all_lists(request_of(ALL), root), root))


@pytest.mark.parametrize("limit", [0, 1])
def test_diversity_takes_the_image_next_that_is_good_and_unlike_those_before(request_of, table, model, root, limit):
    config = replace(ALL, diversity=0.4, pool=12, max_of_owner=limit)
    found = by_user(exported(all_lists(request_of(config), root), root))
    _, images_Id = vectors(model, root)
    units = dict(zip(IMAGES, images_Id / np.linalg.norm(images_Id, axis=1, keepdims=True), strict=True))
    expected = {}
    for user, best in ranked(table, model, root).items():
        pool = best[:12]
        low, high = pool[-1][1], pool[0][1]
        chosen: list[str] = []
        while len(chosen) < 6:
            worth = {
                image: 0.6 * (score - low) / (high - low)
                - 0.4 * max((float(units[image] @ units[other]) for other in chosen), default=0)
                for image, score in pool
                if image not in chosen
                and not (limit and OWNER[image] and OWNER[image] in {OWNER[other] for other in chosen})
            }
            chosen.append(max(worth, key=worth.__getitem__))
        expected[user] = chosen

    assert found == expected


@pytest.mark.parametrize(
    "config", [PolicyConfig(), PolicyConfig(max_of_owner=1, pool=7), PolicyConfig(diversity=0.3, pool=9)]
)
def test_lists_updated_under_changed_blocks_are_those_computed_from_scratch(request_of, root, config):
    before = {
        BLOCKED_IMAGES: {"image_id": ["image01", "image40"]},
        USER_BLOCKS: {"user_id": ["user03"], "blocked_id": ["user01"]},
    }
    now = {
        BLOCKED_IMAGES: {"image_id": ["image40", "image41"]},
        USER_BLOCKS: {"user_id": ["user04"], "blocked_id": ["user02"]},
    }
    last = all_lists(request_of(config, before), root)
    updated, computed = (all_lists(request_of(config, now), root, state) for state in (last, None))

    assert [block.exported for block in updated.recommendations] == [
        block.exported for block in computed.recommendations
    ]
    assert updated.similar == computed.similar
    assert exported(last, root)["image_id"].to_list() != exported(updated, root)["image_id"].to_list()


@pytest.fixture
def fitted(table: dict[str, Ref], root: Root) -> Fitted:
    """A system whose score is no inner product."""
    return fit_system.fn("itemknn", "1", {}, 0, CommunityTables(table, table["favorites"]), root)


def test_a_system_without_vectors_obeys_the_rules_and_its_lists_stay_full(request_of, root, fitted):
    config, blocked = PolicyConfig(max_of_owner=1, pool=6), {BLOCKED_IMAGES: {"image_id": IMAGES[:6]}}
    request = request_of(config, blocked)
    request = replace(request, model=replace(request.model, fitted=fitted, system="itemknn"))
    blocks = [recommend.fn(block, request, CONFIG, root, None) for block in range(2)]
    rows = exported(Lists(request, CONFIG, None, blocks, blocks[0].exported), root)

    assert rows.group_by("user_id").len()["len"].unique().to_list() == [6]
    assert not rows["image_id"].is_in(IMAGES[:6]).any()
    assert rows.filter(pl.col("owner") == pl.col("user_id")).is_empty()
    assert rows.drop_nulls("owner").group_by("user_id", "owner").len()["len"].max() == 1


def test_a_model_without_vectors_cannot_make_lists_diverse(request_of, root, fitted):
    request = request_of(replace(ALL, diversity=0.2))

    with pytest.raises(ValueError, match=r"policy.diversity is 0.2, but itemknn has no embeddings"):
        recommend.fn(
            0, replace(request, model=replace(request.model, fitted=fitted, system="itemknn")), CONFIG, root, None
        )
