"""The paper's evaluation protocol: conceal favorites, mix them with distractors, rank the mixture (CDL, section 6.1).

U users, I images, N test users; of each test user C concealed favorites, O distractors (the paper's "other images"),
M = C + O images of the mixture; d dimensions. Random numbers come from counters, not from a stream: a user's concealed
favorites and distractors depend on the seed and on that user's own row and favorites, not on the other users.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from models.evaluation.metrics import find_hits
from models.settings.protocols import ProtocolConfig
from models.sparse import keep, place_in_row, row_of_entry

STEPS = (40, 30, 20, 10, 5)  # min_favorites, if a community is too small for the paper's
CONCEAL, DISTRACTORS, WINDOWS, ORDER, TIES, USERS, IMAGES = range(7)  # each purpose has its own random numbers


@dataclass(frozen=True)
class Split:
    """Favorites divided into training favorites and concealed ones."""

    training: csr_array  # (U, I)
    concealed: csr_array  # (U, I); C entries for each test user, none for other users
    test_users: np.ndarray  # int32 (N,), ascending user rows
    thresholds: ProtocolConfig  # the numbers in effect: those of the settings, or lowered ones


def conceal(favorites_UI: csr_array, config: ProtocolConfig, favorited_at_UI: csr_array | None = None) -> Split:
    """Conceal favorites of the users with min_favorites to max_favorites, sampled uniformly from each user's own.

    With `favorited_at_UI`, seconds in the pattern of the favorites, each user's latest; of equal times a random one.

    With `lower_to_community`, and while fewer than `min_users` qualify, min_favorites is lowered through the STEPS.
    Each step conceals at most half of the least number of favorites, keeps the ratio of distractors to concealed
    images, so that random keeps its precision, and measures up to k = num_concealed at most, so that a perfect
    precision stays 1.
    """
    num_favorites_U = np.diff(favorites_UI.indptr)
    thresholds = config
    test_users = _qualified(num_favorites_U, config)
    if config.lower_to_community:
        for min_favorites in STEPS:
            if len(test_users) < config.min_users and min_favorites < config.min_favorites:
                thresholds = _lowered(config, min_favorites)
                test_users = _qualified(num_favorites_U, thresholds)

    users = row_of_entry(favorites_UI)
    earliness = np.zeros(len(users)) if favorited_at_UI is None else -favorited_at_UI.data
    order = np.lexsort((_bits(config.seed, CONCEAL, users, favorites_UI.indices), earliness, users))
    place = np.empty(len(users), np.int64)  # of each favorite among its user's; the first places are concealed
    place[order] = place_in_row(favorites_UI)
    is_concealed = np.isin(users, test_users) & (place < thresholds.num_concealed)
    return Split(
        training=keep(favorites_UI, ~is_concealed),
        concealed=keep(favorites_UI, is_concealed),
        test_users=test_users,
        thresholds=thresholds,
    )


def draw_distractors(favorites_UI: csr_array, split: Split, usable_I: np.ndarray, *, matched: bool) -> np.ndarray:
    """The images that are mixed with the concealed ones: distinct, usable, and no favorites of the user.

    Uniform is the paper's version. Popularity alone ranks such mixtures well, as favorites are popular and most images
    are not. Matched leaves only taste: all usable images are ordered by training popularity (equal ones at random), and
    each concealed image gets its num_others / num_concealed nearest neighbours in that order, of which a random number,
    0 to all, are less popular. So its rank among them by popularity is uniformly random, and popularity can only guess.
    Where the neighbourhoods of a user's concealed images overlap, they are moved apart, to both sides by as much; at
    the ends of the order they are moved inwards, which leaves popularity an advantage for the most popular images.

    Args:
        favorites_UI: all favorites, training and concealed.
        split: its training favorites define popularity.
        usable_I: bool; images that every compared system can score. Concealed ones that are not usable stay in the
            mixture; with the score -inf they rank last.
        matched: which version.
    Returns:
        int32 (N, num_others) image rows.
    Raises:
        ValueError: a test user has fewer than num_others usable images that are no favorites.
    """
    favorites_NI = keep(favorites_UI, usable_I[favorites_UI.indices])[split.test_users]
    num_left_N = np.count_nonzero(usable_I) - np.diff(favorites_NI.indptr)
    num_others = split.thresholds.num_others
    if (num_left_N < num_others).any():
        n = int(np.argmin(num_left_N))
        raise ValueError(
            f"user row {split.test_users[n]}: {num_left_N[n]} usable images are no favorites, but the protocol "
            f"mixes in {num_others}; set a lower num_concealed and num_others, or a lower max_favorites"
        )
    draw = _draw_matched if matched else _draw_uniform
    return draw(favorites_NI, split, usable_I).astype(np.int32)


def mix(split: Split, distractors_NO: np.ndarray) -> np.ndarray:
    """int32 (N, M): each test user's concealed images, then the distractors: the images to score."""
    concealed_NC = split.concealed[split.test_users].indices.reshape(-1, split.thresholds.num_concealed)
    return np.concatenate([concealed_NC, distractors_NO], axis=1, dtype=np.int32)


