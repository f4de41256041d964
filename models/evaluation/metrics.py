"""Ranking metrics per user, bootstrap intervals, paired tests, coverage and popularity bias.

U users, I images, K places in a ranked list. Relevance is binary: an image was held out for the user or it was not.
Every metric is a float64 (U,) with nan for users without held-out images; intervals and tests leave those users out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

CHUNK = 1 << 22  # random signs at once: 32 MiB, however many users and resamples there are
RESAMPLED = 1 << 17  # users drawn at once: 1 MiB, as counts outside the cache take twice the time


class Hits(NamedTuple):
    """Places of held-out images in the users' lists: all that the metrics need."""

    is_hit: np.ndarray  # bool (U, K); place j of user u's list has an image that is held out for u
    num_heldout: np.ndarray  # int64 (U,)


def find_hits(ranked_UK: np.ndarray, heldout_UI: csr_array) -> Hits:
    """The places at which ranked lists have held-out images.

    Args:
        ranked_UK: image rows, best first, none twice; -1 behind the end of a list.
        heldout_UI: an entry, whatever its value, marks a held-out image; one that no list can contain still counts in
            the denominators.
    Raises:
        ValueError: not one list for each user.
    """
    num_users, num_images = heldout_UI.shape
    if len(ranked_UK) != num_users:
        raise ValueError(
            f"{len(ranked_UK)} ranked lists for {num_users} users; pass one list for each user, in the same order"
        )
    num_heldout_U = np.diff(heldout_UI.indptr).astype(np.int64)
    first_of_user = np.arange(num_users) * num_images
    heldout = np.sort(np.repeat(first_of_user, num_heldout_U) + heldout_UI.indices)
    heldout = np.append(heldout, num_users * num_images)  # larger than any pair, so that every search finds an entry
    pairs_UK = first_of_user[:, None] + ranked_UK
    is_hit_UK = (heldout[np.searchsorted(heldout, pairs_UK)] == pairs_UK) & (ranked_UK >= 0)
    return Hits(is_hit_UK, num_heldout_U)


def recall(hits: Hits, k: int) -> np.ndarray:
    """The share of a user's held-out images among the first k."""
    return _tested_only(hits, _num_hits(hits, k) / np.maximum(hits.num_heldout, 1))


def precision(hits: Hits, k: int) -> np.ndarray:
    """The share of held-out images in the first k places; places behind the end of a list are misses."""
    return _tested_only(hits, _num_hits(hits, k) / k)


def hit_rate(hits: Hits, k: int) -> np.ndarray:
    """1 where a held-out image is among the first k, else 0."""
    return _tested_only(hits, _num_hits(hits, k) > 0)


def ndcg(hits: Hits, k: int) -> np.ndarray:
    """Discounted cumulative gain at k over that of a list with all min(k, number of held-out) images first.

    A hit at place j, counted from 1, gains 1 / log2(j + 1).
    """
    gains_K = 1 / np.log2(np.arange(2, k + 2))
    ideal_U = np.cumsum(gains_K)[np.clip(hits.num_heldout, 1, k) - 1]
    return _tested_only(hits, _first(hits, k) @ gains_K / ideal_U)


def average_precision(hits: Hits, k: int) -> np.ndarray:
    """The mean of the precisions at the places of the hits, over min(k, number of held-out); the mean is MAP@k."""
    is_hit_UK = _first(hits, k)
    precisions_UK = is_hit_UK.cumsum(axis=1) / np.arange(1, k + 1)
    return _tested_only(hits, (precisions_UK * is_hit_UK).sum(axis=1) / np.clip(hits.num_heldout, 1, k))


