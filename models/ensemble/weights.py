"""Learn ensemble weights on held-out favorites.

U users, I images, N users on whom weights are learned, E experts, P places of a user's ranking; n users of a block.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array

from models.community import EMPTY, Community
from models.ensemble.experts.base import Expert
from models.ensemble.side_by_side import side_by_side
from models.settings.weights import WeightsConfig
from models.sparse import keep, place_in_row, row_of_entry
from models.tag_assignments import TagCounts, last_known, withhold

MIN_GAIN = 0.001  # relative; less is noise, and every expert costs time
BLOCK_FLOATS = 1 << 24  # scores in memory at a time, of one thread, while pools are built and judged: 64 MiB
MIN_COLD_ITEMS = 20  # images that lose all favorites even in a small community, but never more than a fifth of all
MIN_FAVORITES = 2  # a user with fewer keeps all in a hold-out
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5)  # tried for each expert; the first one starts with 1
COLD_ITEM_SCALES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)  # tried


class EnsembleWeights(NamedTuple):
    """The weight of each expert on images with favorites and on images without, and how the two kinds compare."""

    warm_E: np.ndarray
    cold_E: np.ndarray
    cold_item_scale: float  # what scores of images without favorites are multiplied with


def hold_out_favorites(
    community: Community, config: WeightsConfig, seed: int
) -> tuple[Community, csr_array, np.ndarray]:
    """The community without some favorites; those favorites, (U, I); and bool (I,), the images that lost all favorites.

    Recommendations are for the time after the training favorites, so each user's latest are held out, where the source
    has times.
    """
    rng = np.random.default_rng(seed)
    favorites_UI = community.favorites_UI
    counts_U = np.diff(favorites_UI.indptr)
    user = row_of_entry(favorites_UI)
    times_UI = community.favorited_at_UI
    lateness = times_UI.data if times_UI is not None and config.weighed_on == "lists" else rng.random(len(user))
    order = np.lexsort((favorites_UI.indices, lateness, user))
    place = np.empty(len(user), np.int64)
    place[order] = place_in_row(favorites_UI)
    # Rounded up or down at random: one of each user with three would leave a community much sparser than the real one,
    # on which other experts are the best.
    sizes_U = (config.heldout_share * counts_U + rng.random(len(counts_U))).astype(np.int64)
    sizes_U[counts_U < MIN_FAVORITES] = 0
    is_late = place >= (counts_U - sizes_U)[user]
    is_cold_I = _draw_cold_items(community, config, rng)
    is_heldout = is_late | is_cold_I[favorites_UI.indices]
    by_time = times_UI is not None and config.weighed_on == "lists"
    return _without(community, is_heldout, by_time=by_time), keep(favorites_UI, is_heldout), is_cold_I


def hold_out_users(community: Community, config: WeightsConfig, seed: int) -> tuple[Community, csr_array, np.ndarray]:
    """As `hold_out_favorites`, but a share of the users lose all their favorites, to learn weights for cold users."""
    rng = np.random.default_rng(seed)
    favorites_UI = community.favorites_UI
    counts_U = np.diff(favorites_UI.indptr)
    users = rng.permutation(np.flatnonzero(counts_U))
    is_cold_U = np.zeros(community.num_users, bool)
    is_cold_U[users[: max(1, int(config.newcomer_share * len(users)))]] = True
    is_cold_I = _draw_cold_items(community, config, rng)
    is_of_cold_user = np.repeat(is_cold_U, counts_U)
    training = _without(community, is_of_cold_user | is_cold_I[favorites_UI.indices])
    return training, keep(favorites_UI, is_of_cold_user), is_cold_I


def _draw_cold_items(community: Community, config: WeightsConfig, rng: np.random.Generator) -> np.ndarray:
    """bool (I,): images with favorites that are to lose all of them; none where images have no content."""
    is_cold_I = np.zeros(community.num_images, bool)
    if has_content(community):
        warm = np.flatnonzero(community.popularity_I)
        num_cold = max(int(config.new_share * len(warm)), min(MIN_COLD_ITEMS, len(warm) // 5))
        is_cold_I[rng.permutation(warm)[:num_cold]] = True
    return is_cold_I


def _without(community: Community, is_heldout: np.ndarray, *, by_time: bool = False) -> Community:
    """The community without the favorites marked, in their order, nor the tags that their users put on them.

    Nor what was derived from favorites and tags before: profiles, bags of tags, interests and labels.
    """
    times_UI = community.favorited_at_UI
    tags: dict[str, Any] = {}
    if community.tag_assignments is not None:
        counts = TagCounts(community.user_tags_UT, community.image_tags_IT, community.tag_assignments)
        last_U = None
        if by_time and times_UI is not None:
            user = row_of_entry(times_UI)
            is_tested_U = np.bincount(user[is_heldout], minlength=community.num_users) > 0
            last_U = last_known(user[~is_heldout], times_UI.data[~is_heldout], is_tested_U, without_any=np.inf)
        left = withhold(counts, keep(community.favorites_UI, is_heldout), last_U)
        names = ("user_tags_UT", "image_tags_IT", "tag_assignments")
        tags = dict(zip(names, left, strict=True))
    return replace(
        community,
        favorites_UI=keep(community.favorites_UI, ~is_heldout),
        favorited_at_UI=None if times_UI is None else keep(times_UI, ~is_heldout),
        profiles_UC=EMPTY,
        image_bags_IC=EMPTY,
        interests_UT=EMPTY,
        image_labels_IT=EMPTY,
        **tags,
    )


def has_content(community: Community) -> bool:
    """Whether images have any content: tags, titles, features or owners."""
    return any(community.has(signal) for signal in ("tags", "titles", "features", "owners"))


def num_holdouts(community: Community, config: WeightsConfig) -> int:
    """How often to hold out favorites: until `weighing_favorites` are reached, at most `weighings` times.

    Once where the latest favorites are held out, as these are always the same.
    """
    if config.weighed_on == "lists" and community.favorited_at_UI is not None:
        return 1
    num_heldout = max(1, round(config.heldout_share * int(community.favorites_UI.nnz)))
    return max(1, min(config.weighings, config.weighing_favorites // num_heldout))


class Pool(NamedTuple):
    """The images that are ranked for each user, at P places; a place may be unfilled."""

    scores_ENP: np.ndarray  # float32; 0 where not filled
    floor_NP: np.ndarray  # float32; 0 where filled, else -inf
    is_heldout_NP: np.ndarray  # bool; whether the image is a held-out favorite
    num_heldout_N: np.ndarray  # int64; held-out favorites among the images that the pool was chosen from

    @classmethod
    def empty(cls, num_experts: int) -> "Pool":
        """The pool of no users."""
        floor_NP = np.zeros((0, 0), np.float32)
        return cls(np.zeros((num_experts, 0, 0), np.float32), floor_NP, floor_NP > 0, np.zeros(0, np.int64))

    def where_found(self) -> "Pool":
        """Only the users with a held-out image in the pool: whatever the weights, the others' NDCG is 0."""
        found = np.flatnonzero(self.is_heldout_NP.any(axis=1))
        if len(found) == len(self.is_heldout_NP):
            return self
        return Pool(
            self.scores_ENP[:, found], self.floor_NP[found], self.is_heldout_NP[found], self.num_heldout_N[found]
        )