class MixtureMetrics(NamedTuple):
    """Both float64 (N, max_k), a row for each test user; column k - 1 is the metric at k."""

    precision: np.ndarray
    recall: np.ndarray


def mixture_metrics(scores_NM: np.ndarray, split: Split) -> MixtureMetrics:
    """Precision and recall of the concealed images among the first k of a mixture, k = 1 to max_k (CDL, section 6.2).

    Equal scores are in a random order, the same for each system: one whose scores are all equal has random's metrics.

    Args:
        scores_NM: of the images that `mix` returned, higher is better; -inf for those that cannot be scored.
        split: the split of that mixture.
    Raises:
        ValueError: a score is nan.
    """
    if np.isnan(scores_NM).any():
        n = int(np.argmax(np.isnan(scores_NM).any(axis=1)))
        raise ValueError(f"user row {split.test_users[n]}: a score is nan; give -inf where an image cannot be scored")
    thresholds = split.thresholds
    ties_NM = _bits(thresholds.seed, TIES, split.test_users[:, None], np.arange(scores_NM.shape[1]))
    order_NM = np.lexsort((ties_NM, -scores_NM), axis=1)
    num_hits = (order_NM[:, : thresholds.max_k] < thresholds.num_concealed).cumsum(axis=1)
    return MixtureMetrics(num_hits / np.arange(1, thresholds.max_k + 1), num_hits / thresholds.num_concealed)


