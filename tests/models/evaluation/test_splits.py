"""Splits: no favorite is lost or in two parts, and the reference sets have the reference numbers."""

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_array

from models.evaluation import splits
from models.evaluation.splits import Parts
from models.settings.splits import SplitConfig

CONFIG = SplitConfig()


def favorites(num_users: int = 30, num_images: int = 50, seed: int = 0) -> csr_array:
    likes = np.random.default_rng(seed).random((num_users, num_images)) < 0.25
    likes[0], likes[1] = False, np.arange(num_images) < 2  # too few favorites for a test
    return csr_array(likes.astype(np.float32))


def times(of: csr_array, seed: int = 1) -> csr_array:
    timed = of.astype(np.float64)
    timed.data = np.random.default_rng(seed).integers(1, 1000, of.nnz).astype(np.float64)
    return timed


def per_user(part: csr_array) -> np.ndarray:
    return np.diff(part.indptr)


SPLITS = {
    "random": lambda whole: splits.random(whole, CONFIG),
    "by time": lambda whole: splits.by_time(whole, times(whole), CONFIG),
    "by one moment": lambda whole: splits.by_time(whole, times(whole), SplitConfig(time_of="community")),
    "cold": lambda whole: splits.cold(whole, CONFIG),
    "cold users": lambda whole: splits.cold_users(whole, CONFIG),
    "leave one out": lambda whole: splits.leave_one_out(whole, CONFIG),
}


@pytest.mark.parametrize("draw", SPLITS.values(), ids=SPLITS)
def test_every_favorite_is_in_one_part_and_the_seed_decides_which(draw):
    whole = favorites()
    parts: Parts = draw(whole)
    together = parts.training + parts.validation + parts.test

    assert np.array_equal(together.toarray(), whole.toarray())
    assert all(part.nnz for part in (parts.training, parts.validation, parts.test))
    assert np.array_equal(draw(whole).test.toarray(), parts.test.toarray())


