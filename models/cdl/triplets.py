"""Training triplets (user, positive, negative): a favorite and an assigned negative (CDL, sections 5 and 6.1.1).

U users, I images, P pools, N triplets

Two orders. Plain (`pool_images=0`, the paper's): a negative is drawn uniformly from all images that may be the user's
negatives. Pools: favored images are shuffled into pools, a triplet belongs to the pool of its positive, and its
negative comes from the same pool, so a batch of one pool embeds each of its images once and uses it in many triplets.
What that changes: a pool is visited as often as its images are positives, but within it every image is as likely, so
negatives are drawn about in proportion to being anyone's positive at all, not to how many favored them; images that
nobody favored come in as the pool's fresh images only.

Every random number is a hash of (seed, purpose, user row, draw, round), never the next one of a stream: a user's
triplets do not depend on which other users are sampled, in which order, or by how many workers.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from models.cdl import negatives
from models.cdl.negatives import Assignment, Exclusions
from models.community import Signals
from models.settings.triplets import TrainingUsersConfig, TripletConfig

ROUNDS = 64  # candidates per draw before its images are enumerated: finds 96 % where one image in twenty is admissible
SAMPLED_USERS = 2**15  # at once, as what lies between is several times the triplets; these do not depend on it
ENUMERATED_CELLS = 2**24  # users times images per block of that enumeration
POSITIVES, POOLS, FRESH, FROM_POOL, FROM_ALL, FROM_LIST = range(6)  # purposes, so that no two draws share their hash


def are_trained_on(num_clusters_U: np.ndarray, config: TrainingUsersConfig) -> np.ndarray:
    """bool (U,): whether a user with so many clusters in their profile is trained on."""
    chosen_U: np.ndarray = (num_clusters_U >= config.min_clusters) & (num_clusters_U <= config.max_clusters)
    return chosen_U


@dataclass(frozen=True)
class Triplets:
    """N triplets in the order of the users that they are sampled for, then of draws. All int32 (N,)."""

    user: np.ndarray  # row number
    positive: np.ndarray  # row number of an image
    negative: np.ndarray  # row number of an image
    pool: np.ndarray  # the pool of the positive; 0 everywhere in plain order
    draw: np.ndarray  # 0 to per_user - 1, the number among the user's

    @property
    def rows_N3(self) -> np.ndarray:  # noqa: N802  # a shape suffix
        """int32 (N, 3): user, positive, negative."""
        return np.column_stack([self.user, self.positive, self.negative])


@dataclass(frozen=True)
class _Pools:
    """The pools' images, one after the other: those of pool p are images[start[p] : start[p + 1]], ascending."""

    images: np.ndarray  # int64
    start: np.ndarray  # int64 (P + 1,)
    of_image: np.ndarray  # int64 (I,): the pool in which a favored image is a positive; -1 for the others


def sample(
    signals: Signals, assignment: Assignment, users: np.ndarray | None, config: TripletConfig, usable_I: np.ndarray
) -> Triplets:
    """`per_user` triplets for each user who has a usable favorite and a usable negative, none for the others.

    Args:
        signals: those that `assignment` was assigned from.
        users: int row numbers of the users to sample for; None for all.
        usable_I: bool; whether an image has an input and so may stand in a triplet.

    A user's favorites are shuffled and used in turn, so each is used before any is used twice. Negatives are exact:
    none is excluded, and in plain order each admissible image is equally likely. A pool in which ROUNDS candidates
    were excluded is given up for that draw, whose negative then comes from all images.
    """
    exclusions = negatives.exclusions_of(signals, assignment.drop_order)
    rows = np.arange(len(assignment.dropped)) if users is None else np.asarray(users, np.int64)
    favorites_UI = negatives.pattern(signals.favorites_UI)
    rows = rows[assignment.num_negatives[rows] > 0]
    pools = _pools(favorites_UI, usable_I, config) if config.pool_images else None
    blocks = [rows[first : first + SAMPLED_USERS] for first in range(0, max(1, len(rows)), SAMPLED_USERS)]
    sampled = [
        _sample(block, favorites_UI, exclusions, assignment.dropped, pools, usable_I, config) for block in blocks
    ]
    return Triplets(*(np.concatenate(columns) for columns in zip(*sampled, strict=True)))


def _sample(
    users: np.ndarray,
    favorites_UI: csr_array,
    exclusions: Exclusions,
    dropped_U: np.ndarray,
    pools: _Pools | None,
    usable_I: np.ndarray,
    config: TripletConfig,
) -> tuple[np.ndarray, ...]:
    """The columns of the triplets of some users."""
    user, draw, positive = _positives(favorites_UI, users, usable_I, config)
    draws = _Draws(exclusions, user, draw, dropped_U[user], config.seed, np.full(len(user), -1, np.int64))
    pool = np.zeros(len(user), np.int64)
    if pools:
        pool = pools.of_image[positive]
        draws.draw_and_reject(FROM_POOL, pools.images, pools.start[pool], np.diff(pools.start)[pool])
    usable = np.flatnonzero(usable_I)
    draws.draw_and_reject(FROM_ALL, usable, np.zeros_like(user), np.full_like(user, len(usable)))
    draws.draw_from_list(usable_I)

    found = draws.negative >= 0
    columns = (user, positive, draws.negative, pool, draw)
    return tuple(column[found].astype(np.int32) for column in columns)


