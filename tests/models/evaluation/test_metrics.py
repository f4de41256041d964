import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import ndcg_score, roc_auc_score

from models.evaluation.metrics import (
    auc,
    average_precision,
    bootstrap,
    bootstrap_columns,
    coverage,
    find_hits,
    hit_rate,
    holm,
    ndcg,
    paired_test,
    paired_tests,
    popularity_bias,
    precision,
    recall,
)

METRICS = (recall, precision, hit_rate, ndcg, average_precision)


def plain_metrics(ranked: list[int], heldout: set[int], k: int) -> list[float]:
    """The textbook formulas for one user, in the order of METRICS."""
    hits = [image in heldout for image in ranked[:k]]
    gains = sum(hit / np.log2(place + 2) for place, hit in enumerate(hits))
    ideal = sum(1 / np.log2(place + 2) for place in range(min(k, len(heldout))))
    precisions = sum(sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit)
    found = sum(hits)
    return [found / len(heldout), found / k, float(found > 0), gains / ideal, precisions / min(k, len(heldout))]


@pytest.fixture
def world() -> tuple[np.ndarray, csr_array]:
    rng = np.random.default_rng(0)
    ranked = np.stack([rng.permutation(30) for _ in range(50)])
    heldout = rng.random((50, 30)) < rng.random((50, 1)) ** 2
    heldout[:, 7] = True
    return ranked, csr_array(heldout)


@pytest.mark.parametrize("k", [1, 5, 30])
def test_metrics_are_those_of_the_textbook(world: tuple[np.ndarray, csr_array], k: int) -> None:
    ranked, heldout = world
    ranked[::3, 4:] = -1  # some lists end early
    hits = find_hits(ranked, heldout)
    expected = [plain_metrics(ranked[u].tolist(), set(heldout[[u]].indices.tolist()), k) for u in range(50)]
    np.testing.assert_allclose(np.column_stack([metric(hits, k) for metric in METRICS]), expected)


@pytest.mark.parametrize("k", [1, 10, 30])
def test_ndcg_is_that_of_scikit_learn(world: tuple[np.ndarray, csr_array], k: int) -> None:
    ranked, heldout = world
    ours = ndcg(find_hits(ranked, heldout), k).mean()
    assert ours == pytest.approx(ndcg_score(heldout.toarray(), -np.argsort(ranked, axis=1), k=k))


def test_held_out_images_that_no_list_contains_count_in_the_denominator() -> None:
    hits = find_hits(np.array([[2, -1]]), csr_array(np.array([[0, 0, 1, 1]])))
    assert recall(hits, 2).tolist() == [0.5]


def test_users_without_heldout_images_are_nan_and_not_counted() -> None:
    hits = find_hits(np.array([[0], [0]]), csr_array(np.array([[1, 0], [0, 0]])))
    for metric in METRICS:
        np.testing.assert_array_equal(metric(hits, 1), [1, np.nan])
    assert bootstrap(recall(hits, 1)) == (1, 1, 1, 1)


def test_a_list_too_short_for_k_is_an_error() -> None:
    hits = find_hits(np.array([[0]]), csr_array(np.array([[1]])))
    with pytest.raises(ValueError, match="a metric at 10 from lists of 1"):
        recall(hits, 10)


def test_lists_of_other_users_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 ranked lists for 1 users"):
        find_hits(np.zeros((2, 1), np.int32), csr_array(np.array([[1]])))


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    intervals = [bootstrap(rng.normal(3, 1, 100), num_resamples=400, seed=trial) for trial in range(300)]
    assert 0.9 < np.mean([interval.low <= 3 <= interval.high for interval in intervals]) < 0.98


def test_the_interval_narrows_with_users() -> None:
    values = np.random.default_rng(0).normal(0, 1, 10_000)
    interval = bootstrap(values)
    assert interval.users == 10_000
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / 100, rel=0.1)
    assert interval == bootstrap(values)


def test_the_interval_of_nobody_is_nan() -> None:
    interval = bootstrap(np.array([np.nan]))
    assert interval.users == 0
    assert np.isnan(interval[:3]).all()


