"""TasteGraph's own recommender: many views of a community, mixed by what they are worth on favorites set aside.

U users, I images, N users asked about, M images at hand, E experts, R an expert's dimensions.

Each expert scores by one product of a matrix of users and one of images, so their weighted sum does too. The experts
are fitted first without some favorites of each user (the latest, where times are told) and without some images
altogether, to learn what each is worth for known and for new images, several times where users are few; then, those
worth something, on everything.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse

from models import metrics
from models.community import Community
from models.experts.base import Expert, Matrix
from models.experts.factors import Factors
from models.experts.graph import Contacts, Groups, Neighbors, Owners, Tags
from models.experts.linear import Content, Ridge, Sequence
from models.experts.towers import Towers
from models.low_rank import singular_vectors
from models.protocols import keep
from models.systems.base import System, Vectors, pack_sparse, unpack_sparse, vectors_of
from models.systems.collaborative_dl import CollaborativeDL, CollaborativeDLConfig

LEAST_GAIN = 0.001  # relative; less is noise, and every expert costs time
WEIGHED_AT_ONCE = 64  # users whose scores of all images by all experts are in memory at a time
LEAST_NEW = 20  # images that are taken out even of a small community, though never more than a fifth
SCALED_ON = 2048  # images on which an expert's spread for a user is measured
STEPS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5)  # weights that are tried, beside the first expert's 1
NEWNESS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)  # factors that are tried for new images


@dataclass(frozen=True, kw_only=True)
class TasteGraphConfig:
    """Which experts, and how their weights are learned."""

    leave_out: tuple[str, ...] = ()  # experts that take no part, for ablations; docs/systems.md names them
    ridge_strength: float = 150.0  # λ of the ridge experts, in units of the mean squared entry
    factor_dimensions: int = 128  # of one factorisation
    factor_strength: float = 10.0  # λ of the factorisations
    factor_models: int = 8  # factorisations whose scores are added
    shrunk_strength: float = 50.0  # λ of the shrunk factorisations, which keep only the strongest dimensions
    coded_dimensions: int = 100  # of the factors that lie near a code of what an image shows and is called
    tower_dimensions: int = 64  # of the two towers
    tower_steps: int = 300  # that they are trained
    heldout_share: float = 0.1  # of a user's favorites, set aside to learn the weights
    new_share: float = 0.03  # of the images with favorites, taken out altogether to learn how new images compare
    weighing_users: int = 5000  # on whom the weights are learned
    weighings: int = 3  # where users are few, favorites are set aside anew so often, to learn on all of them together
    weighed_on: Literal["lists", "mixtures"] = "lists"  # lists: weights are learned on a user's latest favorites among
    # the best of all images; mixtures: on any favorites among drawn images, half of them as popular (CDL, 6.1)
    depth: int = 100  # so many images of a user are ranked while weights are learned: each expert's best, or drawn
    k: int = 20  # weights maximise NDCG at k
    rounds: int = 3  # over all experts, when the weights are searched
    dimensions: int = 0  # 0: the exact mixture; else its best approximation by an inner product of so many dimensions

    def __post_init__(self) -> None:
        if self.weighed_on not in ("lists", "mixtures"):
            raise ValueError(f"weighed_on is {self.weighed_on!r}; choose lists or mixtures")


class Mixture(NamedTuple):
    """What experts are worth: weights for images with favorites, for images without, and how the two compare."""

    warm_E: np.ndarray
    cold_E: np.ndarray
    newness: float


class TasteGraph(System[TasteGraphConfig]):
    """The mixture of experts."""

    name = "tastegraph"
    source = "ours; docs/systems.md says what each part is taken from"
    wants = ("features",)
    grid = {"weighed_on": ("lists", "mixtures"), "factor_strength": (5.0, 10.0)}
    Config = TasteGraphConfig

    def fit(self, community: Community) -> None:
        names, weighed = self._weigh(community)
        makers = self._makers(self.config.factor_models)
        rows = np.flatnonzero((weighed.warm_E > 0) | (weighed.cold_E > 0))
        worth = {names[row]: makers[names[row]] for row in rows}
        self.names = list(worth)
        self.mixture = Mixture(weighed.warm_E[rows], weighed.cold_E[rows], weighed.newness)
        self.experts = list(_fit_all(worth, community, self.seed).values())
        self.is_cold_I = community.popularity_I == 0
        if self.config.dimensions:
            self.experts = [_compressed(self, community.num_users, self.config.dimensions)]
            self.names = ["compressed"]
            self.mixture = Mixture(np.ones(1), np.ones(1), 1.0)

    def _weigh(self, community: Community) -> tuple[list[str], Mixture]:
        """The experts that there are, and what they are worth on the favorites of all weighings."""
        config, pools, names = self.config, [], []
        for number in range(_num_weighings(community, config)):
            seed = self.seed * config.weighings + number
            training, heldout_UI, new_I = _set_aside(community, config, seed)
            fitted = _fit_all(self._makers(factor_models=1), training, self.seed)
            pools.append(_pools(list(fitted.values()), training, heldout_UI, new_I, config, seed))
            names.append(list(fitted))
        common = [name for name in names[0] if all(name in others for others in names)]
        chosen = [pool.of([there.index(name) for name in common]) for pool, there in zip(pools, names, strict=True)]
        return common, _weighed(chosen, _describes(community), config)

    def _makers(self, factor_models: int) -> dict[str, Any]:
        config = self.config
        factors = Factors(dimensions=config.factor_dimensions, strength=config.factor_strength, models=factor_models)
        shrunk = replace(factors, strength=config.shrunk_strength, models=1)  # whatever the seed, much the same
        ridge = Ridge(strength=config.ridge_strength)
        experts = {
            "neighbors": Neighbors(),
            "niche_neighbors": Neighbors(popular=0.5),
            "ridge": replace(ridge, tags=0.0),
            "tagged_ridge": ridge,
            "factors": factors,
            "social_factors": replace(factors, contacts=0.3),
            "tagged_factors": replace(factors, tags=1.0),
            "shrunk_factors": shrunk,
            "shrunk_social_factors": replace(shrunk, contacts=0.3),
            "shrunk_tagged_factors": replace(shrunk, tags=1.0),
            "coded_factors": CodedFactors(config.coded_dimensions),
            "towers": Towers(dimensions=config.tower_dimensions, steps=config.tower_steps),
            "sequence": Sequence(),
            "short_sequence": Sequence(window=10, decay=5.0),
            "content": Content(),
            "tags": Tags(),
            "contacts": Contacts(),
            "groups": Groups(),
            "owners": Owners(),
        }
        return {name: maker for name, maker in experts.items() if name not in config.leave_out}

    def score(self, users_N: np.ndarray) -> np.ndarray:
        scores_NI = np.zeros((len(users_N), len(self.is_cold_I)), np.float32)
        for row, expert in enumerate(self.experts):
            scores_NI += expert.scores(users_N) * self._weights(row)
        return scores_NI

    def times(self, vectors_ID: np.ndarray) -> np.ndarray:
        """All users' scores, as a matrix, times vectors of images: float32 (U, D)."""
        parts = [expert.times(self._weights(row)[:, None] * vectors_ID) for row, expert in enumerate(self.experts)]
        return np.asarray(np.sum(parts, axis=0), np.float32)

    def times_transposed(self, vectors_UD: np.ndarray) -> np.ndarray:
        """The transposed scores times vectors of users: float32 (I, D)."""
        parts = [
            self._weights(row)[:, None] * expert.times_transposed(vectors_UD) for row, expert in enumerate(self.experts)
        ]
        return np.asarray(np.sum(parts, axis=0), np.float32)

    def _weights(self, row: int) -> np.ndarray:
        """float32 (I,): what an expert's scores are multiplied with, image by image."""
        warm_E, cold_E, newness = self.mixture
        return np.asarray(np.where(self.is_cold_I, cold_E[row] * newness, warm_E[row]), np.float32)

    @property
    def vectors(self) -> Vectors | None:
        if not self.config.dimensions:
            return None
        (expert,) = self.experts
        return vectors_of(np.asarray(expert.users_UR), np.asarray(expert.images_RI).T)

    def state(self) -> dict[str, np.ndarray]:
        state = {
            "names": np.frombuffer("\n".join(self.names).encode(), np.uint8),
            "warm": self.mixture.warm_E,
            "cold": self.mixture.cold_E,
            "newness": np.array(self.mixture.newness),
            "is_cold": self.is_cold_I,
        }
        for name, expert in zip(self.names, self.experts, strict=True):
            for number, part in enumerate(expert.products):
                state |= _pack(f"{name}.{number}.users", part.users_UR) | _pack(
                    f"{name}.{number}.images", part.images_RI
                )
        return state

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.names = state["names"].tobytes().decode().split("\n") if state["names"].size else []
        self.mixture = Mixture(state["warm"], state["cold"], float(state["newness"]))
        self.is_cold_I = state["is_cold"]
        self.experts = [_restored(name, state) for name in self.names]


