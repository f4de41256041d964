"""TasteGraph's own mixture."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from models import metrics
from models.community import Community
from models.systems import tastegraph
from models.systems.tastegraph import TasteGraph, TasteGraphConfig
from tests.models.systems.contract import NUM_USERS, SystemContract, two_tastes

SMALL = {"factor_dimensions": 8, "factor_models": 2, "tower_dimensions": 8, "tower_steps": 40}


class TestTasteGraph(SystemContract):
    system = "tastegraph"
    settings = SMALL


class TestCompressedTasteGraph(SystemContract):
    system = "tastegraph"
    settings = SMALL | {"dimensions": 16}


@pytest.fixture(scope="module")
def community() -> Community:
    return two_tastes()


def fitted(community: Community, **settings: object) -> TasteGraph:
    system = TasteGraph(TasteGraphConfig(**(SMALL | settings)))
    system.fit(community)
    return system


def test_an_expert_left_out_gets_no_weight(community: Community) -> None:
    names = fitted(community).names
    assert names
    assert names[0] not in fitted(community, leave_out=(names[0],)).names


def test_as_many_dimensions_as_the_mixture_has_lose_nothing(community: Community) -> None:
    exact, compressed = fitted(community), fitted(community, dimensions=NUM_USERS)
    everybody = np.arange(NUM_USERS)
    np.testing.assert_allclose(compressed.score(everybody), exact.score(everybody), rtol=1e-3, atol=1e-3)


def test_a_new_image_of_the_users_taste_stands_above_new_ones_of_the_other(community: Community) -> None:
    kept = community.favorites_UI.toarray()
    kept[:, [7, 40]] = 0  # red 7 and blue 40
    new = replace(community, favorites_UI=csr_array(kept), favorited_at_UI=None)
    scores = fitted(new).score(np.array([0, NUM_USERS - 1]))
    assert scores[0, 7] > scores[0, 40]
    assert scores[1, 40] > scores[1, 7]


def test_favorites_set_aside_are_the_latest_and_leave_the_rest(community: Community) -> None:
    training, heldout_UI, new_I = tastegraph._set_aside(community, TasteGraphConfig(), 0)
    assert (training.favorites_UI + heldout_UI != community.favorites_UI).nnz == 0
    assert training.favorites_UI[:, new_I].nnz == 0
    times_UI = community.favorited_at_UI
    for user in range(NUM_USERS):
        late = heldout_UI[[user]].indices
        late = late[~new_I[late]]
        times = times_UI[[user]].toarray()[0]
        assert not late.size or times[late].min() >= times[training.favorites_UI[[user]].indices].max()
    any_UI = tastegraph._set_aside(community, TasteGraphConfig(weighed_on="mixtures"), 0)[1]
    assert (any_UI != heldout_UI).nnz


def test_favorites_are_set_aside_as_often_as_users_are_few_but_once_where_the_latest_are(community: Community) -> None:
    timeless = replace(community, favorited_at_UI=None)

    def num_weighings(given: Community, **settings: object) -> int:
        return tastegraph._num_weighings(given, TasteGraphConfig(**settings))

    assert num_weighings(community) == 1
    assert num_weighings(community, weighed_on="mixtures") == num_weighings(timeless) == 3
    assert num_weighings(timeless, weighing_users=2 * NUM_USERS + 1) == 2
    assert num_weighings(timeless, weighing_users=1) == 1


def test_weighings_are_searched_together_and_places_that_one_lacks_stay_unfilled() -> None:
    many = tastegraph._Pool(np.ones((2, 3, 4)), np.zeros((3, 4)), np.ones((3, 4), bool), np.full(3, 4))
    few = tastegraph._Pool(np.zeros((2, 1, 2)), np.zeros((1, 2)), np.array([[True, False]]), np.ones(1, np.int64))

    pool = tastegraph._together((many, few))
    assert pool.scores_ENP.shape == (2, 4, 4)
    assert pool.floor_NP[3].tolist() == [0, 0, -np.inf, -np.inf]
    assert pool.is_held_NP.sum(axis=1).tolist() == [4, 4, 4, 1]
    assert pool.num_held_N.tolist() == [4, 4, 4, 1]


def test_nothing_is_coded_where_nothing_is_told_of_the_images(community: Community) -> None:
    coded = tastegraph.CodedFactors(dimensions=4)
    expert = coded.fit(community, seed=0)
    assert expert is not None
    assert expert.images_RI.shape == (4, community.num_images)
    assert coded.fit(community.without("tags", "titles", "features"), seed=0) is None


def test_weights_are_searched_on_the_metric_that_is_reported() -> None:
    rng = np.random.default_rng(0)
    scores_NP, is_held_NP = rng.normal(size=(9, 30)).astype(np.float32), rng.random((9, 30)) < 0.1
    ranked = np.argsort(-scores_NP, axis=1)[:, :20]
    heldout = csr_array(is_held_NP.astype(np.float32))
    expected = np.nanmean(metrics.ndcg(metrics.find_hits(ranked, heldout), 20))
    assert tastegraph._ndcg(scores_NP, is_held_NP, is_held_NP.sum(1), 20) == pytest.approx(expected)


def test_a_community_of_favorites_alone_is_enough(community: Community) -> None:
    system = fitted(Community(community.favorites_UI))
    assert set(system.names) <= {"neighbors", "niche_neighbors", "ridge", "factors", "shrunk_factors", "towers"}


def test_a_mixture_holds_the_favorites_set_aside_and_images_drawn_evenly_and_by_popularity() -> None:
    held_NI = csr_array((np.arange(400) % 40 == 0)[None, :].repeat(3, axis=0))
    popularity_I = np.where(np.arange(400) < 4, 100, 0)
    drawn_NP = tastegraph._draw_mixtures(held_NI, popularity_I, 60, np.random.default_rng(0))

    assert drawn_NP.shape == (3, 70)
    for user, row in enumerate(drawn_NP):
        assert (np.diff(row) >= 0).all()
        assert np.isin(held_NI[[user]].indices, row).all()
        assert 30 <= np.count_nonzero(row < 4) <= 35
    assert tastegraph._draw_mixtures(held_NI, popularity_I, 4, np.random.default_rng(0)).shape == (3, 8)


def test_weights_learned_on_mixtures_tell_the_tastes_apart(community: Community) -> None:
    system = fitted(community, weighed_on="mixtures")
    training_UI = community.favorites_UI
    scores_UI = system.score(np.arange(NUM_USERS))
    assert np.mean(scores_UI[training_UI.toarray() > 0]) > np.mean(scores_UI[training_UI.toarray() == 0])