class Pools(NamedTuple):
    """What is ranked for one hold-out, by kind of image."""

    warm: Pool  # images with training favorites
    cold_items: Pool  # images that lost all their favorites to learn the weights of cold images
    other_cold: Pool  # images without training favorites for any other reason

    def for_experts(self, rows_E: list[int]) -> "Pools":
        """With the scores of only these experts, in this order."""
        return Pools(*(pool._replace(scores_ENP=pool.scores_ENP[rows_E]) for pool in self))


def build_pools(
    experts: list[Expert],
    training: Community,
    heldout_UI: csr_array,
    is_cold_I: np.ndarray,
    config: WeightsConfig,
    seed: int,
) -> Pools:
    """The pools of at most `weighing_users` users with held-out favorites, scored by experts fitted on `training`."""
    users = np.flatnonzero(np.diff(heldout_UI.indptr))
    users = np.sort(np.random.default_rng(seed).permutation(users)[: config.weighing_users])
    warm_I = training.popularity_I > 0

    def pool_of(allowed_I: np.ndarray) -> Pool:
        return _pool(experts, users, training, heldout_UI, allowed_I, config, seed)

    return Pools(pool_of(warm_I), pool_of(is_cold_I), pool_of(~warm_I & ~is_cold_I))


def learn_weights(holdouts: list[Pools], images_have_content: bool, config: WeightsConfig) -> EnsembleWeights:
    """The weights with the best NDCG on held-out favorites: on warm images, on cold ones, then the scale between.

    All 1 where no user has a held-out favorite among the warm images, so that there is nothing to learn from.
    """
    warm, cold_items, other_cold = (concatenated(pools) for pools in zip(*holdouts, strict=True))
    if not warm.num_heldout_N.any():
        num_experts = len(warm.scores_ENP)
        return EnsembleWeights(np.ones(num_experts), np.ones(num_experts), 1.0)
    warm_E = _search(warm, config)
    if not images_have_content:
        return EnsembleWeights(warm_E, warm_E, 1.0)
    cold_E = _search(cold_items, config) if cold_items.num_heldout_N.any() else warm_E
    # The images that lost their favorites are as popular as any. How high cold images should rank among warm ones is
    # therefore learned on the other cold ones, whose only favorites are held out.
    warm_NP, cold_NP = _weighted_sum(warm_E, warm), _weighted_sum(cold_E, other_cold)
    is_heldout_NP = np.concatenate([warm.is_heldout_NP, other_cold.is_heldout_NP], axis=1)
    num_heldout_N = warm.num_heldout_N + other_cold.num_heldout_N
    values = [
        ndcg(np.concatenate([warm_NP, scale * cold_NP], axis=1), is_heldout_NP, num_heldout_N, config.k)
        for scale in COLD_ITEM_SCALES
    ]
    return EnsembleWeights(warm_E, cold_E, COLD_ITEM_SCALES[int(np.argmax(values))])