@dataclass(frozen=True)
class CodedFactors:
    """Collaborative deep learning as an expert: an image's factors lie near a code of its looks, tags and title."""

    dimensions: int

    def fit(self, community: Community, seed: int) -> Expert | None:
        """None where nothing is there to be coded."""
        if not any(community.has(signal) for signal in ("tags", "titles", "features")):
            return None
        system = CollaborativeDL(CollaborativeDLConfig(K=self.dimensions), seed)
        system.fit(community)
        return Expert(system.vectors.users_Ud, np.ascontiguousarray(system.vectors.images_Id.T))


def _fit_all(makers: dict[str, Any], community: Community, seed: int) -> dict[str, Expert]:
    """The experts that the community's signals allow, each user's scores scaled to a common spread."""
    fitted = {}
    for name, maker in makers.items():
        expert = maker.fit(community, seed)
        if expert is not None:
            fitted[name] = _scaled(expert, community, seed)
    return fitted


def _scaled(expert: Expert, community: Community, seed: int) -> Expert:
    """The expert with each user's scores divided by their root mean square over a sample of images."""
    rng = np.random.default_rng(seed)
    sampled = expert.of(rng.permutation(community.num_images)[:SCALED_ON])
    scales_U = np.zeros(community.num_users)
    for first in range(0, community.num_users, 2048):
        users = np.arange(first, min(first + 2048, community.num_users))
        scales_U[users] = np.sqrt(np.square(sampled.scores(users), dtype=np.float64).mean(axis=1))
    typical = np.median(scales_U[scales_U > 0]) if (scales_U > 0).any() else 1.0
    # A user of whom the sample shows next to nothing keeps a common scale: a tiny one would blow up a single score.
    factors_U = (1 / np.maximum(scales_U, typical / 10)).astype(np.float32)
    return expert.scaled(factors_U)