def test_the_p_value_is_the_share_of_signs_as_far_from_zero() -> None:
    test = paired_test(np.array([1.0, 2, 3, np.nan]), np.array([0.0, 0, 0, 5]))
    assert test.difference.value == 2
    assert test.difference.users == 3
    assert test.p_value == pytest.approx(2 / 8, abs=0.02)  # all plus or all minus


def test_equal_systems_differ_only_by_chance() -> None:
    values = np.random.default_rng(0).random(100)
    assert paired_test(values, values).p_value == 1
    p_values = [
        paired_test(*np.random.default_rng(trial).random((2, 40)), num_resamples=200).p_value for trial in range(200)
    ]
    assert 0.01 < np.mean(np.array(p_values) < 0.05) < 0.1


def test_a_small_but_steady_difference_is_found() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.random(500)
    assert paired_test(theirs + rng.normal(0.01, 0.03, 500), theirs).p_value < 0.001


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),  # p.adjust(..., "holm") of R
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.9, 0.4, 0.001], [0.9, 0.8, 0.003]),
        ([0.6, 0.7], [1, 1]),
        ([0.2], [0.2]),
        ([], []),
    ],
)
def test_p_values_are_corrected_by_holm(p_values: list[float], corrected: list[float]) -> None:
    np.testing.assert_allclose(holm(p_values), corrected)


def test_auc_is_that_of_scikit_learn_with_ties_and_without_the_observed() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (40, 25)).astype(np.float32)
    observed = rng.random((40, 25)) < 0.3
    heldout = rng.integers(0, 25, 40)
    is_unobserved = ~observed | (np.arange(25) == heldout[:, None])  # some held-out images are marked as observed too
    expected = [
        roc_auc_score(np.arange(25)[mask] == image, row[mask])
        for row, mask, image in zip(scores, is_unobserved, heldout, strict=True)
    ]
    np.testing.assert_allclose(auc(scores, heldout, csr_array(observed)), expected)


def test_images_that_cannot_be_scored_are_equal_and_below_all_others() -> None:
    scores = np.array([[-np.inf, -np.inf, 1, 2], [-np.inf, -np.inf, 1, 2]], np.float32)
    np.testing.assert_allclose(auc(scores, np.array([0, 2]), csr_array((2, 4))), [0.5 / 3, 2 / 3])
    assert np.isnan(auc(scores[:1, :1], np.array([0]), csr_array((1, 1)))).all()


def test_columns_have_the_intervals_and_tests_that_each_has_alone() -> None:
    values = np.random.default_rng(0).normal(0.1, 1, (60, 3))
    values[7, 1] = np.nan  # a user without one figure is left out of all
    kept = np.delete(values, 7, axis=0)
    for column, interval in zip(kept.T, bootstrap_columns(values), strict=True):
        assert interval == pytest.approx(bootstrap(column))
    for column, test in zip(kept.T, paired_tests(values), strict=True):
        assert test.p_value == paired_test(column, np.zeros(59)).p_value
    assert bootstrap_columns(values[7:8])[0].users == 0


def test_coverage_counts_listed_images_once() -> None:
    assert coverage(np.array([[0, 1], [1, -1]]), 8) == 0.25


def test_popularity_bias_of_lists_checked_by_hand() -> None:
    popularity = np.array([8, 4, 4, 0])
    bias = popularity_bias(np.array([[0, 1], [0, -1], [-1, -1]]), popularity)
    assert bias.average_popularity == 7  # the mean of 6 and 8
    assert bias.average_percentile == pytest.approx(((7 / 8 + 4 / 8) / 2 + 7 / 8) / 2)
    assert bias.gini == pytest.approx((3 * 2 + 1 * 1 - 1 * 0 - 3 * 0) / (4 * 3))  # exposure 0, 0, 1, 2


def test_empty_lists_have_no_popularity_bias_that_could_be_measured() -> None:
    assert np.isnan(popularity_bias(np.full((3, 2), -1), np.array([8, 4, 4, 0]))).tolist() == [True] * 3


def test_lists_that_show_all_images_equally_often_have_no_popularity_bias() -> None:
    bias = popularity_bias(np.arange(6)[:, None], np.array([9, 5, 5, 1, 0, 0]))
    assert bias.average_percentile == pytest.approx(0.5)
    assert bias.gini == pytest.approx(0)
