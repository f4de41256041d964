"""Which images may be a user's negatives, and how many each reason excludes (CDL, section 5).

U users, I images, T tags or clusters, G groups, K keys of an exclusion, H heavy ones, B a block of users or images,
S sets of keys, W words of 64 images, L levels: how many exclusions are dropped, N pairs

The paper: "We then assign the images to be negative, which have no tag of the user's interests and are not belonging to
the set of potentially liked images", the favorites of her contacts and of the members of her groups. Each of these
reasons, and the user's own favorites, says one thing: user and image share a key (a tag of interest; a followed user
who is a favoriter; a joined group with a favoriter in it; oneself as favoriter). So one statement serves them all.

Where too few images are left, exclusions are dropped in a stated order, which the paper does not do: with a vocabulary
of twenty genres every image carries a tag of interest, and nobody would have a negative.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
from scipy.sparse import csr_array, eye_array, hstack

from models.community import Signals
from models.settings.negatives import NegativeConfig

HEAVY = 1024  # a key that more than one image in so many has is kept as bits; fewer images are listed in less time
COUNTED_BYTES = 2**24  # of unions and listed images per step of `assign`
MERGED_ENTRIES = 2**20  # per step of `is_excluded`, which stays in the cache: 5 bytes each, three times


@dataclass(frozen=True)
class Exclusions:
    """Each exclusion as (keys of users UK, keys of images IK): it excludes the pairs that share a key.

    What excludes most comes first, so that a look-up that is answered by it need not go on.
    """

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
    return Exclusions(dict(sorted(keys.items(), key=lambda named: -_num_shared(*named[1]))), drop_order)


def assign(signals: Signals, config: NegativeConfig, block_bytes: int = 2**26) -> Assignment:
    """The exact sizes of every user's excluded sets and of what is left.

    `block_bytes` bounds each of the few arrays that a step of the count holds.
    """
    exclusions = exclusions_of(signals, config.drop_order)
    num_users, num_images = signals.favorites_UI.shape
    everybody = np.arange(num_users)
    names = [name for name in exclusions.keys if name != "favorites"]
    sizes = {name: _num_excluded(exclusions, [name], everybody, block_bytes) for name in names}
    num_favorites = np.bincount(exclusions.keys["favorites"][1].indices, minlength=num_users)

    num_levels = len(config.drop_order) + 1
    enough = min(config.min_negatives, max(1, int(np.ceil(config.min_share * num_images))))
    left_LU = np.zeros((num_levels, num_users), np.int64)
    lacking = everybody  # users whom no level so far leaves enough: only for them more is dropped
    for level in range(num_levels):
        if not len(lacking):
            break
        kept = [name for name in exclusions.keys if exclusions.last_level(name) >= level]
        left_LU[level, lacking] = num_images - _num_excluded(exclusions, kept, lacking, block_bytes)
        lacking = lacking[left_LU[level, lacking] < enough]
    # Nobody loses an exclusion for nothing: where no level leaves enough, the first that leaves the most is taken.
    dropped = np.argmax(left_LU >= np.minimum(enough, left_LU.max(axis=0)), axis=0)
    num_negatives = left_LU[dropped, everybody]
    reason = np.full(num_users, None, object)
    reason[num_negatives == 0] = "every image is excluded"
    reason[num_favorites == num_images] = "every image is a favorite"
    return Assignment(
        num_favorites=num_favorites,
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


def _num_shared(user_keys: csr_array, image_keys: csr_array) -> int:
    """How many pairs share a key, counted once for each that they share."""
    num_users_K, num_images_K = (np.bincount(keys.indices, minlength=keys.shape[1]) for keys in (user_keys, image_keys))
    return int(num_users_K @ num_images_K)


def _cut(costs: np.ndarray, budget: int) -> Iterator[slice]:
    """Consecutive slices whose costs add up to at most about `budget`; one larger item may exceed it."""
    part = np.cumsum(costs, dtype=np.int64) // budget
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    for start, stop in pairwise([*starts.tolist(), len(costs)]):
        yield slice(start, stop)


def _num_excluded(exclusions: Exclusions, names: list[str], users: np.ndarray, block_bytes: int) -> np.ndarray:
    """int64 (B,): with how many images each of `users` shares a key of any of the exclusions `names`.

    Keys of more than one image in HEAVY are bits of all images, and a user's are united word by word; users are taken
    in the order of these keys, so that those with the same first keys share their union. The images of the other keys
    are listed, and those counted whose bit is not set. Were all keys bits, rare tags would cost as much as common ones;
    were all lists, twenty genres would list every image for everybody.
    """
    num_images = exclusions.keys["favorites"][1].shape[0]
    heavy: list[tuple[csr_array, csr_array]] = []
    light: list[tuple[csr_array, csr_array]] = []  # apart, as stacked they would be copied several times
    for name in names:
        user_keys, image_keys = exclusions.keys[name]
        is_heavy = np.bincount(image_keys.indices, minlength=image_keys.shape[1]) * HEAVY > num_images
        heavy.append((user_keys[users][:, is_heavy], image_keys[:, is_heavy]))
        light.append((user_keys[users][:, ~is_heavy], image_keys[:, ~is_heavy]))
    heavy_BH, heavy_IH = (csr_array(hstack(keys, format="csr")) for keys in zip(*heavy, strict=True))
    common = np.argsort(-np.bincount(heavy_BH.indices, minlength=heavy_BH.shape[1]), kind="stable")
    order, sets, set_of_user = _in_order(pattern(heavy_BH[:, common]))
    heavy_IH = heavy_IH[:, common]

    excluded_B = np.zeros(len(users), np.int64)
    num_words = int(np.clip(block_bytes // (8 * max(len(common), 1)), 1, max(1, -(-num_images // 64))))
    for start in range(0, num_images, 64 * num_words):
        block = slice(start, start + 64 * num_words)
        bits_HW = _pack(heavy_IH[block], num_words)
        listing = [(light_BK, csr_array(light_IK[block].T)) for light_BK, light_IK in light]
        num_listed = sum(light_BK @ np.diff(light_KI.indptr) for light_BK, light_KI in listing)
        words = np.diff(set_of_user, prepend=-1) * num_words + 2 * num_listed[order]
        for part in _cut(words, max(1, min(block_bytes, COUNTED_BYTES) // 8)):
            rows, first = order[part], set_of_user[part][0]
            unions_SW = _unions(sets[first : set_of_user[part][-1] + 1], bits_HW)
            listed_BI = reduce(add, (light_BK[rows] @ light_KI for light_BK, light_KI in listing))
            row, image = np.repeat(np.arange(len(rows)), np.diff(listed_BI.indptr)), listed_BI.indices
            union = set_of_user[part] - first
            is_set = unions_SW[union[row], image >> 6] >> (image & 63).astype(np.uint64) & np.uint64(1)
            excluded_B[rows] += _count(unions_SW)[union] + np.bincount(row[is_set == 0], minlength=len(rows))
    return excluded_B


def _in_order(keys_UH: csr_array) -> tuple[np.ndarray, list[list[int]], np.ndarray]:
    """Users in the order of their lists of keys: their rows, each different list, and which one each of them has."""
    stop = (4 * keys_UH.indptr).tolist()
    data = keys_UH.indices.astype(">u4").tobytes()  # bytes compare as the numbers do
    lists = [data[first:last] for first, last in pairwise(stop)]
    order = sorted(range(len(lists)), key=lists.__getitem__)
    different: list[bytes] = []
    set_of_user = np.empty(len(lists), np.int64)
    for place, user in enumerate(order):
        if not different or lists[user] != different[-1]:
            different.append(lists[user])
        set_of_user[place] = len(different) - 1
    return np.array(order, np.int64), [np.frombuffer(each, ">u4").tolist() for each in different], set_of_user


def _pack(keys_BK: csr_array, num_words: int) -> np.ndarray:
    """uint64 (K, W): per key, the images of the block that have it, one bit each."""
    image = np.repeat(np.arange(keys_BK.shape[0]), np.diff(keys_BK.indptr))
    bits = np.zeros(keys_BK.shape[1] * num_words, np.uint64)
    word = keys_BK.indices.astype(np.int64) * num_words + image // 64
    np.bitwise_or.at(bits, word, np.uint64(1) << (image % 64).astype(np.uint64))
    return bits.reshape(keys_BK.shape[1], num_words)


def _unions(sets: list[list[int]], bits_KW: np.ndarray) -> np.ndarray:
    """uint64 (S, W): per set of keys, the images that have any. Sets are in order: one starts as the one before did."""
    unions_SW = np.zeros((len(sets), bits_KW.shape[1]), np.uint64)
    saved = [(0, np.zeros(bits_KW.shape[1], np.uint64))]  # unions of the first keys of a set, and how many these are
    shared = 0  # the number of first keys that the set before has too
    for union_W, keys, next_keys in zip(unions_SW, sets, [*sets[1:], []], strict=True):
        while saved[-1][0] > shared:
            saved.pop()
        num_done, done_W = saved[-1]
        shared = next(
            (n for n, (one, other) in enumerate(zip(keys, next_keys, strict=False)) if one != other), len(keys)
        )
        union_W[:] = done_W
        for number, key in enumerate(keys[num_done:], start=num_done + 1):
            np.bitwise_or(union_W, bits_KW[key], out=union_W)
            if number == shared:
                saved.append((number, union_W.copy()))
    return unions_SW


def _count(images_BW: np.ndarray) -> np.ndarray:
    return np.asarray(np.bitwise_count(images_BW).sum(axis=1, dtype=np.int64))
