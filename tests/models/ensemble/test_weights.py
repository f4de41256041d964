"""Hold-outs to learn ensemble weights on, and the search."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.community import Community
from models.ensemble import weights
from models.ensemble.experts.base import Expert
from models.evaluation import metrics
from models.settings.weights import WeightsConfig
from models.tag_assignments import TagAssignments
from tests.models.systems.contract import NUM_USERS, two_tastes


@pytest.fixture(scope="module")
def community() -> Community:
    return two_tastes()


def test_the_latest_favorites_are_held_out_and_the_rest_is_kept(community: Community) -> None:
    training, heldout_UI, is_cold_I = weights.hold_out_favorites(community, WeightsConfig(), 0)
    assert (training.favorites_UI + heldout_UI != community.favorites_UI).nnz == 0
    assert training.favorites_UI[:, is_cold_I].nnz == 0
    times_UI = community.favorited_at_UI
    for user in range(NUM_USERS):
        late = heldout_UI[[user]].indices
        late = late[~is_cold_I[late]]
        times = times_UI[[user]].toarray()[0]
        assert not late.size or times[late].min() >= times[training.favorites_UI[[user]].indices].max()
    any_UI = weights.hold_out_favorites(community, WeightsConfig(weighed_on="mixtures"), 0)[1]
    assert (any_UI != heldout_UI).nnz


def test_cold_users_lose_all_favorites_and_nobody_else_any_but_of_cold_images(community: Community) -> None:
    training, heldout_UI, is_cold_I = weights.hold_out_users(community, WeightsConfig(newcomer_share=0.25), 0)
    is_cold_U = np.diff(heldout_UI.indptr) > 0
    assert np.count_nonzero(is_cold_U) == NUM_USERS // 4
    assert not np.diff(training.favorites_UI.indptr)[is_cold_U].any()
    assert (heldout_UI[is_cold_U] != community.favorites_UI[is_cold_U]).nnz == 0
    expected = community.favorites_UI.toarray()[~is_cold_U]
    expected[:, is_cold_I] = 0
    np.testing.assert_array_equal(training.favorites_UI[~is_cold_U].toarray(), expected)


def test_few_favorites_mean_several_hold_outs_but_the_latest_are_held_out_once(community: Community) -> None:
    timeless = replace(community, favorited_at_UI=None)
    num_heldout = round(0.1 * community.favorites_UI.nnz)

    def num_holdouts(of: Community, **settings: object) -> int:
        return weights.num_holdouts(of, WeightsConfig(**settings))

    assert num_holdouts(community) == 1
    assert num_holdouts(community, weighed_on="mixtures") == num_holdouts(timeless) == 3
    assert num_holdouts(timeless, weighing_favorites=2 * num_heldout + 1) == 2
    assert num_holdouts(timeless, weighing_favorites=1) == 1


def test_users_with_few_favorites_lose_one_by_chance_so_that_a_tenth_of_all_is_held_out() -> None:
    favorites_UI = csr_array(np.ones((2000, 3), np.float32))  # three favorites each
    heldout_UI = weights.hold_out_favorites(Community(favorites_UI), WeightsConfig(), 0)[1]
    counts_U = np.diff(heldout_UI.indptr)
    assert counts_U.max() == 1
    assert 0.27 < counts_U.mean() < 0.33


def test_pools_are_concatenated_and_places_that_one_lacks_stay_unfilled() -> None:
    many = weights.Pool(np.ones((2, 3, 4)), np.zeros((3, 4)), np.ones((3, 4), bool), np.full(3, 4))
    few = weights.Pool(np.zeros((2, 1, 2)), np.zeros((1, 2)), np.array([[True, False]]), np.ones(1, np.int64))

    pool = weights.concatenated((many, few))
    assert pool.scores_ENP.shape == (2, 4, 4)
    assert pool.floor_NP[3].tolist() == [0, 0, -np.inf, -np.inf]
    assert pool.is_heldout_NP.sum(axis=1).tolist() == [4, 4, 4, 1]
    assert pool.num_heldout_N.tolist() == [4, 4, 4, 1]


def test_weights_are_searched_on_the_metric_that_is_reported() -> None:
    rng = np.random.default_rng(0)
    scores_NP, is_heldout_NP = rng.normal(size=(9, 30)).astype(np.float32), rng.random((9, 30)) < 0.1
    ranked = np.argsort(-scores_NP, axis=1)[:, :20]
    heldout = csr_array(is_heldout_NP.astype(np.float32))
    expected = np.nanmean(metrics.ndcg(metrics.find_hits(ranked, heldout), 20))
    assert weights.ndcg(scores_NP, is_heldout_NP, is_heldout_NP.sum(1), 20) == pytest.approx(expected)


def test_a_held_out_image_ranks_behind_others_of_the_same_score() -> None:
    def ndcg(*scores: float) -> float:
        return weights.ndcg(np.array([scores], np.float32), np.array([[True, False, False]]), np.ones(1, np.int64), 3)

    assert ndcg(1, 1, 0) == ndcg(1, 2, 0) < ndcg(2, 1, 0) == 1
    assert ndcg(0, 0, 0) == ndcg(0, 1, 2) == 0.5


def test_long_rankings_are_judged_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores_NP, is_heldout_NP = rng.normal(size=(9, 30)).astype(np.float32), rng.random((9, 30)) < 0.3
    whole = weights.ndcg(scores_NP, is_heldout_NP, is_heldout_NP.sum(1), 20)
    monkeypatch.setattr(weights, "BLOCK_FLOATS", 61)
    assert weights.ndcg(scores_NP, is_heldout_NP, is_heldout_NP.sum(1), 20) == whole


def test_a_pool_has_each_experts_best_images_once_whatever_the_blocks(
    community: Community, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, rng = WeightsConfig(depth=5), np.random.default_rng(0)
    experts = [
        Expert(rng.normal(size=(NUM_USERS, 3)).astype(np.float32), rng.normal(size=(3, 60)).astype(np.float32))
        for _ in range(2)
    ]
    training, heldout_UI, is_cold_I = weights.hold_out_favorites(community, config, 0)
    pools = weights.build_pools(experts, training, heldout_UI, is_cold_I, config, 0)
    monkeypatch.setattr(weights, "BLOCK_FLOATS", 1)
    by_user = weights.build_pools(experts, training, heldout_UI, is_cold_I, config, 0)

    warm = np.flatnonzero(training.popularity_I)
    for row, user in enumerate(np.flatnonzero(np.diff(heldout_UI.indptr))):
        unseen = np.setdiff1d(warm, training.favorites_UI[[user]].indices)
        scores = [expert.scores(np.array([user]))[0, unseen] for expert in experts]
        best = np.unique(np.concatenate([np.argsort(-of_expert)[:5] for of_expert in scores]))
        for pool in (pools.warm, by_user.warm):
            is_filled_P = np.isfinite(pool.floor_NP[row])
            for expert, of_expert in enumerate(scores):
                found = pool.scores_ENP[expert, row, is_filled_P]
                np.testing.assert_allclose(np.sort(found), np.sort(of_expert[best]), rtol=1e-5)
            assert pool.is_heldout_NP[row].sum() == np.isin(heldout_UI[[user]].indices, unseen[best]).sum()


def test_a_mixture_has_the_held_out_favorites_and_images_sampled_uniformly_and_by_popularity() -> None:
    heldout_NI = csr_array((np.arange(400) % 40 == 0)[None, :].repeat(3, axis=0))
    popularity_I = np.where(np.arange(400) < 4, 100, 0)
    drawn_NP = weights.draw_mixtures(heldout_NI, popularity_I, 60, np.random.default_rng(0))

    assert drawn_NP.shape == (3, 70)
    for user, row in enumerate(drawn_NP):
        assert (np.diff(row) >= 0).all()
        assert np.isin(heldout_NI[[user]].indices, row).all()
        assert 30 <= np.count_nonzero(row < 4) <= 35
    assert weights.draw_mixtures(heldout_NI, popularity_I, 4, np.random.default_rng(0)).shape == (3, 8)


def test_what_a_user_tagged_among_held_out_favorites_is_held_out_too():
    favorites_UI = csr_array(np.ones((6, 10), np.float32))
    user, image = favorites_UI.nonzero()
    ones = csr_array(np.ones((10, 1), np.float32))
    assigned = TagAssignments(user, image, np.zeros(60, np.int64), np.full(60, np.nan))
    tags = {"user_tags_UT": csr_array(np.full((6, 1), 10, np.float32)), "image_tags_IT": ones}
    community = Community(favorites_UI, tag_assignments=assigned, **tags)
    training, heldout_UI, _ = weights.hold_out_favorites(community, WeightsConfig(new_share=0.0), 0)

    assert np.array_equal(training.user_tags_UT.toarray()[:, 0], np.diff(training.favorites_UI.indptr))
    assert heldout_UI.nnz > 0
    kept = csr_array((np.ones(len(training.tag_assignments.user_N)), training.tag_assignments[:2]), shape=(6, 10))
    assert not kept.multiply(heldout_UI).nnz


def _pool(*rankings: list[int], num_heldout: int = 1, num_users: int = 4) -> weights.Pool:
    """Of equal users: each expert's scores of five images, of which the first ones are held out."""
    scores_E1P = np.array(rankings, np.float32)[:, None]
    is_heldout_NP = np.tile(np.arange(5) < num_heldout, (num_users, 1))
    return weights.Pool(
        np.repeat(scores_E1P, num_users, axis=1),
        np.zeros((num_users, 5), np.float32),
        is_heldout_NP,
        is_heldout_NP.sum(axis=1),
    )


