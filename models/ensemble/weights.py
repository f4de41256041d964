"""What scores of different kinds are worth beside each other, learned on favorites set aside.

U users, I images, N users asked about, E experts, P places of a user's ranking.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from models.community import Community
from models.ensemble.experts.base import Expert
from models.evaluation import metrics
from models.evaluation.protocols import keep

LEAST_GAIN = 0.001  # relative; less is noise, and every expert costs time
USERS_AT_ONCE = 64  # users whose scores of all images by all experts are in memory at a time
MIN_COLD_ITEMS = 20  # images that are taken out even of a small community, though never more than a fifth
STEPS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5)  # weights that are tried, beside the first expert's 1
COLD_ITEM_SCALES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)  # factors that are tried for new images


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """What is set aside, and on which figure of it weights are searched."""

    heldout_share: float = 0.1  # of a user's favorites, set aside to learn the weights
    new_share: float = 0.03  # of the images with favorites, taken out altogether to learn how new images compare
    newcomer_share: float = 0.2  # of the users with favorites, whose favorites are all set aside, where some have none
    weighing_users: int = 5000  # on whom the weights are learned
    weighings: int = 3  # where users are few, favorites are set aside anew so often, to learn on all of them together
    weighed_on: Literal["lists", "mixtures"] = "lists"  # the latest favorites among all images, or any among drawn ones
    depth: int = 100  # so many images of a user are ranked while weights are learned: each expert's best, or drawn
    k: int = 20  # weights maximise NDCG at k
    rounds: int = 3  # over all experts, when the weights are searched

    def __post_init__(self) -> None:
        if self.weighed_on not in ("lists", "mixtures"):
            raise ValueError(f"weighed_on is {self.weighed_on!r}; choose lists or mixtures")


class EnsembleWeights(NamedTuple):
    """What experts are worth: weights for images with favorites, for images without, and how the two compare."""

    warm_E: np.ndarray
    cold_E: np.ndarray
    cold_item_scale: float


def hold_out_favorites(
    community: Community, config: WeightsConfig, seed: int
) -> tuple[Community, csr_array, np.ndarray]:
    """The community without some favorites; those favorites; and bool (I,), the images that lost all of theirs.

    What lists are for comes after what was learned, so the latest are set aside, where times are told.
    """
    rng = np.random.default_rng(seed)
    favorites_UI = community.favorites_UI
    counts_U = np.diff(favorites_UI.indptr)
    user = np.repeat(np.arange(community.num_users), counts_U)
    times_UI = community.favorited_at_UI
    lateness = times_UI.data if times_UI is not None and config.weighed_on == "lists" else rng.random(len(user))
    order = np.lexsort((favorites_UI.indices, lateness, user))
    place = np.empty(len(user), np.int64)
    place[order] = np.arange(len(user)) - favorites_UI.indptr[user]
    sizes_U = np.where(counts_U >= 3, np.maximum(1, (config.heldout_share * counts_U).astype(np.int64)), 0)
    is_late = place >= (counts_U - sizes_U)[user]
    new_I = _emptied(community, config, rng)
    is_heldout = is_late | new_I[favorites_UI.indices]
    return _without(community, is_heldout), keep(favorites_UI, is_heldout), new_I


def hold_out_users(community: Community, config: WeightsConfig, seed: int) -> tuple[Community, csr_array, np.ndarray]:
    """As `hold_out_favorites`, for cold users: a share of the users lose all their favorites."""
    rng = np.random.default_rng(seed)
    favorites_UI = community.favorites_UI
    counts_U = np.diff(favorites_UI.indptr)
    users = rng.permutation(np.flatnonzero(counts_U))
    is_new_U = np.zeros(community.num_users, bool)
    is_new_U[users[: max(1, int(config.newcomer_share * len(users)))]] = True
    new_I = _emptied(community, config, rng)
    is_theirs = np.repeat(is_new_U, counts_U)
    training = _without(community, is_theirs | new_I[favorites_UI.indices])
    return training, keep(favorites_UI, is_theirs), new_I


def _emptied(community: Community, config: WeightsConfig, rng: np.random.Generator) -> np.ndarray:
    """bool (I,): images that are to lose all favorites; none where nothing else tells of them."""
    new_I = np.zeros(community.num_images, bool)
    if describes(community):
        warm = np.flatnonzero(community.popularity_I)
        num_new = max(int(config.new_share * len(warm)), min(MIN_COLD_ITEMS, len(warm) // 5))
        new_I[rng.permutation(warm)[:num_new]] = True
    return new_I


def _without(community: Community, is_heldout: np.ndarray) -> Community:
    times_UI = community.favorited_at_UI
    return replace(
        community,
        favorites_UI=keep(community.favorites_UI, ~is_heldout),
        favorited_at_UI=None if times_UI is None else keep(times_UI, ~is_heldout),
    )


def describes(community: Community) -> bool:
    """Whether anything but favorites tells of an image."""
    return any(community.has(signal) for signal in ("tags", "titles", "features", "owners"))


def num_holdouts(community: Community, config: WeightsConfig) -> int:
    """As many as `weighing_users` allows; one where the latest favorites are set aside, as they stay the same."""
    if config.weighed_on == "lists" and community.favorited_at_UI is not None:
        return 1
    num_users = int(np.count_nonzero(np.diff(community.favorites_UI.indptr)))
    return max(1, min(config.weighings, config.weighing_users // max(num_users, 1)))


class Pool(NamedTuple):
    """The images that are ranked for each weighing user. P places a user, not all of them filled."""

    scores_ENP: np.ndarray  # float32; 0 where not filled
    floor_NP: np.ndarray  # float32; 0 where filled, else -inf
    is_held_NP: np.ndarray  # bool; whether the image was set aside
    num_held_N: np.ndarray  # int64; how many allowed images were


class Pools(NamedTuple):
    """What one weighing ranks: images with favorites, images that lost all of theirs, images without as it is."""

    warm: Pool
    made_new: Pool
    new: Pool

    def of(self, rows_E: list[int]) -> "Pools":
        """For only these experts."""
        return Pools(*(pool._replace(scores_ENP=pool.scores_ENP[rows_E]) for pool in self))


def pools_of(
    experts: list[Expert],
    training: Community,
    heldout_UI: csr_array,
    new_I: np.ndarray,
    config: WeightsConfig,
    seed: int,
) -> Pools:
    """What the experts, fitted without what is set aside, make of the images for at most `weighing_users` users."""
    users = np.flatnonzero(np.diff(heldout_UI.indptr))
    users = np.sort(np.random.default_rng(seed).permutation(users)[: config.weighing_users])
    warm_I = training.popularity_I > 0

    def among(allowed_I: np.ndarray) -> Pool:
        return _pool(experts, users, training, heldout_UI, allowed_I, config, seed)

    return Pools(among(warm_I), among(new_I), among(~warm_I & ~new_I))


def learn_weights(weighings: list[Pools], are_described: bool, config: WeightsConfig) -> EnsembleWeights:
    """The weights with the best NDCG on the favorites set aside: known images, new ones, then both together."""
    warm, made_new, new = (together(pools) for pools in zip(*weighings, strict=True))
    if not len(warm.num_held_N):
        num_experts = len(warm.scores_ENP)
        return EnsembleWeights(np.ones(num_experts), np.ones(num_experts), 1.0)
    warm_E = _search(warm, config)
    if not are_described:
        return EnsembleWeights(warm_E, warm_E, 1.0)
    cold_E = _search(made_new, config) if made_new.num_held_N.any() else warm_E
    # Images taken out are as popular as any. How high new images ought to stand is told by those that are new as it is.
    warm_NP, new_NP = _mixed(warm_E, warm), _mixed(cold_E, new)
    is_held_NP = np.concatenate([warm.is_held_NP, new.is_held_NP], axis=1)
    values = [
        ndcg(np.concatenate([warm_NP, factor * new_NP], axis=1), is_held_NP, warm.num_held_N + new.num_held_N, config.k)
        for factor in COLD_ITEM_SCALES
    ]
    return EnsembleWeights(warm_E, cold_E, COLD_ITEM_SCALES[int(np.argmax(values))])


def together(pools: tuple[Pool, ...]) -> Pool:
    """The users of all pools, one pool's after the other's; those with fewer places leave some unfilled."""
    if len(pools) == 1:
        return pools[0]  # of many users, so not copied
    most = max(pool.floor_NP.shape[1] for pool in pools)

    def stacked(arrays: list[np.ndarray], filler: float) -> np.ndarray:
        widths = [[*[(0, 0)] * (array.ndim - 1), (0, most - array.shape[-1])] for array in arrays]
        padded = [np.pad(array, width, constant_values=filler) for array, width in zip(arrays, widths, strict=True)]
        return np.concatenate(padded, axis=-2)

    return Pool(
        stacked([pool.scores_ENP for pool in pools], 0),
        stacked([pool.floor_NP for pool in pools], -np.inf),
        stacked([pool.is_held_NP for pool in pools], False),
        np.concatenate([pool.num_held_N for pool in pools]),
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
    """The experts' best allowed images of each user or, for mixtures, drawn ones; but no favorite known already."""
    allowed = np.flatnonzero(allowed_I)
    depth = min(config.depth, len(allowed))
    experts = [expert.of(allowed) for expert in experts]
    seen_NI, held_NI = (csr_array(matrix[users][:, allowed]) for matrix in (training.favorites_UI, heldout_UI))
    drawn_NP = None
    if config.weighed_on == "mixtures" and depth:
        drawn_NP = draw_mixtures(held_NI, training.popularity_I[allowed], depth, np.random.default_rng(seed))
    num_places = len(experts) * depth if drawn_NP is None else drawn_NP.shape[1]
    scores_ENP = np.zeros((len(experts), len(users), num_places), np.float32)
    floor_NP = np.zeros(scores_ENP.shape[1:], np.float32)
    is_held_NP = np.zeros(scores_ENP.shape[1:], bool)
    for first in range(0, len(users) if depth else 0, USERS_AT_ONCE):
        block = slice(first, min(first + USERS_AT_ONCE, len(users)))
        seen_nI, held_nI = seen_NI[block].toarray() > 0, held_NI[block].toarray() > 0
        scores_EnI = np.stack([expert.scores(users[block]) for expert in experts])
        scores_EnI[:, seen_nI] = -np.inf
        images_nP = _best(scores_EnI, depth) if drawn_NP is None else drawn_NP[block]
        scores_EnP = np.take_along_axis(scores_EnI, images_nP[None], axis=2)
        is_filled_nP = (np.diff(images_nP, axis=1, prepend=-1) > 0) & np.isfinite(scores_EnP[0])
        scores_ENP[:, block] = np.where(is_filled_nP, scores_EnP, 0)
        floor_NP[block] = np.where(is_filled_nP, 0, -np.inf)
        is_held_NP[block] = np.take_along_axis(held_nI, images_nP, axis=1) & is_filled_nP
    num_held_N = np.diff(held_NI.indptr).astype(np.int64) if drawn_NP is None else is_held_NP.sum(axis=1)
    return Pool(scores_ENP, floor_NP, is_held_NP, num_held_N)