def auc(scores_UI: np.ndarray, heldout_U: np.ndarray, observed_UI: csr_array) -> np.ndarray:
    """The share of a user's unobserved images that score below the held-out one, where equal scores count half.

    Over all unobserved images, not a sample of them (seed 001, section 6.3; ties as in the area under the ROC curve).

    Args:
        scores_UI: float32; -inf where an image cannot be scored: below every other score and equal to another -inf.
        heldout_U: each user's held-out image row.
        observed_UI: an entry marks any other favorite of the user; the held-out one may be marked too.
    Returns:
        float64 (U,); nan for a user without unobserved images.
    """
    users = np.arange(len(heldout_U))
    unobserved_UI = np.ones(scores_UI.shape, bool)
    unobserved_UI[np.repeat(users, np.diff(observed_UI.indptr)), observed_UI.indices] = False
    unobserved_UI[users, heldout_U] = False
    heldout_U1 = scores_UI[users, heldout_U][:, None]
    below_U, equal_U, all_U = (
        np.count_nonzero(marks_UI, axis=1)
        for marks_UI in (
            (scores_UI < heldout_U1) & unobserved_UI,
            (scores_UI == heldout_U1) & unobserved_UI,
            unobserved_UI,
        )
    )
    return np.where(all_U > 0, (below_U + equal_U / 2) / np.maximum(all_U, 1), np.nan)


class Interval(NamedTuple):
    """A mean over users with its confidence interval; nan without users."""

    value: float
    low: float
    high: float
    users: int


class PairedTest(NamedTuple):
    """The mean difference between two systems on the same users, and the p value of one at least as large."""

    difference: Interval
    p_value: float


def bootstrap(values_U: np.ndarray, *, num_resamples: int = 1000, seed: int = 0, level: float = 0.95) -> Interval:
    """The mean over users with its percentile bootstrap interval: users are resampled with replacement.

    Users whose value is nan are left out and not counted.
    """
    values_U1 = np.asarray(values_U)[:, None]
    (interval,) = bootstrap_columns(values_U1, num_resamples=num_resamples, seed=seed, level=level)
    return interval