def concatenated(pools: tuple[Pool, ...]) -> Pool:
    """The users of all pools, one pool's after the other's; those with fewer places leave some unfilled."""
    if len(pools) == 1:
        return pools[0]  # with many users, so it is not copied
    num_places = max(pool.floor_NP.shape[1] for pool in pools)

    def stacked(arrays: list[np.ndarray], filler: float) -> np.ndarray:
        widths = [[*[(0, 0)] * (array.ndim - 1), (0, num_places - array.shape[-1])] for array in arrays]
        padded = [np.pad(array, width, constant_values=filler) for array, width in zip(arrays, widths, strict=True)]
        return np.concatenate(padded, axis=-2)

    return Pool(
        stacked([pool.scores_ENP for pool in pools], 0),
        stacked([pool.floor_NP for pool in pools], -np.inf),
        stacked([pool.is_heldout_NP for pool in pools], False),
        np.concatenate([pool.num_heldout_N for pool in pools]),
    )


def _pool(
    experts: list[Expert],
    users: np.ndarray,
    training: Community,
    heldout_UI: csr_array,
    allowed_I: np.ndarray,
    config: WeightsConfig,
    seed: int,
) -> Pool:
    """Each expert's best allowed images of each user, or for mixtures sampled ones; never a training favorite.

    Scores of all images are in memory for one block of users and one expert at a time: they are computed once to find
    the best images, and once more to take those that any expert found.
    """
    if not len(users) or not experts:
        return Pool.empty(len(experts))
    allowed = np.flatnonzero(allowed_I)
    depth = min(config.depth, len(allowed))
    seen_NI, heldout_NI = (csr_array(matrix[users][:, allowed]) for matrix in (training.favorites_UI, heldout_UI))
    size = max(1, BLOCK_FLOATS // max(1, len(allowed)))
    blocks = [slice(first, first + size) for first in range(0, len(users), size)]

    def best(expert: Expert) -> np.ndarray:
        """int32 (N, depth)."""
        expert = expert.for_images(allowed)
        return np.concatenate([_best(expert.scores(users[block]), seen_NI[block], depth) for block in blocks])

    if not depth:
        images_NP = np.zeros((len(users), 0), np.int64)
    elif config.weighed_on == "mixtures":
        images_NP = draw_mixtures(heldout_NI, training.popularity_I[allowed], depth, np.random.default_rng(seed))
    else:
        best_NP = np.concatenate(side_by_side(best, experts, "experts' best images"), axis=1)
        images_NP = np.sort(best_NP, axis=1).astype(np.int64)
    is_filled_NP = (np.diff(images_NP, axis=1, prepend=-1) > 0) & ~_is_stored(seen_NI, images_NP)
    filled_first_NP = np.argsort(~is_filled_NP, axis=1, kind="stable")[:, : is_filled_NP.sum(axis=1).max(initial=0)]
    is_filled_NP, images_NP = (
        np.take_along_axis(of_place_NP, filled_first_NP, axis=1) for of_place_NP in (is_filled_NP, images_NP)
    )
    scores_ENP = np.zeros((len(experts), *images_NP.shape), np.float32)

    def take(numbered: tuple[int, Expert]) -> None:
        number, expert = numbered[0], numbered[1].for_images(allowed)
        for block in blocks:
            scores_nP = np.take_along_axis(expert.scores(users[block]), images_NP[block], axis=1)
            scores_ENP[number, block] = np.where(is_filled_NP[block], scores_nP, 0)

    side_by_side(take, list(enumerate(experts)), "experts' scores")
    is_heldout_NP = is_filled_NP & _is_stored(heldout_NI, images_NP)
    of_pool = is_heldout_NP.sum(axis=1) if config.weighed_on == "mixtures" else np.diff(heldout_NI.indptr)
    floor_NP = np.where(is_filled_NP, 0, -np.inf).astype(np.float32)
    return Pool(scores_ENP, floor_NP, is_heldout_NP, of_pool.astype(np.int64))


def _best(scores_nI: np.ndarray, seen_nI: csr_array, depth: int) -> np.ndarray:
    """int32 (n, depth), in any order: the best images of each user; those seen only where too few others are left."""
    scores_nI[row_of_entry(seen_nI), seen_nI.indices] = -np.inf
    # torch takes half the time of numpy's argpartition
    return np.asarray(torch.topk(torch.from_numpy(scores_nI), depth, sorted=False).indices.numpy(), np.int32)


def _is_stored(matrix_NI: csr_array, columns_NP: np.ndarray) -> np.ndarray:
    """bool (N, P): whether the row has an entry in each of these columns."""
    num_rows, num_columns = matrix_NI.shape
    stored = np.sort(row_of_entry(matrix_NI) * num_columns + matrix_NI.indices)
    wanted_NP = np.arange(num_rows)[:, None] * num_columns + columns_NP
    if not len(stored):
        return np.zeros(wanted_NP.shape, bool)
    return np.asarray(stored[np.searchsorted(stored, wanted_NP).clip(max=len(stored) - 1)] == wanted_NP)


def draw_mixtures(heldout_NI: csr_array, popularity_I: np.ndarray, depth: int, rng: np.random.Generator) -> np.ndarray:
    """int64 (N, P), ascending: at most `depth` held-out images of each user and `depth` sampled ones, with repeats.

    The first half is sampled uniformly, the second by popularity. A held-out image that is sampled stays held out.
    """
    (num_users, num_images), counts_N = heldout_NI.shape, np.diff(heldout_NI.indptr)
    uniform = rng.integers(0, num_images, (num_users, depth - depth // 2))
    chances_I = popularity_I / popularity_I.sum() if popularity_I.any() else None
    popular = rng.choice(num_images, (num_users, depth // 2), p=chances_I)
    row = row_of_entry(heldout_NI)
    order = np.lexsort((rng.random(len(row)), row))
    place = place_in_row(heldout_NI)
    is_included = place < depth
    heldout = np.repeat(uniform[:, :1], min(depth, counts_N.max(initial=0)), axis=1)
    heldout[row[is_included], place[is_included]] = heldout_NI.indices[order][is_included]
    return np.sort(np.concatenate([heldout, uniform, popular], axis=1), axis=1)


def _search(pool: Pool, config: WeightsConfig) -> np.ndarray:
    """float64 (E,): weights by coordinate ascent on NDCG, from the best single expert."""
    num_experts = len(pool.scores_ENP)
    pool = pool.where_found()
    alone = [
        ndcg(scores_NP + pool.floor_NP, pool.is_heldout_NP, pool.num_heldout_N, config.k)
        for scores_NP in pool.scores_ENP
    ]
    # Where few images compete every list is right, even that of an expert that scores none of them.
    alone = [value if scores_NP.any() else -1.0 for value, scores_NP in zip(alone, pool.scores_ENP, strict=True)]
    weights_E = np.zeros(num_experts)
    weights_E[int(np.argmax(alone))] = 1.0
    best = max(alone)
    for _ in range(config.rounds):
        before = best
        for row in np.argsort(-np.array(alone), kind="stable"):
            others_E = weights_E * (np.arange(num_experts) != row)
            rest_NP = _weighted_sum(others_E, pool)
            for weight in WEIGHTS:
                if weight == weights_E[row] or not (weight or others_E.any()):
                    continue
                scores_NP = rest_NP + np.float32(weight) * pool.scores_ENP[row]
                value = ndcg(scores_NP, pool.is_heldout_NP, pool.num_heldout_N, config.k)
                if value > best * (1 + MIN_GAIN):
                    best, weights_E[row] = value, weight
        if best <= before:
            break
    return weights_E


def _weighted_sum(weights_E: np.ndarray, pool: Pool) -> np.ndarray:
    """float32 (N, P): the experts' weighted sum, -inf where a place is not filled."""
    return np.asarray(np.tensordot(weights_E.astype(np.float32), pool.scores_ENP, 1) + pool.floor_NP)


def ndcg(scores_NP: np.ndarray, is_heldout_NP: np.ndarray, num_heldout_N: np.ndarray, k: int) -> float:
    """Mean NDCG at k over the users with held-out favorites; of images with equal scores the held-out one ranks last.

    Counts what ranks above each held-out image, which takes a fraction of the time of sorting each user's ranking.
    """
    num_users = np.count_nonzero(num_heldout_N)
    if not num_users:
        return float("nan")
    row_n, place_n = np.nonzero(is_heldout_NP)
    of_heldout_n = scores_NP[row_n, place_n]
    rank_n = np.empty(len(row_n), np.int64)
    step = max(1, BLOCK_FLOATS // scores_NP.shape[1])
    for first in range(0, len(row_n), step):
        block = slice(first, first + step)
        rank_n[block] = np.count_nonzero(scores_NP[row_n[block]] >= of_heldout_n[block, None], axis=1)
    gains_n = np.where((rank_n <= k) & np.isfinite(of_heldout_n), 1 / np.log2(rank_n + 1), 0)
    ideal_K = np.cumsum(1 / np.log2(np.arange(2, k + 2)))
    return float((gains_n / ideal_K[np.minimum(num_heldout_N[row_n], k) - 1]).sum() / num_users)
