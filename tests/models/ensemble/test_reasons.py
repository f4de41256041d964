"""Why a score is what it is."""

import numpy as np
from scipy.sparse import csr_array

from models.ensemble import reasons


def test_the_shares_of_a_pair_sum_to_its_score_though_the_parts_are_kept_at_half_precision() -> None:
    rng = np.random.default_rng(0)
    parts = {name: rng.normal(size=(6, 8)).astype(np.float32) for name in ("favorites", "tags")}
    images_Nd, user_N = rng.normal(size=(40, 8)).astype(np.float32), rng.integers(0, 6, 40)
    scores_N = np.einsum("nd,nd->n", np.sum(list(parts.values()), axis=0)[user_N], images_Nd)
    halved = {name: part.astype(np.float16) for name, part in parts.items()}
    shares_NS = reasons.shares(halved, user_N, images_Nd, scores_N)
    np.testing.assert_allclose(shares_NS.sum(axis=1), scores_N, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(shares_NS[:, 1], np.einsum("nd,nd->n", parts["tags"][user_N], images_Nd), atol=0.02)


def test_the_nearest_favorite_is_the_one_with_the_largest_cosine_and_one_without_a_vector_is_none() -> None:
    images_Id = np.array([[1, 0], [3, 3], [0, 1], [1, 0.1], [0, 0]], np.float32)
    favorites_UI = csr_array(np.array([[0, 1, 1, 0, 1], [0, 0, 0, 0, 0]], np.float32))
    found = reasons.nearest_favorite(np.array([0, 1, 0]), np.array([3, 3, 2]), favorites_UI, images_Id)
    assert found.tolist() == [1, -1, 2]


def test_the_strongest_thing_is_the_one_that_both_have_most_of_and_the_first_of_equals(monkeypatch) -> None:
    users_UF = csr_array(np.array([[1, 2, 0, 2], [0, 0, 5, 0]], np.float32))
    images_IF = csr_array(np.array([[9, 1, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]], np.float32))
    pairs = np.array([0, 0, 1, 1, 0]), np.array([0, 1, 0, 1, 2])
    for chunk in (100, 2):
        monkeypatch.setattr(reasons, "CHUNK", chunk)
        assert reasons.strongest(*pairs, users_UF, images_IF).tolist() == [0, 1, 2, -1, -1]