def bootstrap_columns(
    values_UM: np.ndarray, *, num_resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> list[Interval]:
    """The `bootstrap` of each column, on the same resamples: many metrics of the same users in the time of one.

    How often each user was drawn, times the values, are the sums of a resample: one product for all columns.
    Users with a nan in any column are left out of all columns.
    """
    values = np.asarray(values_UM, np.float64)
    values = values[~np.isnan(values).any(axis=1)]
    num_users, num_columns = values.shape
    if not num_users:
        return [Interval(np.nan, np.nan, np.nan, 0)] * num_columns
    rng = np.random.default_rng(seed)
    means = []
    for size in _chunks(num_resamples, num_users, RESAMPLED):
        resampled = rng.integers(0, num_users, (size, num_users), dtype=np.int32)
        times = np.bincount((resampled + np.arange(size)[:, None] * num_users).ravel(), minlength=resampled.size)
        means.append(times.reshape(resampled.shape) @ values / num_users)
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2], axis=0)
    columns = zip(values.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    return [Interval(*column, num_users) for column in columns]


def paired_test(
    ours_U: np.ndarray, theirs_U: np.ndarray, *, num_resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> PairedTest:
    """Two-sided sign-flip test of ours - theirs over users, with the bootstrap interval of the difference.

    If neither system were better, each user's difference would have either sign with equal chance. The p value is the
    share of random signs, the observed ones included, with which the mean is at least as far from 0. Users with a nan
    on either side are left out.
    """
    differences_U = np.asarray(ours_U, np.float64) - np.asarray(theirs_U, np.float64)
    (test,) = paired_tests(differences_U[:, None], num_resamples=num_resamples, seed=seed, level=level)
    return test


def paired_tests(
    differences_UM: np.ndarray, *, num_resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> list[PairedTest]:
    """The `paired_test` of each column of differences, on the same random signs: many systems in the time of one.

    Users with a nan in any column are left out of all columns.
    """
    intervals = bootstrap_columns(differences_UM, seed=seed, level=level)
    differences = differences_UM[~np.isnan(differences_UM).any(axis=1)]
    if not differences.size:
        return [PairedTest(interval, np.nan) for interval in intervals]
    rng = np.random.default_rng(seed)
    observed = np.abs(differences.sum(axis=0)) * (1 - 1e-12)  # equal sums may differ by rounding
    as_far = np.ones(len(intervals), np.int64)
    for size in _chunks(num_resamples, len(differences), CHUNK):
        signs = rng.integers(0, 2, (size, len(differences)), dtype=np.int8) * np.float64(2) - 1
        as_far += (np.abs(signs @ differences) >= observed).sum(axis=0)
    p_values = as_far / (num_resamples + 1)
    return [PairedTest(interval, p) for interval, p in zip(intervals, p_values.tolist(), strict=True)]


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """float64, the p values corrected for their number, in the same order (Holm, 1979): the step-down Bonferroni.

    The kth smallest of M is multiplied by M - k + 1, and is at least what the smaller ones become, and at most 1. The
    chance that any of the true null hypotheses is rejected at a level is then at most that level.
    """
    p_M = np.asarray(p_values, np.float64)
    order = np.argsort(p_M, kind="stable")
    corrected = np.minimum(1, np.maximum.accumulate(p_M[order] * np.arange(len(p_M), 0, -1)))
    return corrected[np.argsort(order, kind="stable")]


def coverage(ranked_UK: np.ndarray, num_images: int) -> float:
    """The share of all images that are in at least one list."""
    return np.unique(ranked_UK[ranked_UK >= 0]).size / num_images


class PopularityBias(NamedTuple):
    """How much the lists favor popular images; nan without recommendations."""

    average_popularity: float  # mean over users of the mean popularity of their list (ARP, Yin et al. 2012)
    average_percentile: float  # the same of popularity percentiles (ties count half): .5 is no bias
    gini: float  # of how often each image is listed: 0 if all are listed equally, near 1 if a few have most places


def popularity_bias(ranked_UK: np.ndarray, popularity_I: np.ndarray) -> PopularityBias:
    """Popularity bias of ranked lists; users with an empty list are left out.

    Args:
        ranked_UK: image rows; -1 behind the end of a list.
        popularity_I: training favorites of each image.
    """
    ranked_UK = ranked_UK[(ranked_UK >= 0).any(axis=1)]
    listed_UK = ranked_UK >= 0
    if not ranked_UK.size:
        return PopularityBias(np.nan, np.nan, np.nan)
    in_order = np.sort(popularity_I)
    below, up_to = (np.searchsorted(in_order, popularity_I, side) for side in ("left", "right"))
    percentile_I = (below + up_to) / (2 * len(popularity_I))
    popularity, percentile = (
        float(np.mean(np.sum(values_I[ranked_UK], axis=1, where=listed_UK) / listed_UK.sum(axis=1)))
        for values_I in (popularity_I, percentile_I)
    )
    exposure = np.sort(np.bincount(ranked_UK[listed_UK], minlength=len(popularity_I)))
    place = np.arange(1, len(exposure) + 1)
    gini = (2 * place - len(exposure) - 1) @ exposure / (len(exposure) * exposure.sum())
    return PopularityBias(popularity, percentile, float(gini))


def _first(hits: Hits, k: int) -> np.ndarray:
    if not 1 <= k <= hits.is_hit.shape[1]:
        raise ValueError(f"a metric at {k} from lists of {hits.is_hit.shape[1]}; rank at least as many images")
    return hits.is_hit[:, :k]


def _num_hits(hits: Hits, k: int) -> np.ndarray:
    return np.asarray(_first(hits, k).sum(axis=1))


def _tested_only(hits: Hits, values_U: np.ndarray) -> np.ndarray:
    return np.where(hits.num_heldout > 0, values_U, np.nan)


def _chunks(num_resamples: int, num_users: int, at_once: int) -> list[int]:
    size = max(1, at_once // num_users)
    return [min(size, num_resamples - first) for first in range(0, num_resamples, size)]