def test_an_expert_that_misleads_gets_no_weight_and_two_that_are_better_together_get_one_each() -> None:
    # The held-out image is first by none of the first two, but by their sum; the third drowns it.
    warm = _pool([4, 5, 0, 1, 1], [4, 0, 5, 1, 1], [-9, 9, 9, 9, 9])
    none = _pool([0] * 5, [0] * 5, [0] * 5, num_heldout=0)
    learned = weights.learn_weights([weights.Pools(warm, none, none)], True, WeightsConfig(k=1))

    assert learned.warm_E[2] == 0
    assert (learned.warm_E[:2] > 0).all()
    assert (learned.cold_E == learned.warm_E).all()  # no cold image was held out


def test_cold_images_get_weights_of_their_own_and_a_scale_that_ranks_them_where_they_belong() -> None:
    good, bad = [5, 1, 1, 1, 1], [1, 5, 5, 5, 5]
    warm, cold_items = _pool(good, bad), _pool(bad, good)
    flat, worthless = [0] * 5, [8, 8, 8, 8, 8]  # above the warm images, by the second expert
    learned = weights.learn_weights(
        [weights.Pools(warm, cold_items, _pool(flat, worthless, num_heldout=0))], True, WeightsConfig(k=1)
    )

    assert learned.warm_E.tolist() == [1, 0]
    assert learned.cold_E.tolist() == [0, 1]
    assert 8 * learned.cold_item_scale < 5
