"""Distances between two distributions."""

import numpy as np
import pytest

from models.evaluation.drift import jensen_shannon, stability_index


def test_the_same_values_have_not_shifted():
    values = np.random.default_rng(0).normal(size=1000)

    assert stability_index(values, values[::-1]) == 0


def test_a_sample_of_the_same_distribution_has_hardly_shifted_and_another_one_has():
    rng = np.random.default_rng(0)
    values = rng.normal(size=5000)

    assert stability_index(values, rng.normal(size=5000)) < 0.02
    assert stability_index(values, rng.normal(1, size=5000)) > 0.5
    assert stability_index(values, np.zeros(5000)) > 5  # all in one bin


def test_the_index_is_that_of_two_bins_by_hand():
    before, now = np.array([0] * 5 + [1] * 5), np.array([0] * 2 + [1] * 8)

    assert stability_index(before, now) == pytest.approx(-0.3 * np.log(0.2 / 0.5) + 0.3 * np.log(0.8 / 0.5))


def test_the_divergence_is_0_for_equal_shares_1_for_disjoint_ones_and_symmetric():
    one, other = np.array([1.0, 3.0]), np.array([3.0, 1.0, 1.0])

    assert jensen_shannon(one, 5 * one) == 0
    assert jensen_shannon(np.array([1.0, 0]), np.array([0, 0, 2.0])) == 1
    assert jensen_shannon(one, other) == pytest.approx(jensen_shannon(other, one))
    assert 0 < jensen_shannon(one, other) < 1


def test_nothing_to_compare_is_not_a_number():
    assert np.isnan(stability_index(np.empty(0), np.ones(3)))
    assert np.isnan(jensen_shannon(np.zeros(3), np.ones(3)))
