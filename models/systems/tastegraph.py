"""TasteGraph's own recommender: many views of a community, mixed by what they are worth on favorites set aside.

U users, I images, N users asked about, M images at hand, E experts, R an expert's dimensions.

Each expert scores by one product of a matrix of users and one of images, so their weighted sum does too. The experts
are fitted first without some favorites of each user (the latest, where times are told) and without some images
altogether, to learn what each is worth for known and for new images, several times where users are few; once more
without all favorites of some users, to learn it for users without any; then, those worth something, on everything.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import issparse

from models.community import Community
from models.ensemble.experts.base import Expert, Matrix
from models.ensemble.experts.factors import Factors
from models.ensemble.experts.graph import Contacts, Groups, Neighbors, Owners, Popular, Tags
from models.ensemble.experts.linear import Attributes, Content, Ridge, Sequence
from models.ensemble.experts.towers import Towers
from models.ensemble.low_rank import singular_vectors
from models.ensemble.weights import (
    EnsembleWeights,
    WeightsConfig,
    describes,
    hold_out_favorites,
    hold_out_users,
    learn_weights,
    num_holdouts,
    pools_of,
)
from models.systems.base import System, Vectors, pack_sparse, unpack_sparse, vectors_of
from models.systems.collaborative_dl import CollaborativeDL, CollaborativeDLConfig

# Experts that know something of users without favorites; and those that nobody else asks.
COLD_USER_ONLY = ("attributes", "popular")
FOR_COLD_USERS = (*COLD_USER_ONLY, "tags", "contacts", "groups", "owners")
SCALED_ON = 2048  # images on which an expert's spread for a user is measured


@dataclass(frozen=True, kw_only=True)
class TasteGraphConfig(WeightsConfig):
    """Which experts there are; the rest is how their weights are learned."""

    leave_out: tuple[str, ...] = ()  # experts that take no part, for ablations; docs/systems.md names them
    ridge_strength: float = 150.0  # λ of the ridge experts, in units of the mean squared entry
    factor_dimensions: int = 128  # of one factorisation
    factor_strength: float = 10.0  # λ of the factorisations
    factor_models: int = 8  # factorisations whose scores are added
    shrunk_strength: float = 50.0  # λ of the shrunk factorisations, which keep only the strongest dimensions
    coded_dimensions: int = 100  # of the factors that lie near a code of what an image shows and is called
    tower_dimensions: int = 64  # of the two towers
    tower_steps: int = 300  # that they are trained
    dimensions: int = 0  # 0: the exact mixture; else its best approximation by an inner product of so many dimensions


class TasteGraph(System[TasteGraphConfig]):
    """The mixture of experts."""

    name = "tastegraph"
    source = "ours; docs/systems.md says what each part is taken from"
    wants = ("features",)
    grid = {"weighed_on": ("lists", "mixtures"), "factor_strength": (5.0, 10.0)}
    Config = TasteGraphConfig

    def fit(self, community: Community) -> None:
        makers = self._makers(self.config.factor_models)
        self.is_cold_I = community.popularity_I == 0
        weighed = [self._learn_weights(community)]
        self.is_new_U = np.diff(community.favorites_UI.indptr) == 0
        if self.is_new_U.all():
            self.is_new_U[:] = False  # nobody to learn from what is worth something to them
        if self.is_new_U.any():
            weighed.append(self._learn_cold_user_weights(community))
        useful = {name for worth in weighed for name, (warm, cold) in worth.weights.items() if warm > 0 or cold > 0}
        self.names = [name for name in makers if name in useful]
        self.experts = list(_fit_all({name: makers[name] for name in self.names}, community, self.seed).values())
        self.mixtures = [worth.of(self.names) for worth in weighed]
        if self.config.dimensions:
            self.experts = [_compressed(self, community.num_users, self.config.dimensions)]
            self.names = ["compressed"]
            self.mixtures = [EnsembleWeights(np.ones(1), np.ones(1), 1.0)] * len(weighed)

    def _learn_weights(self, community: Community) -> "_NamedWeights":
        """What the experts are worth on the favorites of all weighings."""
        config, pools, names = self.config, [], []
        makers = {name: maker for name, maker in self._makers(factor_models=1).items() if name not in COLD_USER_ONLY}
        for number in range(num_holdouts(community, config)):
            seed = self.seed * config.weighings + number
            training, heldout_UI, new_I = hold_out_favorites(community, config, seed)
            fitted = _fit_all(makers, training, self.seed)
            pools.append(pools_of(list(fitted.values()), training, heldout_UI, new_I, config, seed))
            names.append(list(fitted))
        common = [name for name in names[0] if all(name in others for others in names)]
        chosen = [  # as it is where all are common: scores of many users are large to copy
            pool if there == common else pool.of([there.index(name) for name in common])
            for pool, there in zip(pools, names, strict=True)
        ]
        return _NamedWeights.told(common, learn_weights(chosen, describes(community), config))

    def _learn_cold_user_weights(self, community: Community) -> "_NamedWeights":
        """What the experts are worth to users without favorites, on users who lose all of theirs."""
        makers = {name: maker for name, maker in self._makers(factor_models=1).items() if name in FOR_COLD_USERS}
        training, heldout_UI, new_I = hold_out_users(community, self.config, self.seed)
        fitted = _fit_all(makers, training, self.seed)
        pools = pools_of(list(fitted.values()), training, heldout_UI, new_I, self.config, self.seed)
        return _NamedWeights.told(list(fitted), learn_weights([pools], describes(community), self.config))

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
            "attributes": Attributes(),
            "popular": Popular(),
        }
        return {name: maker for name, maker in experts.items() if name not in config.leave_out}

    def score(self, users_N: np.ndarray) -> np.ndarray:
        scores_NI = np.zeros((len(users_N), len(self.is_cold_I)), np.float32)
        for rows, parts in self._parts(self.is_new_U[users_N]):
            for expert, weights_I in parts:
                scores_NI[rows] += expert.scores(users_N[rows]) * weights_I
        return scores_NI

    def times(self, vectors_ID: np.ndarray) -> np.ndarray:
        """All users' scores, as a matrix, times vectors of images: float32 (U, D)."""
        product_UD = np.zeros((len(self.is_new_U), vectors_ID.shape[1]), np.float32)
        for rows, parts in self._parts(self.is_new_U):
            for expert, weights_I in parts:
                product_UD[rows] += expert.asked_about(rows).times(weights_I[:, None] * vectors_ID)
        return product_UD

    def times_transposed(self, vectors_UD: np.ndarray) -> np.ndarray:
        """The transposed scores times vectors of users: float32 (I, D)."""
        product_ID = np.zeros((len(self.is_cold_I), vectors_UD.shape[1]), np.float32)
        for rows, parts in self._parts(self.is_new_U):
            for expert, weights_I in parts:
                product_ID += weights_I[:, None] * expert.asked_about(rows).times_transposed(vectors_UD[rows])
        return product_ID

    def _parts(self, is_new_N: np.ndarray) -> Iterator[tuple[Any, list[tuple[Expert, np.ndarray]]]]:
        """Rows of users with one mixture, and its experts, each with what its scores are multiplied with, (I,)."""
        for mixture, is_theirs_N in zip(self.mixtures, (~is_new_N, is_new_N), strict=False):
            if not is_theirs_N.any():
                continue
            parts = []
            for expert, warm, cold in zip(self.experts, mixture.warm_E, mixture.cold_E, strict=True):
                weights_I = np.where(self.is_cold_I, cold * mixture.cold_item_scale, warm).astype(np.float32)
                if weights_I.any():
                    parts.append((expert, weights_I))
            yield slice(None) if is_theirs_N.all() else np.flatnonzero(is_theirs_N), parts

    @property
    def vectors(self) -> Vectors | None:
        if not self.config.dimensions:
            return None
        (expert,) = self.experts
        return vectors_of(np.asarray(expert.users_UR), np.asarray(expert.images_RI).T)

    def state(self) -> dict[str, np.ndarray]:
        state = {
            "names": np.frombuffer("\n".join(self.names).encode(), np.uint8),
            "warm": np.stack([mixture.warm_E for mixture in self.mixtures]),
            "cold": np.stack([mixture.cold_E for mixture in self.mixtures]),
            "newness": np.array([mixture.cold_item_scale for mixture in self.mixtures]),
            "is_cold": self.is_cold_I,
            "is_new": self.is_new_U,
        }
        for name, expert in zip(self.names, self.experts, strict=True):
            for number, part in enumerate(expert.products):
                state |= _pack(f"{name}.{number}.users", part.users_UR) | _pack(
                    f"{name}.{number}.images", part.images_RI
                )
        return state

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.names = state["names"].tobytes().decode().split("\n") if state["names"].size else []
        weights = (state["warm"], state["cold"], state["newness"].tolist())
        self.mixtures = [EnsembleWeights(*mixture) for mixture in zip(*weights, strict=True)]
        self.is_cold_I, self.is_new_U = state["is_cold"], state["is_new"]
        self.experts = [_restored(name, state) for name in self.names]


@dataclass(frozen=True)
class _NamedWeights:
    """The mixture for users with favorites or for those without, by the names of the experts it was learned of."""

    weights: dict[str, tuple[float, float]]  # on images with favorites, on images without
    cold_item_scale: float

    @classmethod
    def told(cls, names: list[str], mixture: EnsembleWeights) -> "_NamedWeights":
        pairs = zip(mixture.warm_E.tolist(), mixture.cold_E.tolist(), strict=True)
        return cls(dict(zip(names, pairs, strict=True)), mixture.cold_item_scale)

    def of(self, names: list[str]) -> EnsembleWeights:
        """Of these experts; others have no weight."""
        weights_E2 = np.array([self.weights.get(name, (0.0, 0.0)) for name in names]).reshape(-1, 2)
        return EnsembleWeights(weights_E2[:, 0], weights_E2[:, 1], self.cold_item_scale)


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
