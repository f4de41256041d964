"""TasteGraph's own recommender: a weighted linear ensemble of experts, its weights learned on held-out favorites.

U users, I images, N users to score, E experts, D vectors.

Each expert scores by the product of a matrix of users and one of images, so their weighted sum does too. The experts
are fitted first without some favorites of each user (the latest, where there are times) and without all favorites of
some images, to learn weights for warm and for cold images, several times where users are few; again without all
favorites of some users, to learn weights for cold users; then, those with a weight above 0, on all favorites.
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
    build_pools,
    has_content,
    hold_out_favorites,
    hold_out_users,
    learn_weights,
    num_holdouts,
)
from models.sparse import has_entries
from models.systems.base import System, Vectors, pack_sparse, unpack_sparse, vectors_of
from models.systems.collaborative_dl import CollaborativeDL, CollaborativeDLConfig

COLD_USER_ONLY = ("attributes", "popular")  # experts for cold users alone
FOR_COLD_USERS = (*COLD_USER_ONLY, "tags", "contacts", "groups", "owners")  # experts that need no favorite of the user
SCALE_SAMPLE = 2048  # images on which the spread of an expert's scores for a user is measured


@dataclass(frozen=True, kw_only=True)
class TasteGraphConfig(WeightsConfig):
    """Settings of the experts; the first ones say how their weights are learned."""

    leave_out: tuple[str, ...] = ()  # experts to leave out, for ablations; docs/systems.md names them
    ridge_strength: float = 150.0  # λ of the ridge experts, in units of the mean squared entry
    factor_dimensions: int = 128  # of one factorisation
    factor_strength: float = 10.0  # λ of the factorisations
    factor_models: int = 8  # factorisations whose scores are added
    shrunk_strength: float = 50.0  # λ of the shrunk factorisations, which keep only the strongest dimensions
    coded_dimensions: int = 100  # of the factors that are pulled to a code of an image's features, tags and title
    tower_dimensions: int = 64  # of the two towers
    tower_steps: int = 300  # of the towers' training
    dimensions: int = 0  # 0: the exact ensemble; else its best approximation by an inner product of so many dimensions


class TasteGraph(System[TasteGraphConfig]):
    """A weighted linear ensemble, with one set of weights for users with favorites and one for cold users."""

    name = "tastegraph"
    source = "ours; docs/systems.md says what each part is taken from"
    wants = ("features",)
    grid = {"weighed_on": ("lists", "mixtures"), "factor_strength": (5.0, 10.0)}
    Config = TasteGraphConfig

    def fit(self, community: Community) -> None:
        unfitted = self._unfitted(self.config.factor_models)
        self.is_cold_I = community.popularity_I == 0
        learned = [self._learn_weights(community)]
        self.is_cold_U = ~has_entries(community.favorites_UI)
        if self.is_cold_U.all():
            self.is_cold_U[:] = False  # no user has a favorite to learn weights for cold users on
        if self.is_cold_U.any():
            learned.append(self._learn_cold_user_weights(community))
        used = {name for named in learned for name, (warm, cold) in named.weights.items() if warm > 0 or cold > 0}
        self.names = [name for name in unfitted if name in used]
        self.experts = list(_fit_all({name: unfitted[name] for name in self.names}, community, self.seed).values())
        self.weights = [named.in_order(self.names) for named in learned]
        if self.config.dimensions:
            self.experts = [_compress(self, community.num_users, self.config.dimensions)]
            self.names = ["compressed"]
            self.weights = [EnsembleWeights(np.ones(1), np.ones(1), 1.0)] * len(learned)

    def _learn_weights(self, community: Community) -> "_NamedWeights":
        """Weights for users with favorites, learned on all hold-outs together."""
        config, pools, names = self.config, [], []
        unfitted = {name: expert for name, expert in self._unfitted(1).items() if name not in COLD_USER_ONLY}
        for number in range(num_holdouts(community, config)):
            seed = self.seed * config.weighings + number
            training, heldout_UI, is_cold_I = hold_out_favorites(community, config, seed)
            fitted = _fit_all(unfitted, training, self.seed)
            pools.append(build_pools(list(fitted.values()), training, heldout_UI, is_cold_I, config, seed))
            names.append(list(fitted))
        common = [name for name in names[0] if all(name in of_holdout for of_holdout in names)]
        aligned = [  # not copied where the experts are the common ones: scores of many users are large
            pool if of_pool == common else pool.for_experts([of_pool.index(name) for name in common])
            for pool, of_pool in zip(pools, names, strict=True)
        ]
        return _NamedWeights.named(common, learn_weights(aligned, has_content(community), config))

    def _learn_cold_user_weights(self, community: Community) -> "_NamedWeights":
        """Weights for users without favorites, learned on users all of whose favorites are held out."""
        unfitted = {name: expert for name, expert in self._unfitted(1).items() if name in FOR_COLD_USERS}
        training, heldout_UI, is_cold_I = hold_out_users(community, self.config, self.seed)
        fitted = _fit_all(unfitted, training, self.seed)
        pools = build_pools(list(fitted.values()), training, heldout_UI, is_cold_I, self.config, self.seed)
        return _NamedWeights.named(list(fitted), learn_weights([pools], has_content(community), self.config))

    def _unfitted(self, factor_models: int) -> dict[str, Any]:
        """The experts that are not left out, by name, with their settings; each has a method `fit`."""
        config = self.config
        factors = Factors(dimensions=config.factor_dimensions, strength=config.factor_strength, models=factor_models)
        shrunk = replace(factors, strength=config.shrunk_strength, models=1)  # hardly depends on the seed
        confident = replace(shrunk, confidence=100.0, strength=400.0, activity=0.25)
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
            "confident_factors": confident,
            "confident_social_factors": replace(confident, contacts=0.3),
            "confident_tagged_factors": replace(confident, tags=1.0),
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
        return {name: expert for name, expert in experts.items() if name not in config.leave_out}

    def score(self, users_N: np.ndarray) -> np.ndarray:
        scores_NI = np.zeros((len(users_N), len(self.is_cold_I)), np.float32)
        for rows, weighted in self._weighted_experts(self.is_cold_U[users_N]):
            for expert, weights_I in weighted:
                scores_NI[rows] += expert.scores(users_N[rows]) * weights_I
        return scores_NI

    def times(self, vectors_ID: np.ndarray) -> np.ndarray:
        """float32 (U, D): the matrix of all scores times vectors of images."""
        product_UD = np.zeros((len(self.is_cold_U), vectors_ID.shape[1]), np.float32)
        for rows, weighted in self._weighted_experts(self.is_cold_U):
            for expert, weights_I in weighted:
                product_UD[rows] += expert.for_users(rows).times(weights_I[:, None] * vectors_ID)
        return product_UD

    def times_transposed(self, vectors_UD: np.ndarray) -> np.ndarray:
        """float32 (I, D): the transposed matrix of all scores times vectors of users."""
        product_ID = np.zeros((len(self.is_cold_I), vectors_UD.shape[1]), np.float32)
        for rows, weighted in self._weighted_experts(self.is_cold_U):
            for expert, weights_I in weighted:
                product_ID += weights_I[:, None] * expert.for_users(rows).times_transposed(vectors_UD[rows])
        return product_ID

    def _weighted_experts(self, is_cold_N: np.ndarray) -> Iterator[tuple[Any, list[tuple[Expert, np.ndarray]]]]:
        """Rows of the users that share weights, and each expert with its weight on every image, float32 (I,)."""
        for weights, is_member_N in zip(self.weights, (~is_cold_N, is_cold_N), strict=False):
            if not is_member_N.any():
                continue
            weighted = []
            for expert, warm, cold in zip(self.experts, weights.warm_E, weights.cold_E, strict=True):
                weights_I = np.where(self.is_cold_I, cold * weights.cold_item_scale, warm).astype(np.float32)
                if weights_I.any():
                    weighted.append((expert, weights_I))
            yield slice(None) if is_member_N.all() else np.flatnonzero(is_member_N), weighted

    @property
    def vectors(self) -> Vectors | None:
        if not self.config.dimensions:
            return None
        (expert,) = self.experts
        return vectors_of(np.asarray(expert.users_UR), np.asarray(expert.images_RI).T)

    def state(self) -> dict[str, np.ndarray]:
        state = {
            "names": np.frombuffer("\n".join(self.names).encode(), np.uint8),
            "warm": np.stack([weights.warm_E for weights in self.weights]),
            "cold": np.stack([weights.cold_E for weights in self.weights]),
            "newness": np.array([weights.cold_item_scale for weights in self.weights]),
            "is_cold": self.is_cold_I,
            "is_new": self.is_cold_U,
        }
        for name, expert in zip(self.names, self.experts, strict=True):
            for number, part in enumerate(expert.products):
                state |= _pack(f"{name}.{number}.users", part.users_UR) | _pack(
                    f"{name}.{number}.images", part.images_RI
                )
        return state

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.names = state["names"].tobytes().decode().split("\n") if state["names"].size else []
        parts = (state["warm"], state["cold"], state["newness"].tolist())
        self.weights = [EnsembleWeights(*of_users) for of_users in zip(*parts, strict=True)]
        self.is_cold_I, self.is_cold_U = state["is_cold"], state["is_new"]
        self.experts = [_restore_expert(name, state) for name in self.names]


@dataclass(frozen=True)
class _NamedWeights:
    """Ensemble weights by the name of the expert."""

    weights: dict[str, tuple[float, float]]  # on images with favorites, on images without
    cold_item_scale: float

    @classmethod
    def named(cls, names: list[str], weights: EnsembleWeights) -> "_NamedWeights":
        """The weights of experts with these names."""
        pairs = zip(weights.warm_E.tolist(), weights.cold_E.tolist(), strict=True)
        return cls(dict(zip(names, pairs, strict=True)), weights.cold_item_scale)

    def in_order(self, names: list[str]) -> EnsembleWeights:
        """The weights of these experts; 0 for one that has none."""
        weights_E2 = np.array([self.weights.get(name, (0.0, 0.0)) for name in names]).reshape(-1, 2)
        return EnsembleWeights(weights_E2[:, 0], weights_E2[:, 1], self.cold_item_scale)


@dataclass(frozen=True)
class CodedFactors:
    """Collaborative deep learning as an expert: an image's factors lie near a code of its features, tags and title."""

    dimensions: int

    def fit(self, community: Community, seed: int) -> Expert | None:
        """The expert; None where no user has a favorite, or images have neither tags nor titles nor features."""
        has_content = any(community.has(signal) for signal in ("tags", "titles", "features"))
        if not community.favorites_UI.nnz or not has_content:
            return None
        system = CollaborativeDL(CollaborativeDLConfig(K=self.dimensions), seed)
        system.fit(community)
        return Expert(system.vectors.users_Ud, np.ascontiguousarray(system.vectors.images_Id.T))


