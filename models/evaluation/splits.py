"""Splits of the favorites into training, validation (on which settings are chosen) and test.

U users, I images. Every split is random by `numpy.random.default_rng(seed)` over favorites in the order of (user,
image), both by row number: the same numbering of users and images gives the same split.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_array

from models.settings.splits import SplitConfig
from models.sparse import keep, row_of_entry

MIN_FAVORITES = 5  # users with fewer are not tested by time or by leave one out: three are to stay for training
TRAINING, VALIDATION, TEST = 0, 1, 2
Protocol = Literal["paper", "auc", "full", "time", "cold", "cold_users"]  # what is held out: docs/running.md


@dataclass(frozen=True)
class Parts:
    """The favorites of each part. Candidates are the image rows that are ranked, ascending; None: all images."""

    training: csr_array  # (U, I), as the other two
    validation: csr_array
    test: csr_array
    validation_candidates: np.ndarray | None = None
    test_candidates: np.ndarray | None = None


def random(favorites_UI: csr_array, config: SplitConfig) -> Parts:
    """A random share of each user's favorites for the test, as many for validation; at least one each.

    All favorites of users with fewer than three are for training.
    """
    rng = np.random.default_rng(config.seed)
    counts_U = np.diff(favorites_UI.indptr)
    parts = np.full(favorites_UI.nnz, TRAINING, np.int8)
    # user by user, as it was for the metrics in docs/results.md
    for first, count in zip(favorites_UI.indptr[:-1], counts_U, strict=True):
        order = first + rng.permutation(count)
        if count >= 3:
            size = max(1, int(config.heldout_share * count))
            parts[order[-size:]] = TEST
            parts[order[-2 * size : -size]] = VALIDATION
    return _divided(favorites_UI, parts)


def by_time(favorites_UI: csr_array, times_UI: csr_array, config: SplitConfig) -> Parts:
    """The latest favorites for the test, those before them for validation: each user's own, or all since a moment.

    By each user's own times: at least one favorite for each part, ties in the order of images, all for training of
    users with fewer than five. By one moment: favorites of the same second stay together.

    Args:
        times_UI: seconds, with the pattern of the favorites.
    """
    counts_U = np.diff(favorites_UI.indptr)
    parts = np.full(favorites_UI.nnz, TRAINING, np.int8)
    if config.time_of == "community":
        since = np.quantile(
            times_UI.data, 1 - config.latest_share - np.array([config.heldout_share, 0]), method="lower"
        )
        parts[times_UI.data > since[0]] = VALIDATION
        parts[times_UI.data > since[1]] = TEST
        return _divided(favorites_UI, parts)
    users = row_of_entry(favorites_UI)
    num_later = _num_later(np.lexsort((favorites_UI.indices, times_UI.data, users)), favorites_UI.indptr)
    size_U, before_U = (
        np.where(counts_U >= MIN_FAVORITES, np.maximum(1, _share(share, counts_U)), 0)
        for share in (config.latest_share, config.heldout_share)
    )
    parts[num_later < (size_U + before_U)[users]] = VALIDATION
    parts[num_later < size_U[users]] = TEST
    return _divided(favorites_UI, parts)


def cold(favorites_UI: csr_array, config: SplitConfig) -> Parts:
    """Images held out with all favorites and ranked among themselves: a share for test, as many for validation."""
    num_images = favorites_UI.shape[1]
    order = np.random.default_rng(config.seed).permutation(num_images)
    size = int(config.heldout_share * num_images)
    part_I = np.full(num_images, TRAINING, np.int8)
    part_I[order[:size]], part_I[order[size : 2 * size]] = TEST, VALIDATION
    parts = _divided(favorites_UI, part_I[favorites_UI.indices])
    return Parts(
        parts.training,
        parts.validation,
        parts.test,
        validation_candidates=np.flatnonzero(part_I == VALIDATION),
        test_candidates=np.flatnonzero(part_I == TEST),
    )


def cold_users(favorites_UI: csr_array, config: SplitConfig) -> Parts:
    """Users held out with all their favorites: a share of those who have any for test, as many for validation."""
    counts_U = np.diff(favorites_UI.indptr)
    order = np.random.default_rng(config.seed).permutation(np.flatnonzero(counts_U))
    size = int(config.heldout_share * len(order))
    part_U = np.full(len(counts_U), TRAINING, np.int8)
    part_U[order[:size]], part_U[order[size : 2 * size]] = TEST, VALIDATION
    return _divided(favorites_UI, np.repeat(part_U, counts_U))


def leave_one_out(favorites_UI: csr_array, config: SplitConfig) -> Parts:
    """A random test and validation favorite of each user with three or more left (seed 001, section 6.1)."""
    rng = np.random.default_rng(config.seed)
    counts_U = np.diff(favorites_UI.indptr)
    users = row_of_entry(favorites_UI)
    num_later = _num_later(np.lexsort((rng.random(len(users)), users)), favorites_UI.indptr)
    parts = np.full(favorites_UI.nnz, TRAINING, np.int8)
    is_tested = counts_U[users] >= MIN_FAVORITES
    parts[is_tested & (num_later == 0)] = TEST
    parts[is_tested & (num_later == 1)] = VALIDATION
    return _divided(favorites_UI, parts)


def official(
    favorites_UI: csr_array, test_UI: csr_array, validation_UI: csr_array | None, config: SplitConfig
) -> Parts:
    """A published test; for validation the published favorites, else a random share of each user with five or more.

    Pairs of the test are never for training. Validation pairs need not be favorites.
    """
    remaining_UI = keep(favorites_UI, ~_in_both(favorites_UI, test_UI))
    if validation_UI is not None:
        return Parts(keep(remaining_UI, ~_in_both(remaining_UI, validation_UI)), validation_UI, test_UI)
    counts_U = np.diff(remaining_UI.indptr)
    users = row_of_entry(remaining_UI)
    order = np.lexsort((np.random.default_rng(config.seed).random(len(users)), users))
    size_U = np.where(counts_U >= MIN_FAVORITES, np.maximum(1, _share(config.heldout_share, counts_U)), 0)
    is_validated = _num_later(order, remaining_UI.indptr) < size_U[users]
    return Parts(keep(remaining_UI, ~is_validated), keep(remaining_UI, is_validated), test_UI)


def _share(share: float, counts: np.ndarray) -> np.ndarray:
    return np.asarray((share * counts).astype(np.int64))


def _num_later(order: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """int64: the number of favorites of the same user after each one, in an order that goes user by user."""
    after = np.empty(len(order), np.int64)
    after[order] = np.repeat(indptr[1:], np.diff(indptr)) - 1 - np.arange(len(order))
    return after


def _divided(favorites_UI: csr_array, parts: np.ndarray) -> Parts:
    return Parts(*(keep(favorites_UI, parts == part) for part in (TRAINING, VALIDATION, TEST)))


def _in_both(favorites_UI: csr_array, other_UI: csr_array) -> np.ndarray:
    """bool for each favorite: whether the other matrix has an entry there. It may have more columns."""
    keys, other_keys = (
        row_of_entry(matrix) * other_UI.shape[1] + matrix.indices for matrix in (favorites_UI, other_UI)
    )
    return np.isin(keys, other_keys)