def popularity_vectors(training_UI: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """The popularity baseline as float32 (U, 1) and (I, 1) whose inner product is an image's number of favorites.

    A random number below one half is added: otherwise equally popular images, such as all cold ones, would be ranked by
    id, and where ids ascend with age that would be a system of its own.
    """
    num_users, num_images = training_UI.shape
    counts_I = np.bincount(training_UI.indices, minlength=num_images)
    ties_I = _bits(0, TIES, np.arange(num_images)) / np.float64(2**66)
    return np.ones((num_users, 1), np.float32), (counts_I + ties_I)[:, None].astype(np.float32)


def random_vectors(
    num_users: int, num_images: int, seed: int, num_dimensions: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """The random baseline as float32 (U, d) and (I, d).

    Images are independent of each other, so for any user vector every order of them is equally likely; they are of
    equal length, so that none is first or last for all users.
    """
    users_Ud, images_Id = (
        _bits(seed, purpose, np.arange(count)[:, None], np.arange(num_dimensions)) / np.float64(2**63) - 1
        for purpose, count in ((USERS, num_users), (IMAGES, num_images))
    )
    images_Id /= np.linalg.norm(images_Id, axis=1, keepdims=True)
    return users_Ud.astype(np.float32), images_Id.astype(np.float32)


def _draw_uniform(favorites_NI: csr_array, split: Split, usable_I: np.ndarray) -> np.ndarray:
    """Sample with replacement, drop repeated images and favorites, and sample again for users with too few left."""
    usable = np.flatnonzero(usable_I)
    num_others, seed = split.thresholds.num_others, split.thresholds.seed
    distractors_NO = np.empty((len(split.test_users), num_others), np.int64)
    pending, num_draws = np.arange(len(split.test_users)), 2 * num_others
    while pending.size:
        bits = _bits(seed, DISTRACTORS, split.test_users[pending, None], np.arange(num_draws))
        sampled = usable[_below(len(usable), bits)]
        is_valid = ~find_hits(sampled, favorites_NI[pending]).is_hit & _is_first(sampled)
        valid_first = np.argsort(~is_valid, axis=1, kind="stable")[:, :num_others]
        done = is_valid.sum(axis=1) >= num_others
        distractors_NO[pending[done]] = np.take_along_axis(sampled, valid_first, axis=1)[done]
        pending, num_draws = pending[~done], 2 * num_draws
    return distractors_NO


def _draw_matched(favorites_NI: csr_array, split: Split, usable_I: np.ndarray) -> np.ndarray:
    """Neighbours in the order of popularity, by place among all usable images and by gap among those no favorites."""
    thresholds, num_users = split.thresholds, len(split.test_users)
    num_concealed, num_others = thresholds.num_concealed, thresholds.num_others
    each = num_others // num_concealed
    popularity_I = np.bincount(split.training.indices, minlength=len(usable_I))
    order = np.lexsort((_bits(thresholds.seed, ORDER, np.arange(len(usable_I))), popularity_I))
    place_I = np.empty(len(order), np.int64)
    place_I[order] = np.cumsum(usable_I[order]) - usable_I[order]  # the number of usable images before it
    in_order = order[usable_I[order]]

    # One sorted list has all users' favorites, each user's shifted by a stride, so that one search finds all users'.
    num_favorites_N = np.diff(favorites_NI.indptr)
    start_N1, stride_N1 = favorites_NI.indptr[:-1, None], np.arange(num_users)[:, None] * (len(in_order) + 1)
    places = np.sort(np.repeat(stride_N1[:, 0], num_favorites_N) + place_I[favorites_NI.indices])
    gaps = places - (np.arange(len(places)) - np.repeat(start_N1[:, 0], num_favorites_N))

    concealed_NC = split.concealed[split.test_users].indices.reshape(num_users, num_concealed)
    concealed_NC = np.take_along_axis(concealed_NC, np.argsort(place_I[concealed_NC], axis=1, kind="stable"), axis=1)
    place_NC = place_I[concealed_NC]
    gap_NC = place_NC - (np.searchsorted(places, stride_N1 + place_NC) - start_N1)
    num_below_NC = _below(each + 1, _bits(thresholds.seed, WINDOWS, split.test_users[:, None], concealed_NC))

    # Windows of `each` gaps must not overlap: their starts, less the room for the windows before, must not descend.
    taken_C = np.arange(num_concealed) * each
    wanted_NC = gap_NC - num_below_NC - taken_C
    pushed_up = np.maximum.accumulate(wanted_NC, axis=1)
    pushed_down = np.minimum.accumulate(wanted_NC[:, ::-1], axis=1)[:, ::-1]
    last_N1 = (len(in_order) - num_favorites_N - num_others)[:, None]
    first_NC = np.clip((pushed_up + pushed_down) // 2, 0, last_N1) + taken_C
    gap_NO = (first_NC[:, :, None] + np.arange(each)).reshape(num_users, num_others)
    place_NO = gap_NO + (np.searchsorted(gaps, stride_N1 + gap_NO, side="right") - start_N1)
    return np.asarray(in_order[place_NO])


def _qualified(num_favorites_U: np.ndarray, config: ProtocolConfig) -> np.ndarray:
    in_range_U = (num_favorites_U >= config.min_favorites) & (num_favorites_U <= config.max_favorites)
    return np.flatnonzero(in_range_U).astype(np.int32)


def _lowered(config: ProtocolConfig, min_favorites: int) -> ProtocolConfig:
    num_concealed = min(config.num_concealed, min_favorites // 2)
    return replace(
        config,
        min_favorites=min_favorites,
        num_concealed=num_concealed,
        num_others=num_concealed * (config.num_others // config.num_concealed),
        max_k=min(config.max_k, num_concealed),
    )


def _is_first(rows: np.ndarray) -> np.ndarray:
    """bool: whether a value is the first of its kind in its row."""
    order = np.argsort(rows, axis=1, kind="stable")
    in_order = np.take_along_axis(rows, order, axis=1)
    is_first = np.ones(rows.shape, bool)
    np.put_along_axis(is_first, order[:, 1:], in_order[:, 1:] != in_order[:, :-1], axis=1)
    return is_first


def _bits(seed: int, purpose: int, *counters: np.ndarray) -> np.ndarray:
    """uint64 random bits for each combination of counters: splitmix64's finalizer (Steele et al. 2014) after each."""
    bits = np.zeros(1, np.uint64)
    for counter in (np.array([seed]), np.array([purpose]), *counters):
        bits = (bits ^ counter.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
    return bits


def _below(limit: int, bits: np.ndarray) -> np.ndarray:
    """int64 in [0, limit), uniform up to limit / 2**32."""
    return (((bits >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32)).astype(np.int64)
