"""The experts of the ensemble."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array, issparse

from models.community import Community
from models.ensemble.experts import factors
from models.ensemble.experts.base import Bounded, Expert
from models.ensemble.experts.factors import CodedFactors, Factors
from models.ensemble.experts.graph import Contacts, Groups, Neighbors, Owners, Tags
from models.ensemble.experts.linear import Attributes, Content, Ridge, Sequence
from models.ensemble.experts.towers import Towers
from tests.models.systems.contract import NUM_IMAGES, NUM_USERS, two_tastes


@pytest.fixture
def favorites_UI() -> csr_array:  # noqa: N802  # a shape suffix
    return csr_array((np.random.default_rng(0).random((12, 20)) < 0.3).astype(np.float32))


def test_neighbors_multiply_favorites_by_degrees(favorites_UI: csr_array) -> None:
    x = favorites_UI.toarray().astype(np.float64)
    expert = Neighbors(shared=0.5, crowd=1.0, popular=0.25).fit(Community(favorites_UI), 0)
    expected = (x * x.sum(0) ** -0.5) @ x.T @ (x / x.sum(1, keepdims=True)) * x.sum(0) ** -0.25
    np.testing.assert_allclose(expert.scores(np.arange(12)), expected, rtol=1e-5)


def test_ridge_without_tags_and_degrees_scores_as_ease_outside_the_favorites(favorites_UI: csr_array) -> None:
    x = favorites_UI.toarray().astype(np.float64)
    inverse = np.linalg.inv(x.T @ x + 3 * np.eye(20))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    expert = Ridge(strength=3.0, normalise=0.0, tags=0.0).fit(Community(favorites_UI), 0)
    assert expert is not None
    scores = expert.scores(np.arange(12))
    np.testing.assert_allclose(scores[x == 0], (x @ weights)[x == 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tags", [0.0, 1.0])
def test_ridge_for_many_users_is_the_exact_one_where_all_singular_vectors_lead(tags: float) -> None:
    ridge, everybody = Ridge(strength=20.0, tags=tags), np.arange(NUM_USERS)
    exact = ridge.fit(two_tastes(), 0)
    approximate = replace(ridge, exact_rows=1).fit(two_tastes(), 0)
    assert exact is not None
    assert approximate is not None
    assert approximate.addend is not None
    np.testing.assert_allclose(approximate.scores(everybody), exact.scores(everybody), rtol=1e-3, atol=1e-4)


def test_ridge_with_few_singular_vectors_is_nearer_to_the_exact_one_than_a_linear_filter() -> None:
    community, everybody = two_tastes(), np.arange(NUM_USERS)
    exact = Ridge(tags=0.0).fit(community, 0)
    approximate = Ridge(tags=0.0, exact_rows=4, rank=4).fit(community, 0)
    filtered = Neighbors(shared=0.25, popular=0.25).fit(community, 0)
    assert exact is not None
    assert approximate is not None
    likeness = [
        np.corrcoef(exact.scores(everybody).ravel(), other.scores(everybody).ravel())[0, 1]
        for other in (approximate, filtered)
    ]
    assert likeness[0] > likeness[1]
    assert likeness[0] > 0.95


def test_an_addend_is_part_of_everything_that_an_expert_computes() -> None:
    rng = np.random.default_rng(0)
    users, images = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 3), (3, 7)))
    both = Expert(csr_array(users), csr_array(images), Expert(users, 2 * images))
    scores = 3 * users @ images
    np.testing.assert_allclose(both.scores(np.arange(5)), scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        both.for_images(np.array([1, 4])).scores(np.array([2])), scores[[2]][:, [1, 4]], rtol=1e-4
    )
    np.testing.assert_allclose(both.for_users(np.array([3, 2])).scores(np.array([1])), scores[[2]], rtol=1e-4)
    np.testing.assert_allclose(both.scaled(np.arange(5.0)).scores(np.array([2])), 2 * scores[[2]], rtol=1e-4)
    np.testing.assert_allclose(both.times(np.eye(7, dtype=np.float32)), scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both.times_transposed(np.eye(5, dtype=np.float32)), scores.T, rtol=1e-4, atol=1e-5)


def test_factors_are_where_no_row_can_be_improved(favorites_UI: csr_array) -> None:
    config = Factors(dimensions=4, strength=0.5, confidence=5.0, rounds=300)
    rows, columns = factors.factorise(favorites_UI, config, seed=0)
    x = favorites_UI.toarray()
    for row in range(3):
        weights = np.where(x[row] > 0, 5.0, 1.0)
        exact = np.linalg.solve((columns.T * weights) @ columns + 0.5 * np.eye(4), columns.T @ (weights * x[row]))
        np.testing.assert_allclose(rows[row], exact, rtol=2e-2, atol=2e-3)


def test_blocks_of_rows_change_nothing(favorites_UI: csr_array, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Factors(dimensions=4, rounds=3)
    whole = factors.factorise(favorites_UI, config, seed=0)
    monkeypatch.setattr(factors, "BLOCK_ENTRIES", 7)
    for one, other in zip(whole, factors.factorise(favorites_UI, config, seed=0), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_coded_factors_place_a_cold_image_where_images_with_its_content_are() -> None:
    community = two_tastes()
    kept = community.favorites_UI.toarray()
    kept[:, [7, 40]] = 0  # red 7 and blue 40
    cold = replace(community, favorites_UI=csr_array(kept), favorited_at_UI=None)
    of_favorites = Factors(dimensions=4, strength=5.0)
    expert = CodedFactors(factors=of_favorites).fit(cold, 0)
    assert expert is not None
    red, blue = expert.scores(np.array([0, NUM_USERS - 1]))
    assert red[7] > red[40]
    assert blue[40] > blue[7]


def test_factors_whose_code_is_held_at_zero_are_plain_factors() -> None:
    community, of_favorites = two_tastes(), Factors(dimensions=4, strength=5.0)
    plain = of_favorites.fit(community, 0)
    coded = CodedFactors(factors=of_favorites, ridge=1e12).fit(community, 0)
    assert plain is not None
    assert coded is not None
    everybody = np.arange(NUM_USERS)
    np.testing.assert_allclose(coded.scores(everybody), plain.scores(everybody), rtol=1e-4, atol=1e-5)


def test_a_sequence_predicts_what_followed_in_other_users_histories() -> None:
    # everybody favors images 0 to 4 in order, the last user only 0 to 2 so far: 3 is next
    likes_UI = np.ones((6, 8))
    likes_UI[:, 5:] = 0
    likes_UI[5, 3:] = 0
    favorites_UI = csr_array(likes_UI.astype(np.float32))
    times_UI = csr_array(favorites_UI, dtype=np.float64)
    times_UI.data = times_UI.indices + 1.0
    expert = Sequence(window=2, decay=1.0, strength=0.1).fit(Community(favorites_UI, favorited_at_UI=times_UI), 0)
    assert expert is not None
    scores_I = expert.scores(np.array([5]))[0]
    assert int(np.argmax(np.where(likes_UI[5] > 0, -np.inf, scores_I))) == 3


def test_content_ranks_a_cold_image_of_the_users_taste_above_one_of_the_other_taste() -> None:
    community = two_tastes()
    kept = community.favorites_UI.toarray()
    kept[:, [7, 40]] = 0  # red 7 and blue 40 become cold
    expert = Content(strength=1.0).fit(replace(community, favorites_UI=csr_array(kept)), 0)
    assert expert is not None
    scores = expert.scores(np.array([3, NUM_USERS - 1]))
    assert scores[0, 7] > scores[0, 40]
    assert scores[1, 40] > scores[1, 7]


@pytest.mark.parametrize(
    ("expert", "rank", "likeness"),
    [
        (Content(strength=20.0), 512, 0.9999),
        (Content(strength=20.0), 4, 0.95),
        (Sequence(strength=2.0), 512, 0.9999),
        (Sequence(strength=2.0), 24, 0.9),
    ],
)
def test_for_many_an_expert_is_the_exact_one_in_the_leading_singular_vectors(
    expert: Content | Sequence, rank: int, likeness: float
) -> None:
    rng, community, everybody = np.random.default_rng(0), two_tastes(), np.arange(NUM_USERS)
    times_UI = csr_array(community.favorites_UI, dtype=np.float64, copy=True)
    times_UI.data = rng.random(times_UI.nnz)
    community = replace(community, favorited_at_UI=times_UI)
    exact = expert.fit(community, 0)
    limit = {"exact_floats": 1} if isinstance(expert, Content) else {"exact_images": 1}
    approximate = replace(expert, rank=rank, **limit).fit(community, 0)
    assert exact is not None
    assert approximate is not None
    assert approximate.addend is not None
    found, expected = approximate.scores(everybody), exact.scores(everybody)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > likeness


@pytest.mark.parametrize("expert", [Tags(), Contacts(), Groups(), Owners()], ids=lambda expert: type(expert).__name__)
def test_an_expert_of_each_signal_separates_the_two_tastes(expert: Tags | Contacts | Groups | Owners) -> None:
    fitted = expert.fit(two_tastes(), 0)
    assert fitted is not None
    scores = fitted.scores(np.arange(NUM_USERS))
    is_own = (np.arange(NUM_USERS) < NUM_USERS // 2)[:, None] == (np.arange(NUM_IMAGES) < NUM_IMAGES // 2)
    assert scores[is_own].mean() > 3 * scores[~is_own].mean()


def test_attributes_are_a_ridge_regression_over_users_with_favorites() -> None:
    community = two_tastes()
    kept = community.favorites_UI.toarray()
    kept[[5, 20]] = 0
    with_groups = Community(csr_array(kept), memberships_UG=community.memberships_UG)
    scores_UI = Attributes(strength=1e-6).fit(with_groups, 0).scores(np.arange(NUM_USERS))
    groups_UG = community.memberships_UG.toarray()
    for user in (5, 20):
        is_alike_U = (groups_UG == groups_UG[user]).all(axis=1) & kept.any(axis=1)
        np.testing.assert_allclose(scores_UI[user], kept[is_alike_U].mean(axis=0), atol=1e-2)


@pytest.mark.parametrize(
    "expert",
    [Ridge(), Sequence(), Content(), Attributes(), Factors(contacts=0.3), CodedFactors(factors=Factors())],
    ids=repr,
)
def test_an_expert_that_learns_from_favorites_needs_one(expert: Ridge) -> None:
    favorites_UI = csr_array((NUM_USERS, NUM_IMAGES), dtype=np.float32)
    times_UI = csr_array((NUM_USERS, NUM_IMAGES), dtype=np.float64)
    assert expert.fit(replace(two_tastes(), favorites_UI=favorites_UI, favorited_at_UI=times_UI), 0) is None


@pytest.mark.parametrize(
    "expert",
    [
        Tags(),
        Contacts(),
        Groups(),
        Owners(),
        Attributes(),
        Content(),
        Sequence(),
        Ridge(),
        Factors(contacts=0.3),
        Factors(tags=1.0),
        CodedFactors(factors=Factors()),
    ],
    ids=repr,
)
def test_there_is_no_expert_for_a_signal_that_the_community_lacks(expert: Tags, favorites_UI: csr_array) -> None:
    assert expert.fit(Community(favorites_UI), 0) is None


@pytest.mark.parametrize(
    "maker",
    [
        Ridge(exact_rows=1, tags=0.0, rank=8),
        Content(exact_floats=1, rank=8),
        Factors(dimensions=8, rounds=1),
        CodedFactors(factors=Factors(dimensions=8, rounds=1)),
        Towers(dimensions=8, steps=2),
    ],
    ids=lambda maker: type(maker).__name__,
)
def test_vectors_have_fewer_dimensions_where_a_matrix_would_be_too_large(maker: Any) -> None:
    community = two_tastes()

    def dimensions(maker: Any) -> int:
        dense = [part.users_UR for part in maker.fit(community, 0).products if not issparse(part.users_UR)]
        return int(dense[0].shape[1])

    fewer = replace(maker, max_floats=4 * (community.num_users + community.num_images))
    if isinstance(maker, CodedFactors):
        fewer = replace(fewer, factors=replace(maker.factors, max_floats=fewer.max_floats))
    assert dimensions(fewer) < dimensions(maker)


def test_a_sequence_whose_sparse_matrices_would_be_too_large_is_left_out() -> None:
    sequence, num_favorites = Sequence(window=5), int(two_tastes().favorites_UI.nnz)
    assert replace(sequence, max_floats=10 * num_favorites).fit(two_tastes(), 0) is not None
    assert replace(sequence, max_floats=10 * num_favorites - 1).fit(two_tastes(), 0) is None


def test_a_bound_leaves_one_dimension_at_least() -> None:
    assert Bounded(max_floats=100).within(8, 10, 20) == 5
    assert Bounded(max_floats=100).within(3, 10, 20) == 3
    assert Bounded(max_floats=100).within(8, 1000) == 1


def test_a_mapped_expert_scores_the_same_from_files() -> None:
    rng = np.random.default_rng(0)
    users, images = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 3), (3, 7)))
    expert = Expert(users, images, Expert(csr_array(users), csr_array(images)))
    mapped = expert.mapped(15)
    assert not isinstance(mapped.users_UR, np.memmap)
    assert isinstance(mapped.images_RI, np.memmap)
    np.testing.assert_array_equal(mapped.scores(np.arange(5)), expert.scores(np.arange(5)))
    assert mapped.addend is not None
    assert issparse(mapped.addend.users_UR)
