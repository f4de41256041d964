"""What is set aside to learn weights on, and what is searched."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.community import Community
from models.ensemble import weights
from models.ensemble.weights import WeightsConfig
from models.evaluation import metrics
from tests.models.systems.contract import NUM_USERS, two_tastes


@pytest.fixture(scope="module")
def community() -> Community:
    return two_tastes()


def test_favorites_set_aside_are_the_latest_and_leave_the_rest(community: Community) -> None:
    training, heldout_UI, new_I = weights.hold_out_favorites(community, WeightsConfig(), 0)
    assert (training.favorites_UI + heldout_UI != community.favorites_UI).nnz == 0
    assert training.favorites_UI[:, new_I].nnz == 0
    times_UI = community.favorited_at_UI
    for user in range(NUM_USERS):
        late = heldout_UI[[user]].indices
        late = late[~new_I[late]]
        times = times_UI[[user]].toarray()[0]
        assert not late.size or times[late].min() >= times[training.favorites_UI[[user]].indices].max()
    any_UI = weights.hold_out_favorites(community, WeightsConfig(weighed_on="mixtures"), 0)[1]
    assert (any_UI != heldout_UI).nnz


def test_newcomers_lose_all_favorites_and_nobody_else_any_but_of_emptied_images(community: Community) -> None:
    training, heldout_UI, new_I = weights.hold_out_users(community, WeightsConfig(newcomer_share=0.25), 0)
    is_new_U = np.diff(heldout_UI.indptr) > 0
    assert np.count_nonzero(is_new_U) == NUM_USERS // 4
    assert not np.diff(training.favorites_UI.indptr)[is_new_U].any()
    assert (heldout_UI[is_new_U] != community.favorites_UI[is_new_U]).nnz == 0
    expected = community.favorites_UI.toarray()[~is_new_U]
    expected[:, new_I] = 0
    np.testing.assert_array_equal(training.favorites_UI[~is_new_U].toarray(), expected)


def test_favorites_are_set_aside_as_often_as_users_are_few_but_once_where_the_latest_are(community: Community) -> None:
    timeless = replace(community, favorited_at_UI=None)

    def num_holdouts(given: Community, **settings: object) -> int:
        return weights.num_holdouts(given, WeightsConfig(**settings))

    assert num_holdouts(community) == 1
    assert num_holdouts(community, weighed_on="mixtures") == num_holdouts(timeless) == 3
    assert num_holdouts(timeless, weighing_users=2 * NUM_USERS + 1) == 2
    assert num_holdouts(timeless, weighing_users=1) == 1


def test_weighings_are_searched_together_and_places_that_one_lacks_stay_unfilled() -> None:
    many = weights.Pool(np.ones((2, 3, 4)), np.zeros((3, 4)), np.ones((3, 4), bool), np.full(3, 4))
    few = weights.Pool(np.zeros((2, 1, 2)), np.zeros((1, 2)), np.array([[True, False]]), np.ones(1, np.int64))

    pool = weights.together((many, few))
    assert pool.scores_ENP.shape == (2, 4, 4)
    assert pool.floor_NP[3].tolist() == [0, 0, -np.inf, -np.inf]
    assert pool.is_held_NP.sum(axis=1).tolist() == [4, 4, 4, 1]
    assert pool.num_held_N.tolist() == [4, 4, 4, 1]


def test_weights_are_searched_on_the_metric_that_is_reported() -> None:
    rng = np.random.default_rng(0)
    scores_NP, is_held_NP = rng.normal(size=(9, 30)).astype(np.float32), rng.random((9, 30)) < 0.1
    ranked = np.argsort(-scores_NP, axis=1)[:, :20]
    heldout = csr_array(is_held_NP.astype(np.float32))
    expected = np.nanmean(metrics.ndcg(metrics.find_hits(ranked, heldout), 20))
    assert weights.ndcg(scores_NP, is_held_NP, is_held_NP.sum(1), 20) == pytest.approx(expected)


def test_a_mixture_holds_the_favorites_set_aside_and_images_drawn_evenly_and_by_popularity() -> None:
    held_NI = csr_array((np.arange(400) % 40 == 0)[None, :].repeat(3, axis=0))
    popularity_I = np.where(np.arange(400) < 4, 100, 0)
    drawn_NP = weights.draw_mixtures(held_NI, popularity_I, 60, np.random.default_rng(0))

    assert drawn_NP.shape == (3, 70)
    for user, row in enumerate(drawn_NP):
        assert (np.diff(row) >= 0).all()
        assert np.isin(held_NI[[user]].indices, row).all()
        assert 30 <= np.count_nonzero(row < 4) <= 35
    assert weights.draw_mixtures(held_NI, popularity_I, 4, np.random.default_rng(0)).shape == (3, 8)