def _set_aside(community: Community, config: TasteGraphConfig, seed: int) -> tuple[Community, csr_array, np.ndarray]:
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
    new_I = np.zeros(community.num_images, bool)
    if _describes(community):
        warm = np.flatnonzero(community.popularity_I)
        num_new = max(int(config.new_share * len(warm)), min(LEAST_NEW, len(warm) // 5))
        new_I[rng.permutation(warm)[:num_new]] = True
    is_heldout = is_late | new_I[favorites_UI.indices]
    training = replace(
        community,
        favorites_UI=keep(favorites_UI, ~is_heldout),
        favorited_at_UI=None if times_UI is None else keep(times_UI, ~is_heldout),
    )
    return training, keep(favorites_UI, is_heldout), new_I


def _describes(community: Community) -> bool:
    """Whether anything but favorites tells of an image."""
    return any(community.has(signal) for signal in ("tags", "titles", "features", "owners"))


def _num_weighings(community: Community, config: TasteGraphConfig) -> int:
    """As many as `weighing_users` allows; one where the latest favorites are set aside, as they stay the same."""
    if config.weighed_on == "lists" and community.favorited_at_UI is not None:
        return 1
    num_users = int(np.count_nonzero(np.diff(community.favorites_UI.indptr)))
    return max(1, min(config.weighings, config.weighing_users // max(num_users, 1)))


class _Pool(NamedTuple):
    """The images that are ranked for each weighing user. P places a user, not all of them filled."""

    scores_ENP: np.ndarray  # float32; 0 where not filled
    floor_NP: np.ndarray  # float32; 0 where filled, else -inf
    is_held_NP: np.ndarray  # bool; whether the image was set aside
    num_held_N: np.ndarray  # int64; how many allowed images were


class _Pools(NamedTuple):
    """What one weighing ranks: images with favorites, images that lost all of theirs, images without as it is."""

    warm: _Pool
    made_new: _Pool
    new: _Pool

    def of(self, rows_E: list[int]) -> "_Pools":
        """For only these experts."""
        return _Pools(*(pool._replace(scores_ENP=pool.scores_ENP[rows_E]) for pool in self))


def _pools(
    experts: list[Expert],
    training: Community,
    heldout_UI: csr_array,
    new_I: np.ndarray,
    config: TasteGraphConfig,
    seed: int,
) -> _Pools:
    users = np.flatnonzero(np.diff(heldout_UI.indptr))
    users = np.sort(np.random.default_rng(seed).permutation(users)[: config.weighing_users])
    warm_I = training.popularity_I > 0

    def among(allowed_I: np.ndarray) -> _Pool:
        return _pool(experts, users, training, heldout_UI, allowed_I, config, seed)

    return _Pools(among(warm_I), among(new_I), among(~warm_I & ~new_I))


def _weighed(weighings: list[_Pools], are_described: bool, config: TasteGraphConfig) -> Mixture:
    """The weights with the best NDCG on the favorites set aside: known images, new ones, then both together."""
    warm, made_new, new = (_together(pools) for pools in zip(*weighings, strict=True))
    if not len(warm.num_held_N):
        num_experts = len(warm.scores_ENP)
        return Mixture(np.ones(num_experts), np.ones(num_experts), 1.0)
    warm_E = _search(warm, config)
    if not are_described:
        return Mixture(warm_E, warm_E, 1.0)
    cold_E = _search(made_new, config) if made_new.num_held_N.any() else warm_E
    # Images taken out are as popular as any. How high new images ought to stand is told by those that are new as it is.
    warm_NP, new_NP = _mixed(warm_E, warm), _mixed(cold_E, new)
    is_held_NP = np.concatenate([warm.is_held_NP, new.is_held_NP], axis=1)
    values = [
        _ndcg(
            np.concatenate([warm_NP, factor * new_NP], axis=1), is_held_NP, warm.num_held_N + new.num_held_N, config.k
        )
        for factor in NEWNESS
    ]
    return Mixture(warm_E, cold_E, NEWNESS[int(np.argmax(values))])


def _together(pools: tuple[_Pool, ...]) -> _Pool:
    """The users of all pools, one pool's after the other's; those with fewer places leave some unfilled."""
    if len(pools) == 1:
        return pools[0]  # of many users, so not copied
    most = max(pool.floor_NP.shape[1] for pool in pools)

    def stacked(arrays: list[np.ndarray], filler: float) -> np.ndarray:
        widths = [[*[(0, 0)] * (array.ndim - 1), (0, most - array.shape[-1])] for array in arrays]
        padded = [np.pad(array, width, constant_values=filler) for array, width in zip(arrays, widths, strict=True)]
        return np.concatenate(padded, axis=-2)

    return _Pool(
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
    config: TasteGraphConfig,
    seed: int,
) -> _Pool:
    """The experts' best allowed images of each user or, for mixtures, drawn ones; but no favorite known already."""
    allowed = np.flatnonzero(allowed_I)
    depth = min(config.depth, len(allowed))
    experts = [expert.of(allowed) for expert in experts]
    seen_NI, held_NI = (csr_array(matrix[users][:, allowed]) for matrix in (training.favorites_UI, heldout_UI))
    drawn_NP = None
    if config.weighed_on == "mixtures" and depth:
        drawn_NP = _draw_mixtures(held_NI, training.popularity_I[allowed], depth, np.random.default_rng(seed))
    num_places = len(experts) * depth if drawn_NP is None else drawn_NP.shape[1]
    scores_ENP = np.zeros((len(experts), len(users), num_places), np.float32)
    floor_NP = np.zeros(scores_ENP.shape[1:], np.float32)
    is_held_NP = np.zeros(scores_ENP.shape[1:], bool)
    for first in range(0, len(users) if depth else 0, WEIGHED_AT_ONCE):
        block = slice(first, min(first + WEIGHED_AT_ONCE, len(users)))
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
    return _Pool(scores_ENP, floor_NP, is_held_NP, num_held_N)


def _best(scores_EnI: np.ndarray, depth: int) -> np.ndarray:
    """int64 (n, P): each expert's best images, ascending; one that several name stands there as often."""
    best_EnK = np.argpartition(-scores_EnI, depth - 1, axis=2)[:, :, :depth]
    return np.sort(best_EnK.transpose(1, 0, 2).reshape(scores_EnI.shape[1], -1), axis=1)


def _draw_mixtures(held_NI: csr_array, popularity_I: np.ndarray, depth: int, rng: np.random.Generator) -> np.ndarray:
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


def _search(pool: _Pool, config: TasteGraphConfig) -> np.ndarray:
    """float64 (E,): weights by coordinate ascent on NDCG, from the best expert alone."""
    num_experts = len(pool.scores_ENP)
    alone = [
        _ndcg(scores_NP + pool.floor_NP, pool.is_held_NP, pool.num_held_N, config.k) for scores_NP in pool.scores_ENP
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
                value = _ndcg(
                    rest_NP + np.float32(step) * pool.scores_ENP[row], pool.is_held_NP, pool.num_held_N, config.k
                )
                if value > best * (1 + LEAST_GAIN):
                    best, weights_E[row] = value, step
        if best <= before:
            break
    return weights_E


def _mixed(weights_E: np.ndarray, pool: _Pool) -> np.ndarray:
    """float32 (N, P): the weighted sum, -inf where a place is not filled."""
    return np.asarray(np.tensordot(weights_E.astype(np.float32), pool.scores_ENP, 1) + pool.floor_NP)


def _ndcg(scores_NP: np.ndarray, is_held_NP: np.ndarray, num_held_N: np.ndarray, k: int) -> float:
    """Mean NDCG at k over the users with something held out."""
    k = min(k, scores_NP.shape[1])
    best_NK = np.argpartition(-scores_NP, k - 1, axis=1)[:, :k]
    values_NK = np.take_along_axis(scores_NP, best_NK, axis=1)
    order_NK = np.take_along_axis(best_NK, np.argsort(-values_NK, axis=1, kind="stable"), axis=1)
    is_filled_NK = np.isfinite(np.take_along_axis(scores_NP, order_NK, axis=1))
    hits = metrics.Hits(np.take_along_axis(is_held_NP, order_NK, axis=1) & is_filled_NK, num_held_N)
    return float(np.nanmean(metrics.ndcg(hits, k)))


def _compressed(system: TasteGraph, num_users: int, dimensions: int) -> Expert:
    """The best inner product of so many dimensions for the mixture: its singular vectors, by randomised iteration."""
    shape = (num_users, len(system.is_cold_I))
    found = singular_vectors(system.times, system.times_transposed, shape, dimensions, system.seed)
    return Expert(
        np.ascontiguousarray(found.left_RD * found.values_D, np.float32),
        np.ascontiguousarray(found.right_CD.T, np.float32),
    )


def _restored(name: str, state: dict[str, np.ndarray], number: int = 0) -> Expert:
    """The expert from its products of this number and above."""
    users, images = f"{name}.{number}.users", f"{name}.{number}.images"
    has_more = any(key.startswith(f"{name}.{number + 1}.") for key in state)
    beside = _restored(name, state, number + 1) if has_more else None
    return Expert(_unpack(users, state), _unpack(images, state), beside)


def _pack(name: str, matrix: Matrix) -> dict[str, np.ndarray]:
    return pack_sparse(name, matrix) if issparse(matrix) else {name: np.asarray(matrix)}


def _unpack(name: str, state: dict[str, np.ndarray]) -> Matrix:
    return state[name] if name in state else unpack_sparse(name, state)
