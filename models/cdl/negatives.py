"""Which images may be a user's negatives, and how many each reason excludes (CDL, section 5).

U users, I images, T tags or clusters, G groups, K keys of an exclusion, B a block of users or images, W words of 64
images, L levels: how many exclusions are dropped, N pairs

The paper: "We then assign the images to be negative, which have no tag of the user's interests and are not belonging to
the set of potentially liked images", the favorites of her contacts and of the members of her groups. Each of these
reasons, and the user's own favorites, says one thing: user and image share a key (a tag of interest; a followed user
who is a favoriter; a joined group with a favoriter in it; oneself as favoriter). So one statement serves them all.

Where too few images are left, exclusions are dropped in a stated order, which the paper does not do: with a vocabulary
of twenty genres every image carries a tag of interest, and nobody would have a negative.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array, eye_array

from models.community import Signals
from models.settings.negatives import NegativeConfig

GATHERED_BYTES = 2**21  # per step of `assign`: 1 to 2 ns a word while it fits the cache, 10 to 25 at 64 MiB
MERGED_ENTRIES = 2**22  # per step of `is_excluded`: 5 bytes each, three times


@dataclass(frozen=True)
class Exclusions:
    """Each exclusion as (keys of users UK, keys of images IK): it excludes the pairs that share a key."""

    keys: dict[str, tuple[csr_array, csr_array]]
    drop_order: tuple[str, ...]

    def last_level(self, name: str) -> int:
        """The largest number of dropped exclusions at which this one is still kept."""
        return self.drop_order.index(name) if name in self.drop_order else len(self.drop_order)


@dataclass(frozen=True)
class Assignment:
    """Per user, how many images each exclusion covers and how many negatives are left; the sets overlap."""

    num_favorites: np.ndarray  # int64 (U,): the user's own favorites
    num_tagged: np.ndarray  # int64 (U,): images with a tag of the user's interests
    num_contacts: np.ndarray  # int64 (U,): images that someone the user follows favorited
    num_groups: np.ndarray  # int64 (U,): images that a member of the user's groups, the user included, favorited
    num_negatives: np.ndarray  # int64 (U,): images outside every exclusion that was kept
    dropped: np.ndarray  # int8 (U,): how many of drop_order are dropped
    reason: np.ndarray  # object (U,): why there is no negative; None where there is one
    drop_order: tuple[str, ...] = field(default=NegativeConfig.drop_order)

    def dropped_names(self) -> np.ndarray:
        """object (U,): "none", or the exclusions that are dropped, such as "tags+groups"."""
        names = ["none", *("+".join(self.drop_order[:level]) for level in range(1, len(self.drop_order) + 1))]
        return np.asarray(np.array(names, object)[self.dropped])


def signals_of(signals: Signals, config: NegativeConfig) -> Signals:
    """The signals that negatives are assigned and drawn from: all of them, or the favorites alone."""
    if config.social:
        return signals
    num_users, num_images = signals.favorites_UI.shape
    no_tags_U0, no_tags_I0, no_contacts_UU = (
        csr_array(shape) for shape in ((num_users, 0), (num_images, 0), (num_users, num_users))
    )
    return Signals(signals.favorites_UI, no_tags_U0, no_tags_I0, no_contacts_UU, memberships_UG=no_tags_U0)


def exclusions_of(signals: Signals, drop_order: tuple[str, ...]) -> Exclusions:
    """The signals as exclusions, computed once for all look-ups.

    Memory is linear in the entries of the signals, but for the groups of each image: at most the sum over users of
    their favorites times their groups. A walk from image to favoriters to groups would save that, and cost some
    hundred times the look-up on images that many favored.
    """
    favoriters_IU = pattern(signals.favorites_UI.T)
    memberships_UG = pattern(signals.memberships_UG)
    keys = {
        "favorites": (csr_array(eye_array(favoriters_IU.shape[1], dtype=bool, format="csr")), favoriters_IU),
        "tags": (pattern(signals.interests_UT), pattern(signals.image_tags_IT)),
        "contacts": (pattern(signals.contacts_UU), favoriters_IU),
        "groups": (memberships_UG, pattern(favoriters_IU @ memberships_UG)),
    }
    return Exclusions(keys, drop_order)


def assign(signals: Signals, config: NegativeConfig, block_bytes: int = 2**28) -> Assignment:
    """The exact sizes of every user's excluded sets and of what is left.

    Images are taken in blocks whose keys, as bits, fill about `block_bytes` (never less than 64 images); a user's set
    is the union of the bits of her keys. Time grows with the keys of all users times I / 64, however many images a
    key reaches: a sparse product would pay for each image of each key, which twenty genres make the whole matrix.
    """
    exclusions = exclusions_of(signals, config.drop_order)
    num_users, num_images = signals.favorites_UI.shape
    num_levels = len(config.drop_order) + 1
    sizes = {name: np.zeros(num_users, np.int64) for name in exclusions.keys}
    excluded_LU = np.zeros((num_levels, num_users), np.int64)

    num_keys = sum(image_keys.shape[1] for _, image_keys in exclusions.keys.values())
    num_words = int(np.clip(block_bytes // (8 * max(num_keys, 1)), 1, max(1, -(-num_images // 64))))
    keys_of_user = sum(np.diff(user_keys.indptr).astype(np.int64) for user_keys, _ in exclusions.keys.values())
    chunks = list(_cut(keys_of_user, max(1, min(block_bytes, GATHERED_BYTES) // (8 * num_words))))
    for start in range(0, num_images, 64 * num_words):
        bits = {
            name: _pack(image_keys[start : start + 64 * num_words], num_words)
            for name, (_, image_keys) in exclusions.keys.items()
        }
        for users in chunks:
            sets = {name: _union(exclusions.keys[name][0][users], bits[name]) for name in bits}
            for name, images_BW in sets.items():
                sizes[name][users] += _count(images_BW)
            excluded_BW = np.zeros_like(sets["favorites"])
            for level in reversed(range(num_levels)):
                for name, images_BW in sets.items():
                    if exclusions.last_level(name) == level:
                        excluded_BW |= images_BW
                excluded_LU[level, users] += _count(excluded_BW)

    left_LU = num_images - excluded_LU
    enough = min(config.min_negatives, max(1, int(np.ceil(config.min_share * num_images))))
    # Nobody loses an exclusion for nothing: where no level leaves enough, the first that leaves the most is taken.
    dropped = np.argmax(left_LU >= np.minimum(enough, left_LU[-1]), axis=0)
    num_negatives = left_LU[dropped, np.arange(num_users)]
    reason = np.full(num_users, None, object)
    reason[num_negatives == 0] = "every image is excluded"
    reason[sizes["favorites"] == num_images] = "every image is a favorite"
    return Assignment(
        num_favorites=sizes["favorites"],
        num_tagged=sizes["tags"],
        num_contacts=sizes["contacts"],
        num_groups=sizes["groups"],
        num_negatives=num_negatives,
        dropped=dropped.astype(np.int8),
        reason=reason,
        drop_order=config.drop_order,
    )


def is_excluded(exclusions: Exclusions, users: np.ndarray, images: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """bool (N,): whether the image of each pair is no negative of its user. Exact.

    Args:
        users: int (N,) row numbers.
        images: int (N,) row numbers.
        dropped: int (N,), how many of drop_order are dropped for the pair's user; 0 is the paper's sentence.

    Time is linear in N and in the keys of the pairs; memory is bounded.
    """
    excluded = np.zeros(len(users), bool)
    for name, (user_keys, image_keys) in exclusions.keys.items():
        pairs = np.flatnonzero(~excluded & (dropped <= exclusions.last_level(name)))
        num_keys = np.diff(user_keys.indptr)[users[pairs]] + np.diff(image_keys.indptr)[images[pairs]]
        for chunk in _cut(num_keys, MERGED_ENTRIES):
            block = pairs[chunk]
            shared = user_keys[users[block]].multiply(image_keys[images[block]])
            excluded[block] = np.diff(shared.indptr) > 0
    return excluded


def admissible(exclusions: Exclusions, users: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """bool (B, I): the negatives of a block of users, `dropped` (B,) as in `is_excluded`. For a few users at a time."""
    num_images = exclusions.keys["favorites"][1].shape[0]
    free_BI = np.ones((len(users), num_images), bool)
    for name, (user_keys, image_keys) in exclusions.keys.items():
        kept = np.flatnonzero(dropped <= exclusions.last_level(name))
        free_BI[kept] &= ~(user_keys[users[kept]] @ image_keys.T).toarray()
    return free_BI


def pattern(matrix: csr_array) -> csr_array:
    """Where the matrix is not zero: bool CSR, each entry once, columns sorted within a row. A copy."""
    nonzero = csr_array(matrix.astype(bool))
    nonzero.eliminate_zeros()
    nonzero.sum_duplicates()
    return nonzero


def _cut(costs: np.ndarray, budget: int) -> Iterator[slice]:
    """Consecutive slices whose costs add up to at most about `budget`; one larger item may exceed it."""
    part = np.cumsum(costs, dtype=np.int64) // budget
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    for start, stop in pairwise([*starts.tolist(), len(costs)]):
        yield slice(start, stop)


def _pack(keys_BK: csr_array, num_words: int) -> np.ndarray:
    """uint64 (K, W): per key, the images of the block that have it, one bit each."""
    image = np.repeat(np.arange(keys_BK.shape[0]), np.diff(keys_BK.indptr))
    bits = np.zeros(keys_BK.shape[1] * num_words, np.uint64)
    word = keys_BK.indices.astype(np.int64) * num_words + image // 64
    np.bitwise_or.at(bits, word, np.uint64(1) << (image % 64).astype(np.uint64))
    return bits.reshape(keys_BK.shape[1], num_words)


def _union(keys_BK: csr_array, bits_KW: np.ndarray) -> np.ndarray:
    """uint64 (B, W): per user, the images that have any of her keys."""
    union_BW = np.zeros((keys_BK.shape[0], bits_KW.shape[1]), np.uint64)
    filled = np.diff(keys_BK.indptr) > 0
    if filled.any():
        union_BW[filled] = np.bitwise_or.reduceat(bits_KW[keys_BK.indices], keys_BK.indptr[:-1][filled], axis=0)
    return union_BW


def _count(images_BW: np.ndarray) -> np.ndarray:
    return np.asarray(np.bitwise_count(images_BW).sum(axis=1, dtype=np.int64))