def _best(scores_EnI: np.ndarray, depth: int) -> np.ndarray:
    """int64 (n, P): each expert's best images, ascending; one that several name stands there as often."""
    best_EnK = np.argpartition(-scores_EnI, depth - 1, axis=2)[:, :, :depth]
    return np.sort(best_EnK.transpose(1, 0, 2).reshape(scores_EnI.shape[1], -1), axis=1)


def draw_mixtures(held_NI: csr_array, popularity_I: np.ndarray, depth: int, rng: np.random.Generator) -> np.ndarray:
    """int64 (N, P), ascending: at most `depth` held images of each user, and `depth` others, with repeats.

    The first half of the others are drawn evenly, the second by popularity; held images among them stay what they are.
    """
    (num_users, num_images), counts_N = held_NI.shape, np.diff(held_NI.indptr)
    even = rng.integers(0, num_images, (num_users, depth - depth // 2))
    chances_I = popularity_I / popularity_I.sum() if popularity_I.any() else None
    popular = rng.choice(num_images, (num_users, depth // 2), p=chances_I)
    row = np.repeat(np.arange(num_users), counts_N)
    order = np.lexsort((rng.random(len(row)), row))
    place = np.arange(len(row)) - held_NI.indptr[row]
    is_taken = place < depth
    held = np.repeat(even[:, :1], min(depth, counts_N.max(initial=0)), axis=1)
    held[row[is_taken], place[is_taken]] = held_NI.indices[order][is_taken]
    return np.sort(np.concatenate([held, even, popular], axis=1), axis=1)


def _search(pool: Pool, config: WeightsConfig) -> np.ndarray:
    """float64 (E,): weights by coordinate ascent on NDCG, from the best expert alone."""
    num_experts = len(pool.scores_ENP)
    alone = [
        ndcg(scores_NP + pool.floor_NP, pool.is_held_NP, pool.num_held_N, config.k) for scores_NP in pool.scores_ENP
    ]
    # Where few images compete every list is right, also that of an expert that knows none of them.
    alone = [value if scores_NP.any() else -1.0 for value, scores_NP in zip(alone, pool.scores_ENP, strict=True)]
    weights_E = np.zeros(num_experts)
    weights_E[int(np.argmax(alone))] = 1.0
    best = max(alone)
    for _ in range(config.rounds):
        before = best
        for row in np.argsort(-np.array(alone), kind="stable"):
            others_E = weights_E * (np.arange(num_experts) != row)
            rest_NP = _mixed(others_E, pool)
            for step in STEPS:
                if step == weights_E[row] or not (step or others_E.any()):
                    continue
                value = ndcg(
                    rest_NP + np.float32(step) * pool.scores_ENP[row], pool.is_held_NP, pool.num_held_N, config.k
                )
                if value > best * (1 + LEAST_GAIN):
                    best, weights_E[row] = value, step
        if best <= before:
            break
    return weights_E


def _mixed(weights_E: np.ndarray, pool: Pool) -> np.ndarray:
    """float32 (N, P): the weighted sum, -inf where a place is not filled."""
    return np.asarray(np.tensordot(weights_E.astype(np.float32), pool.scores_ENP, 1) + pool.floor_NP)


def ndcg(scores_NP: np.ndarray, is_held_NP: np.ndarray, num_held_N: np.ndarray, k: int) -> float:
    """Mean NDCG at k over the users with something held out."""
    k = min(k, scores_NP.shape[1])
    best_NK = np.argpartition(-scores_NP, k - 1, axis=1)[:, :k]
    values_NK = np.take_along_axis(scores_NP, best_NK, axis=1)
    order_NK = np.take_along_axis(best_NK, np.argsort(-values_NK, axis=1, kind="stable"), axis=1)
    is_filled_NK = np.isfinite(np.take_along_axis(scores_NP, order_NK, axis=1))
    hits = metrics.Hits(np.take_along_axis(is_held_NP, order_NK, axis=1) & is_filled_NK, num_held_N)
    return float(np.nanmean(metrics.ndcg(hits, k)))
