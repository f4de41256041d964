"""Negatives sampled uniformly."""

import numpy as np
from scipy.sparse import csr_array

from models.uniform_negatives import UniformNegatives


def test_every_image_that_is_no_favorite_is_sampled_equally_often_and_favorites_never() -> None:
    favorites_UI = csr_array(np.array([[1, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1]], np.float32))
    sampled = UniformNegatives(favorites_UI).draw(np.array([0, 1, 2]), 6000, np.random.default_rng(0))
    counts = [np.bincount(row, minlength=6) for row in sampled]
    assert [np.flatnonzero(count).tolist() for count in counts] == [[1, 2, 5], [0, 1, 2, 3, 4, 5], [0]]
    np.testing.assert_allclose(counts[0][[1, 2, 5]], 2000, rtol=0.1)
    np.testing.assert_allclose(counts[1], 1000, rtol=0.15)


def test_a_user_who_favors_every_image_gets_favorites_as_negatives() -> None:
    negatives = UniformNegatives(csr_array(np.ones((2, 3), np.float32)))
    sampled = negatives.draw(np.array([0, 1]), 4, np.random.default_rng(0))
    assert sampled.min() >= 0
    assert sampled.max() <= 2
