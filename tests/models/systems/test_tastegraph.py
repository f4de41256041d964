"""The weighted linear ensemble."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.community import Community
from models.settings.tastegraph import TasteGraphConfig
from models.systems import tastegraph
from models.systems.tastegraph import TasteGraph
from tests.models.systems.contract import NUM_USERS, SystemContract, two_tastes

COLD_USERS = np.array([5, 20])  # red and blue
SMALL = {"factor_dimensions": 8, "tower_dimensions": 8, "tower_steps": 40}


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


def test_low_effort_fits_fewer_experts_and_an_unknown_effort_is_refused(community: Community) -> None:
    def experts(effort: str) -> set[str]:
        return set(TasteGraph(TasteGraphConfig(effort=effort)).unfitted())

    assert experts("low") < experts("normal") < experts("high")
    assert "towers" not in fitted(community, effort="low").names
    with pytest.raises(ValueError, match="effort is 'best'; choose low, normal, high"):
        TasteGraphConfig(effort="best")


@pytest.mark.parametrize("dimensions", [0, 16])
def test_a_refit_keeps_the_weights_and_learns_from_all_favorites(
    with_cold_users: Community, community: Community, dimensions: int
) -> None:
    measured = TasteGraph(TasteGraphConfig(**SMALL, dimensions=dimensions))
    restored = TasteGraph(measured.config)
    measured.fit(with_cold_users)
    restored.restore(measured.state())
    assert restored.learned == measured.learned

    refitted, again = TasteGraph(measured.config), TasteGraph(measured.config)
    refitted.refit(community, restored)
    assert refitted.learned == measured.learned
    # On what it was measured on, the refit is the fit; elsewhere it knows the other favorites.
    again.refit(with_cold_users, restored)
    everybody = np.arange(NUM_USERS)
    np.testing.assert_allclose(again.score(everybody), measured.score(everybody), rtol=1e-3, atol=1e-3)
    assert not np.allclose(refitted.score(COLD_USERS), measured.score(COLD_USERS), atol=1e-2)


def test_compression_to_as_many_dimensions_as_the_ensemble_has_loses_nothing(community: Community) -> None:
    exact, compressed = fitted(community), fitted(community, dimensions=NUM_USERS)
    everybody = np.arange(NUM_USERS)
    np.testing.assert_allclose(compressed.score(everybody), exact.score(everybody), rtol=1e-3, atol=1e-3)


def test_a_cold_image_of_the_users_taste_ranks_above_cold_ones_of_the_other_taste(community: Community) -> None:
    kept = community.favorites_UI.toarray()
    kept[:, [7, 40]] = 0  # red 7 and blue 40
    with_cold_images = replace(community, favorites_UI=csr_array(kept), favorited_at_UI=None)
    scores = fitted(with_cold_images).score(np.array([0, NUM_USERS - 1]))
    assert scores[0, 7] > scores[0, 40]
    assert scores[1, 40] > scores[1, 7]


@pytest.fixture(scope="module")
def with_cold_users(community: Community) -> Community:
    """The community where a red user and a blue one have no favorite yet."""
    kept = community.favorites_UI.toarray()
    kept[COLD_USERS] = 0
    return replace(community, favorites_UI=csr_array(kept), favorited_at_UI=None)


@pytest.mark.parametrize("max_floats", [4 * 10**8, 16 * NUM_USERS], ids=["few users", "as many users as vectors allow"])
def test_what_signals_add_to_the_users_vectors_sums_to_these_and_is_restored(
    with_cold_users: Community, max_floats: int
) -> None:
    system = fitted(with_cold_users, dimensions=16, max_floats=max_floats)
    assert len(system.users_by_signal) > 1
    whole = np.sum([part.astype(np.float32) for part in system.users_by_signal.values()], axis=0)
    np.testing.assert_allclose(whole, system.vectors.users_Ud, rtol=1e-2, atol=1e-3)
    again = TasteGraph(system.config)
    again.restore(system.state())
    for signal, part in system.users_by_signal.items():
        np.testing.assert_array_equal(again.users_by_signal[signal], part)


@pytest.mark.parametrize("dimensions", [0, 16])
def test_cold_users_get_images_that_similar_users_favor(with_cold_users: Community, dimensions: int) -> None:
    red, blue = fitted(with_cold_users, dimensions=dimensions).score(COLD_USERS)
    half = with_cold_users.num_images // 2
    assert red[:half].mean() > red[half:].mean()
    assert blue[half:].mean() > blue[:half].mean()


def test_cold_users_without_any_side_information_get_the_most_popular_image_first(with_cold_users: Community) -> None:
    alone = Community(with_cold_users.favorites_UI)
    scores_NI = fitted(alone).score(COLD_USERS)
    assert (np.argmax(scores_NI, axis=1) == np.argmax(alone.popularity_I)).all()


def test_before_the_first_favorite_images_with_the_users_tags_come_first(community: Community) -> None:
    nobody_UI = csr_array((NUM_USERS, community.num_images), dtype=np.float32)
    red, blue = fitted(replace(community, favorites_UI=nobody_UI, favorited_at_UI=None)).score(COLD_USERS)
    half = community.num_images // 2
    assert red[:half].mean() > red[half:].mean()
    assert blue[half:].mean() > blue[:half].mean()


def test_a_restored_ensemble_keeps_the_weights_for_cold_users(with_cold_users: Community) -> None:
    system = fitted(with_cold_users)
    restored = TasteGraph(system.config)
    restored.restore(system.state())
    everybody = np.arange(NUM_USERS)
    np.testing.assert_array_equal(restored.score(everybody), system.score(everybody))
    assert len(restored.weights) == 2


def test_products_with_the_scores_are_those_of_the_scores(with_cold_users: Community) -> None:
    system, rng = fitted(with_cold_users), np.random.default_rng(0)
    scores_UI = system.score(np.arange(NUM_USERS))
    for product, side in ((system.times, scores_UI), (system.times_transposed, scores_UI.T)):
        vectors = rng.standard_normal((side.shape[1], 3)).astype(np.float32)
        np.testing.assert_allclose(product(vectors), side @ vectors, rtol=1e-3, atol=1e-3)


def test_products_with_the_scores_are_equal_bytes_on_any_number_of_threads(with_cold_users: Community) -> None:
    system, rng = fitted(with_cold_users), np.random.default_rng(0)
    vectors_ID = rng.standard_normal((with_cold_users.num_images, 3 * tastegraph.COLUMNS)).astype(np.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            product_UD = system.times(vectors_ID)
            found.append((product_UD, system.times_transposed(product_UD)))
    finally:
        torch.set_num_threads(before)

    assert all(np.array_equal(one, other) for one, other in zip(*found, strict=True))


def test_there_is_no_expert_of_codes_where_images_have_no_content(community: Community) -> None:
    coded = tastegraph.DeepCodedFactors(dimensions=4)
    expert = coded.fit(community, seed=0)
    assert expert is not None
    assert expert.images_RI.shape == (4, community.num_images)
    assert coded.fit(community.without("tags", "titles", "features"), seed=0) is None


def test_a_community_of_favorites_alone_is_enough(community: Community) -> None:
    system = fitted(Community(community.favorites_UI))
    factorisations = {"shrunk_factors", "confident_factors"}
    assert set(system.names) <= {"neighbors", "niche_neighbors", "ridge", "towers", *factorisations}


def test_weights_learned_on_mixtures_separate_the_tastes(community: Community) -> None:
    system = fitted(community, weighed_on="mixtures")
    training_UI = community.favorites_UI
    scores_UI = system.score(np.arange(NUM_USERS))
    assert np.mean(scores_UI[training_UI.toarray() > 0]) > np.mean(scores_UI[training_UI.toarray() == 0])