def _fit_all(unfitted: dict[str, Any], community: Community, seed: int) -> dict[str, Expert]:
    """The experts that the community's signals allow, each user's scores scaled to a common spread."""
    experts = {}
    for name, maker in unfitted.items():
        expert = maker.fit(community, seed)
        if expert is not None:
            experts[name] = _scaled(expert, community, seed)
    return experts


def _scaled(expert: Expert, community: Community, seed: int) -> Expert:
    """The expert with each user's scores divided by their root mean square over a sample of images."""
    rng = np.random.default_rng(seed)
    sampled = expert.for_images(rng.permutation(community.num_images)[:SCALE_SAMPLE])
    scales_U = np.zeros(community.num_users)
    for first in range(0, community.num_users, 2048):
        users = np.arange(first, min(first + 2048, community.num_users))
        squares_NI = np.square(sampled.scores(users), dtype=np.float64)
        scales_U[users] = np.sqrt(squares_NI.sum(axis=1) / max(1, squares_NI.shape[1]))
    typical = np.median(scales_U[scales_U > 0]) if (scales_U > 0).any() else 1.0
    # Users whose scores in the sample are almost all 0 get a common scale: a tiny one would blow up a single score.
    factors_U = (1 / np.maximum(scales_U, typical / 10)).astype(np.float32)
    return expert.scaled(factors_U)


def _compress(system: TasteGraph, num_users: int, dimensions: int) -> Expert:
    """The best approximation of the ensemble by one inner product: its singular vectors, by randomised iteration."""
    shape = (num_users, len(system.is_cold_I))
    found = singular_vectors(system.times, system.times_transposed, shape, dimensions, system.seed)
    return Expert(
        np.ascontiguousarray(found.left_RD * found.values_D, np.float32),
        np.ascontiguousarray(found.right_CD.T, np.float32),
    )


def _restore_expert(name: str, state: dict[str, np.ndarray], number: int = 0) -> Expert:
    """The expert from its products with this number and above."""
    users, images = f"{name}.{number}.users", f"{name}.{number}.images"
    has_more = any(key.startswith(f"{name}.{number + 1}.") for key in state)
    addend = _restore_expert(name, state, number + 1) if has_more else None
    return Expert(_unpack(users, state), _unpack(images, state), addend)


def _pack(name: str, matrix: Matrix) -> dict[str, np.ndarray]:
    return pack_sparse(name, matrix) if issparse(matrix) else {name: np.asarray(matrix)}


def _unpack(name: str, state: dict[str, np.ndarray]) -> Matrix:
    return state[name] if name in state else unpack_sparse(name, state)