@dataclass(frozen=True)
class _Draws:
    """The draws of a sample, whose `negative` is filled in step by step; -1 until found. All arrays (N,)."""

    exclusions: Exclusions
    user: np.ndarray
    draw: np.ndarray
    dropped: np.ndarray
    seed: int
    negative: np.ndarray

    def draw_and_reject(self, purpose: int, images: np.ndarray, start: np.ndarray, size: np.ndarray) -> None:
        """Try up to ROUNDS candidates for each open draw, uniform over images[start : start + size]."""
        for round_ in range(ROUNDS):
            open_ = np.flatnonzero(self.negative < 0)
            if not len(open_):
                return
            candidate = images[start[open_] + self._below(size[open_], purpose, open_, round_)]
            excluded = negatives.is_excluded(self.exclusions, self.user[open_], candidate, self.dropped[open_])
            self.negative[open_[~excluded]] = candidate[~excluded]

    def draw_from_list(self, usable_I: np.ndarray) -> None:
        """Give each draw that is still open one of its user's negatives, all equally likely, if there is any."""
        open_ = np.flatnonzero(self.negative < 0)
        users, first, user_of_open = np.unique(self.user[open_], return_index=True, return_inverse=True)
        num_block = max(1, ENUMERATED_CELLS // max(1, len(usable_I)))
        for block in range(0, len(users), num_block):
            rows = slice(block, block + num_block)
            free_BI = negatives.admissible(self.exclusions, users[rows], self.dropped[open_[first[rows]]]) & usable_I
            size = free_BI.sum(axis=1)
            start, images = np.cumsum(size) - size, np.nonzero(free_BI)[1]
            row = user_of_open - block
            in_block = np.flatnonzero((row >= 0) & (row < len(size)))
            in_block = in_block[size[row[in_block]] > 0]
            pick = self._below(size[row[in_block]], FROM_LIST, open_[in_block], 0)
            self.negative[open_[in_block]] = images[start[row[in_block]] + pick]

    def _below(self, size: np.ndarray, purpose: int, which: np.ndarray, round_: int) -> np.ndarray:
        return _below(size, _hash(self.seed, purpose, self.user[which], self.draw[which], round_))


def _positives(
    favorites_UI: csr_array, users: np.ndarray, usable_I: np.ndarray, config: TripletConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64 (N,) each: user, draw and positive, for those of `users` who have a usable favorite."""
    rows = favorites_UI[users]
    row, image = np.repeat(np.arange(len(users)), np.diff(rows.indptr)), rows.indices.astype(np.int64)
    row, image = row[usable_I[image]], image[usable_I[image]]
    shuffled = image[np.lexsort((_hash(config.seed, POSITIVES, users[row], image), row))]
    size = np.bincount(row, minlength=len(users))
    start = np.cumsum(size) - size
    row = np.repeat(np.flatnonzero(size), config.per_user)
    draw = np.tile(np.arange(config.per_user), np.count_nonzero(size))
    return users[row], draw, shuffled[start[row] + draw % size[row]]


def _pools(favorites_UI: csr_array, usable_I: np.ndarray, config: TripletConfig) -> _Pools:
    """The pools. They depend on the seed, the favorites and the usable images, not on which users are sampled."""
    num_images = len(usable_I)
    usable = np.flatnonzero(usable_I)
    favored = np.unique(favorites_UI.indices).astype(np.int64)
    favored = favored[usable_I[favored]]
    favored = favored[np.argsort(_hash(config.seed, POOLS, favored), kind="stable")]
    num_favored = max(1, round(config.pool_images * (1 - config.fresh_negatives)))
    num_pools = -(-len(favored) // num_favored)
    pool = np.arange(len(favored)) * num_pools // max(len(favored), 1)
    of_image = np.full(num_images, -1, np.int64)
    of_image[favored] = pool

    fresh_pool = np.repeat(np.arange(num_pools), config.pool_images - num_favored)
    fresh = usable[_below(len(usable), _hash(config.seed, FRESH, np.arange(len(fresh_pool))))]
    # A fresh image that the pool already holds counts once, so that its images stay equally likely.
    pool_and_image = np.unique(np.concatenate([pool, fresh_pool]) * num_images + np.concatenate([favored, fresh]))
    start = np.searchsorted(pool_and_image, np.arange(num_pools + 1) * num_images)
    return _Pools(pool_and_image % num_images, start, of_image)


def _hash(*parts: int | np.ndarray) -> np.ndarray:
    """uint64: pseudo-random bits that the parts alone decide; SplitMix64's finaliser, chained over them."""
    state = np.zeros(1, np.uint64)
    for part in parts:
        state = state + np.asarray(part).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def _below(size: int | np.ndarray, bits: np.ndarray) -> np.ndarray:
    """int64: uniform from 0 to size - 1 (sizes below 2**32; off by at most size / 2**32)."""
    return ((bits >> np.uint64(32)) * np.asarray(size).astype(np.uint64) >> np.uint64(32)).astype(np.int64)