def test_a_random_split_holds_out_a_tenth_and_leaves_small_users_alone():
    whole = favorites()
    parts = splits.random(whole, CONFIG)
    expected = np.where(per_user(whole) >= 3, np.maximum(1, per_user(whole) // 10), 0)

    assert np.array_equal(per_user(parts.test), expected)
    assert np.array_equal(per_user(parts.validation), expected)
    other = splits.random(whole, SplitConfig(seed=1))
    assert not np.array_equal(other.test.toarray(), parts.test.toarray())


def test_a_split_by_time_tests_each_user_on_the_latest():
    whole = favorites()
    at = times(whole).toarray()
    parts = splits.by_time(whole, times(whole), CONFIG)
    for user in np.flatnonzero(per_user(parts.test)):
        learned, validated, tested = (
            at[user][part[[user]].indices] for part in (parts.training, parts.validation, parts.test)
        )
        assert learned.max() <= validated.min() <= validated.max() <= tested.min()
        assert len(tested) == max(1, int(0.2 * per_user(whole)[user]))
    assert not per_user(parts.test)[:2].any()


def test_a_split_by_one_moment_tests_what_came_after_it():
    whole = favorites()
    parts = splits.by_time(whole, times(whole), SplitConfig(time_of="community"))
    at = times(whole)
    learned, validated, tested = (
        at.multiply(part).tocsr().data for part in (parts.training, parts.validation, parts.test)
    )

    assert learned.max() < validated.min()
    assert validated.max() < tested.min()
    assert abs(parts.test.nnz / whole.nnz - 0.2) < 0.02


def test_cold_images_keep_no_favorite_and_are_the_only_candidates():
    parts = splits.cold(favorites(), CONFIG)

    assert len(parts.test_candidates) == len(parts.validation_candidates) == 5
    assert not np.intersect1d(parts.test_candidates, parts.validation_candidates).size
    assert set(parts.test.indices) <= set(parts.test_candidates.tolist())
    assert not np.isin(parts.training.indices, np.union1d(parts.test_candidates, parts.validation_candidates)).any()


def test_cold_users_keep_no_favorite():
    whole = favorites()
    parts = splits.cold_users(whole, CONFIG)
    held = [np.flatnonzero(per_user(part)) for part in (parts.test, parts.validation)]

    assert len(held[0]) == len(held[1]) == np.count_nonzero(per_user(whole)) // 10
    assert not np.intersect1d(*held).size
    assert not per_user(parts.training)[np.concatenate(held)].any()


def test_leave_one_out_takes_two_favorites_and_leaves_three():
    whole = favorites()
    parts = splits.leave_one_out(whole, CONFIG)
    is_tested = per_user(whole) >= 5

    assert np.array_equal(per_user(parts.test), is_tested)
    assert np.array_equal(per_user(parts.validation), is_tested)


@pytest.mark.parametrize("count", [4, 5, 10])
def test_from_five_favorites_on_a_user_is_tested_by_time_by_leave_one_out_and_beside_an_official_test(count):
    whole, none = csr_array(np.ones((1, count), np.float32)), csr_array((1, count), dtype=np.float32)
    is_enough = count >= 5
    by_time, one = splits.by_time(whole, times(whole), CONFIG), splits.leave_one_out(whole, CONFIG)

    assert [part.nnz for part in (by_time.validation, by_time.test)] == [is_enough, is_enough * max(1, count // 5)]
    assert [part.nnz for part in (one.validation, one.test)] == [is_enough, is_enough]
    assert splits.official(whole, none, None, CONFIG).validation.nnz == is_enough


def test_which_favorites_are_left_out_and_validated_beside_an_official_test_is_random_by_the_seed():
    whole, none = favorites(), csr_array((30, 50), dtype=np.float32)

    def heldout(seed: int) -> list[list[tuple[int, int]]]:
        config = SplitConfig(seed=seed)
        one, official = splits.leave_one_out(whole, config), splits.official(whole, none, None, config)
        parts = (one.test, one.validation, official.validation)
        return [np.argwhere(part.toarray()).tolist() for part in parts]

    assert heldout(0) == heldout(0)
    for part, of_other_seed in zip(heldout(0), heldout(1), strict=True):
        assert part != of_other_seed


def test_an_official_test_is_not_changed_and_never_learned_from():
    whole = favorites()
    test = csr_array((np.ones(2, np.float32), ([3, 4], [whole[[3]].indices[0], 51])), shape=(30, 52))
    validation = csr_array((np.ones(1, np.float32), ([5], [whole[[5]].indices[0]])), shape=(30, 50))
    published, random = (splits.official(whole, test, rows, CONFIG) for rows in (validation, None))

    assert published.training.nnz == whole.nnz - 2
    assert published.test is test
    assert random.test is test
    assert published.validation is validation
    assert random.training.nnz + random.validation.nnz == whole.nnz - 1
    assert per_user(random.validation)[2:].all()


def test_no_pair_of_an_official_test_is_learned_from_and_every_other_one_is():
    whole = favorites(num_users=120, num_images=20)
    is_tested = np.random.default_rng(2).random(whole.shape) < 0.3
    parts = splits.official(whole, csr_array(is_tested), csr_array(whole.shape, dtype=np.float32), CONFIG)

    assert np.array_equal(parts.training.toarray(), whole.toarray() * ~is_tested)


def test_shares_that_leave_nothing_are_refused():
    with pytest.raises(ValueError, match="leave nothing"):
        SplitConfig(heldout_share=0.4, latest_share=0.7)


def real(name: str) -> tuple[csr_array, csr_array | None]:
    """Favorites of a real community, numbered by sorted ids, and their times."""
    data = os.environ.get("TASTEGRAPH_DATA")
    if not data or not (Path(data) / name).is_dir():
        pytest.skip(f"TASTEGRAPH_DATA names no folder that holds {name}")
    table = pq.read_table(Path(data) / name / "favorites.parquet")
    images = np.sort(pq.read_table(Path(data) / name / "images.parquet")["image_id"].to_numpy().astype(str))
    users, user = np.unique(table["user_id"].to_numpy().astype(str), return_inverse=True)
    image = np.searchsorted(images, table["image_id"].to_numpy().astype(str))
    shape = (len(users), len(images))
    whole = csr_array((np.ones(len(user), np.float32), (user, image)), shape=shape)
    whole.sort_indices()
    if "favorited_at" not in table.column_names:
        return whole, None
    at = csr_array((table["favorited_at"].to_numpy().astype(np.float64), (user, image)), shape=shape)
    at.sort_indices()
    return whole, at


def test_the_parts_of_lastfm_friends_have_the_reference_sizes():
    parts = splits.random(real("lastfm-friends")[0], CONFIG)

    assert [part.nnz for part in (parts.training, parts.validation, parts.test)] == [74_296, 9_269, 9_269]
    assert np.count_nonzero(per_user(parts.test)) == 1_883


def test_the_reference_users_of_movielens_posters_are_tested():
    whole, at = real("movielens-posters")

    assert np.count_nonzero(per_user(splits.by_time(whole, at, CONFIG).test)) == 603
    assert np.count_nonzero(per_user(splits.cold(whole, CONFIG).test)) == 559
