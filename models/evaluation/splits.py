"""Favorites divided into what is learned from, what settings are chosen on, and what is tested on.

U users, I images. Every split is drawn from `numpy.random.default_rng(seed)` over favorites in the order of (user,
image), both by row number: whoever numbers users and images alike draws the same rows.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_array

from models.sparse import keep

LEAST_TIMED = 5  # users with fewer favorites are not tested by time, nor leave one out: three are left to learn from
TRAINING, VALIDATION, TEST = 0, 1, 2
Protocol = Literal["paper", "auc", "full", "time", "cold", "cold_users"]  # what is held out; docs/running.md


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How `compare` and `tune` divide the favorites."""

    seed: int = 0  # of what is held out; the settings of a system have a seed of their own
    heldout_share: float = 0.1  # of a user's favorites, images (cold) or users (cold_users): to test, and to validate
    latest_share: float = 0.2  # of a user's favorites, or of all, that are tested in a split by time
    time_of: Literal["user", "community"] = "user"  # by each user's own time, or by one moment for everybody
    cold_below: int = 5  # leave one out: an image with fewer training favorites is cold (He and McAuley, VBPR, 2016)

    def __post_init__(self) -> None:
        if not (0 < self.heldout_share < 0.5 and 0 < self.latest_share < 1 - self.heldout_share):
            raise ValueError(
                f"heldout_share {self.heldout_share} and latest_share {self.latest_share} leave nothing to learn from"
            )
        if self.time_of not in ("user", "community"):
            raise ValueError(f"splits.time_of is {self.time_of!r}; choose user or community")


@dataclass(frozen=True)
class Parts:
    """Favorites by what they are for. Candidates are the image rows that are ranked, ascending; None: all of them."""

    training: csr_array  # (U, I), as the other two
    validation: csr_array
    test: csr_array
    validation_candidates: np.ndarray | None = None
    test_candidates: np.ndarray | None = None


def random(favorites_UI: csr_array, config: SplitConfig) -> Parts:
    """A share of each user's favorites at random for the test, as much for validation; one each at the least.

    Users with fewer than three favorites have them all in training.
    """
    rng = np.random.default_rng(config.seed)
    counts_U = np.diff(favorites_UI.indptr)
    parts = np.full(favorites_UI.nnz, TRAINING, np.int8)
    for first, count in zip(favorites_UI.indptr[:-1], counts_U, strict=True):  # user by user: so the figures were drawn
        order = first + rng.permutation(count)
        if count >= 3:
            size = max(1, int(config.heldout_share * count))
            parts[order[-size:]] = TEST
            parts[order[-2 * size : -size]] = VALIDATION
    return _divided(favorites_UI, parts)


def by_time(favorites_UI: csr_array, times_UI: csr_array, config: SplitConfig) -> Parts:
    """The latest favorites for the test, those before them for validation: each user's own, or all since a moment.

    Of each user's own, one for each at the least, ties in the order of images, users with fewer than five left in
    training. By one moment, favorites of the same second stay together.

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
    users = np.repeat(np.arange(len(counts_U)), counts_U)
    left = _left(np.lexsort((favorites_UI.indices, times_UI.data, users)), favorites_UI.indptr)
    size_U, before_U = (
        np.where(counts_U >= LEAST_TIMED, np.maximum(1, _share(share, counts_U)), 0)
        for share in (config.latest_share, config.heldout_share)
    )
    parts[left < (size_U + before_U)[users]] = VALIDATION
    parts[left < size_U[users]] = TEST
    return _divided(favorites_UI, parts)


def cold(favorites_UI: csr_array, config: SplitConfig) -> Parts:
    """Images held out with all their favorites and ranked among themselves: a share to test, as many to validate."""
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
    """Users held out with all their favorites: a share of those who have any to test, as many to validate."""
    counts_U = np.diff(favorites_UI.indptr)
    order = np.random.default_rng(config.seed).permutation(np.flatnonzero(counts_U))
    size = int(config.heldout_share * len(order))
    part_U = np.full(len(counts_U), TRAINING, np.int8)
    part_U[order[:size]], part_U[order[size : 2 * size]] = TEST, VALIDATION
    return _divided(favorites_UI, np.repeat(part_U, counts_U))


def leave_one_out(favorites_UI: csr_array, config: SplitConfig) -> Parts:
    """One test and one validation favorite at random of each user that keeps three or more (seed 001, section 6.1)."""
    rng = np.random.default_rng(config.seed)
    counts_U = np.diff(favorites_UI.indptr)
    users = np.repeat(np.arange(len(counts_U)), counts_U)
    left = _left(np.lexsort((rng.random(len(users)), users)), favorites_UI.indptr)
    parts = np.full(favorites_UI.nnz, TRAINING, np.int8)
    is_tested = counts_U[users] >= LEAST_TIMED
    parts[is_tested & (left == 0)] = TEST
    parts[is_tested & (left == 1)] = VALIDATION
    return _divided(favorites_UI, parts)


def official(
    favorites_UI: csr_array, test_UI: csr_array, validation_UI: csr_array | None, config: SplitConfig
) -> Parts:
    """A given test; to validate, the given favorites, else a share of each user's at random (users with five or more).

    What stands in the test is no favorite to learn from. Validation rows that are no favorites are only validated on.
    """
    known_UI = keep(favorites_UI, ~_among(favorites_UI, test_UI))
    if validation_UI is not None:
        return Parts(keep(known_UI, ~_among(known_UI, validation_UI)), validation_UI, test_UI)
    counts_U = np.diff(known_UI.indptr)
    users = np.repeat(np.arange(len(counts_U)), counts_U)
    order = np.lexsort((np.random.default_rng(config.seed).random(len(users)), users))
    size_U = np.where(counts_U >= LEAST_TIMED, np.maximum(1, _share(config.heldout_share, counts_U)), 0)
    is_validated = _left(order, known_UI.indptr) < size_U[users]
    return Parts(keep(known_UI, ~is_validated), keep(known_UI, is_validated), test_UI)


def _share(share: float, counts: np.ndarray) -> np.ndarray:
    return np.asarray((share * counts).astype(np.int64))


def _left(order: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """How many favorites of the same user come after each, in an order that goes user by user."""
    after = np.empty(len(order), np.int64)
    after[order] = np.repeat(indptr[1:], np.diff(indptr)) - 1 - np.arange(len(order))
    return after


def _divided(favorites_UI: csr_array, parts: np.ndarray) -> Parts:
    return Parts(*(keep(favorites_UI, parts == part) for part in (TRAINING, VALIDATION, TEST)))


def _among(favorites_UI: csr_array, others_UI: csr_array) -> np.ndarray:
    """bool for each favorite: whether the other matrix has an entry there. It may have more columns."""
    keys, others = (
        np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)) * others_UI.shape[1] + matrix.indices
        for matrix in (favorites_UI, others_UI)
    )
    return np.isin(keys, others)
