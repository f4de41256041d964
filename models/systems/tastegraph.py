"""TasteGraph's own recommender: a weighted linear ensemble of experts, its weights learned on held-out favorites.

U users, I images, N users to score, E experts, D vectors.

Each expert scores by the product of a matrix of users and one of images, so their weighted sum does too. The experts
are fitted first without some favorites of each user (the latest, where there are times) and without all favorites of
some images, to learn weights for warm and for cold images, several times where users are few; again without all
favorites of some users, to learn weights for cold users; then, those with a weight above 0, on all favorites.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import issparse

from models.community import Community
from models.ensemble.experts.base import MAPPED_SHARE, Bounded, Expert, Matrix, mapped
from models.ensemble.experts.factors import CodedFactors, Factors
from models.ensemble.experts.graph import Contacts, Groups, Neighbors, Owners, Popular, Tags
from models.ensemble.experts.linear import Attributes, Content, Ridge, Sequence
from models.ensemble.experts.towers import Towers
from models.ensemble.low_rank import singular_vectors
from models.ensemble.side_by_side import side_by_side
from models.ensemble.weights import (
    EnsembleWeights,
    build_pools,
    has_content,
    hold_out_favorites,
    hold_out_users,
    learn_weights,
    num_holdouts,
)
from models.progress import told
from models.settings.collaborative_dl import CollaborativeDLConfig
from models.settings.tastegraph import TasteGraphConfig
from models.sparse import has_entries
from models.systems.base import System, Vectors, pack_sparse, unpack_sparse, vectors_of
from models.systems.collaborative_dl import CollaborativeDL

log = logging.getLogger("tastegraph")

COLD_USER_ONLY = ("attributes", "popular")  # experts for cold users alone
FOR_COLD_USERS = (*COLD_USER_ONLY, "tags", "contacts", "groups", "owners")  # experts that need no favorite of the user
SIGNALS = {  # what an expert's scores are owed to; the favorites, for all that are not named here
    "content": "content",
    "tags": "tags",
    "contacts": "contacts",
    "groups": "groups",
    "owners": "owners",
    "attributes": "profile",
    "popular": "popularity",
}
LONG_SECONDS = 5.0  # of a part of the fit that is worth a line
COLUMNS = 64  # of vectors that a matrix of scores is multiplied with at a time: few enough for several cores
COMPRESSION_ITERATIONS = 1  # three leave as many of the exact lists' images in place (docs/log.md)
SCALE_SAMPLE = 2048  # images on which the spread of an expert's scores for a user is measured


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What a level of effort spends: experts to leave out, and how long the iterative ones go on."""

    leave_out: tuple[str, ...] = ()
    exact_rows: int = 3000  # rows up to which the ridge experts are solved exactly
    factor_rounds: int = 8
    tower_steps: int = 100
    weighings: int = 3  # hold-outs to learn weights on, at most


EFFORTS = {
    "low": Effort(
        leave_out=(
            *("towers", "deep_coded_factors", "confident_coded_factors"),
            *("shrunk_social_factors", "confident_social_factors"),
        ),
        weighings=1,
    ),
    "normal": Effort(leave_out=("deep_coded_factors",)),
    "high": Effort(exact_rows=12_000, factor_rounds=12, tower_steps=300),
}


class TasteGraph(System[TasteGraphConfig]):
    """A weighted linear ensemble, with one set of weights for users with favorites and one for cold users."""

    name = "tastegraph"
    source = "ours; docs/systems.md says what each part is taken from"
    wants = ("features",)
    explains = True
    grid = {"weighed_on": ("lists", "mixtures"), "factor_strength": (25.0, 50.0)}
    Config = TasteGraphConfig

    def fit(self, community: Community) -> None:
        is_cold_U = ~has_entries(community.favorites_UI)
        learned = [self._learn_weights(community)]
        if is_cold_U.any() and not is_cold_U.all():  # else no user has a favorite to learn weights for cold users on
            learned.append(self._learn_cold_user_weights(community))
        self._fit_weighted(community, learned)

    def refit(self, community: Community, measured: "TasteGraph") -> None:
        """Learn from more favorites, with the weights that `measured` learned: only experts with weight are fitted."""
        self._fit_weighted(community, measured.learned)

    def _fit_weighted(self, community: Community, learned: "list[_NamedWeights]") -> None:
        """Fit the experts that have weight on all favorites."""
        self.learned = learned
        self.is_cold_I = community.popularity_I == 0
        self.is_cold_U = ~has_entries(community.favorites_UI)
        if len(learned) == 1:
            self.is_cold_U[:] = False  # there are no weights of their own for cold users
        used = {name for named in learned for name, (warm, cold) in named.weights.items() if warm > 0 or cold > 0}
        fitted = self._fit_all({name: maker for name, maker in self.unfitted().items() if name in used}, community)
        self.names, self.experts = list(fitted), list(fitted.values())
        self.weights = [named.in_order(self.names) for named in learned]
        self.users_by_signal: dict[str, np.ndarray] = {}
        if self.config.dimensions:
            compressed, self.users_by_signal = _compress(self, community.num_users)
            self.experts, self.names = [compressed], ["compressed"]
            self.weights = [EnsembleWeights(np.ones(1), np.ones(1), 1.0)] * len(learned)

    def _learn_weights(self, community: Community) -> "_NamedWeights":
        """Weights for users with favorites, learned on all hold-outs together."""
        config, pools, names = self.config, [], []
        unfitted = {name: expert for name, expert in self.unfitted().items() if name not in COLD_USER_ONLY}
        for number in range(min(num_holdouts(community, config), EFFORTS[config.effort].weighings)):
            seed = self.seed * config.weighings + number
            training, heldout_UI, is_cold_I = hold_out_favorites(community, config, seed)
            fitted = self._fit_all(unfitted, training)
            pools.append(build_pools(list(fitted.values()), training, heldout_UI, is_cold_I, config, seed))
            names.append(list(fitted))
        common = [name for name in names[0] if all(name in of_holdout for of_holdout in names)]
        aligned = [  # not copied where the experts are the common ones: scores of many users are large
            pool if of_pool == common else pool.for_experts([of_pool.index(name) for name in common])
            for pool, of_pool in zip(pools, names, strict=True)
        ]
        learned = _NamedWeights.named(common, learn_weights(aligned, has_content(community), config))
        held_out = "a hold-out" if len(pools) == 1 else f"{len(pools)} hold-outs"
        log.info("%-18s weights on %s: %s", "fit-ensemble", held_out, learned)
        return learned

    def _learn_cold_user_weights(self, community: Community) -> "_NamedWeights":
        """Weights for users without favorites, learned on users all of whose favorites are held out."""
        unfitted = {name: expert for name, expert in self.unfitted().items() if name in FOR_COLD_USERS}
        training, heldout_UI, is_cold_I = hold_out_users(community, self.config, self.seed)
        fitted = self._fit_all(unfitted, training)
        pools = build_pools(list(fitted.values()), training, heldout_UI, is_cold_I, self.config, self.seed)
        return _NamedWeights.named(list(fitted), learn_weights([pools], has_content(community), self.config))

    def _fit_all(self, unfitted: dict[str, Any], community: Community) -> dict[str, Expert]:
        """The experts that the community's signals allow, each user's scores scaled to a common spread."""

        def fit(item: tuple[str, Any]) -> tuple[str, Expert | None]:
            name, maker = item
            with _told_if_long(name):
                expert: Expert | None = maker.fit(community, self.seed)
                scaled = expert and _scaled(expert, community, self.seed).mapped(self.config.max_floats // MAPPED_SHARE)
            return name, scaled

        # Last in the list are the slow ones: they begin, and the others fill what is left.
        num_floats = (community.num_users + community.num_images) * self.config.factor_dimensions
        workers = max(1, self.config.max_floats // max(1, num_floats))
        found = dict(side_by_side(fit, list(reversed(unfitted.items())), "experts", workers))
        return {name: expert for name in unfitted if (expert := found[name])}

    def unfitted(self) -> dict[str, Any]:
        """The experts that are not left out, by name, with their settings; each has a method `fit`."""
        config, effort = self.config, EFFORTS[self.config.effort]
        shrunk = Factors(
            dimensions=config.factor_dimensions,
            strength=config.factor_strength,
            rounds=effort.factor_rounds,
            max_floats=config.max_floats,
        )
        confident = replace(shrunk, confidence=100.0, strength=8 * config.factor_strength, activity=0.25)
        ridge = Ridge(strength=config.ridge_strength, exact_rows=effort.exact_rows)
        experts = {
            "neighbors": Neighbors(),
            "niche_neighbors": Neighbors(popular=0.5),
            "ridge": replace(ridge, tags=0.0),
            "tagged_ridge": ridge,
            "shrunk_factors": shrunk,
            "shrunk_social_factors": replace(shrunk, contacts=0.3),
            "shrunk_tagged_factors": replace(shrunk, tags=1.0),
            "confident_factors": confident,
            "confident_social_factors": replace(confident, contacts=0.3),
            "confident_tagged_factors": replace(confident, tags=1.0),
            "coded_factors": CodedFactors(factors=shrunk),
            "confident_coded_factors": CodedFactors(factors=confident),
            "deep_coded_factors": DeepCodedFactors(config.coded_dimensions),
            "towers": Towers(dimensions=config.tower_dimensions, steps=config.tower_steps or effort.tower_steps),
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
        return {
            name: replace(expert, max_floats=config.max_floats) if isinstance(expert, Bounded) else expert
            for name, expert in experts.items()
            if name not in (*config.leave_out, *effort.leave_out)
        }

    def score(self, users_N: np.ndarray) -> np.ndarray:
        scores_NI = np.zeros((len(users_N), len(self.is_cold_I)), np.float32)
        for rows, weighted in self._weighted_experts(self.is_cold_U[users_N]):
            for _, expert, weights_I in weighted:
                scores_NI[rows] += expert.scores(users_N[rows]) * weights_I
        return scores_NI

    def times(self, vectors_ID: np.ndarray, signal: str | None = None) -> np.ndarray:
        """float32 (U, D): the matrix of all scores, or of what one signal adds to them, times vectors of images."""
        product_UD = np.zeros((len(self.is_cold_U), vectors_ID.shape[1]), np.float32)
        for rows, weighted in self._weighted_experts(self.is_cold_U):
            for name, expert, weights_I in weighted:
                if signal and SIGNALS.get(name, "favorites") != signal:
                    continue
                of_rows = expert.for_users(rows)

                def add(part: slice, of_rows: Expert = of_rows, rows: Any = rows, weights_I: Any = weights_I) -> None:
                    product_UD[rows, part] += of_rows.times(weights_I[:, None] * vectors_ID[:, part])

                side_by_side(add, self._columns(vectors_ID), "columns")
        return product_UD

    def times_transposed(self, vectors_UD: np.ndarray) -> np.ndarray:
        """float32 (I, D): the transposed matrix of all scores times vectors of users."""
        product_ID = np.zeros((len(self.is_cold_I), vectors_UD.shape[1]), np.float32)
        for rows, weighted in self._weighted_experts(self.is_cold_U):
            for _, expert, weights_I in weighted:
                of_rows = expert.for_users(rows)

                def add(part: slice, of_rows: Expert = of_rows, rows: Any = rows, weights_I: Any = weights_I) -> None:
                    product_ID[:, part] += weights_I[:, None] * of_rows.times_transposed(vectors_UD[rows, part])

                side_by_side(add, self._columns(product_ID), "columns")
        return product_ID

    def _columns(self, matrix_XD: np.ndarray) -> list[slice]:
        """Columns to multiply at a time: what is computed on the way is small against `max_floats`."""
        bound = self.config.max_floats // MAPPED_SHARE // max(1, len(self.is_cold_I), len(self.is_cold_U))
        width = max(1, min(bound, COLUMNS))
        return [slice(first, first + width) for first in range(0, matrix_XD.shape[1], width)]

    def _weighted_experts(self, is_cold_N: np.ndarray) -> Iterator[tuple[Any, list[tuple[str, Expert, np.ndarray]]]]:
        """Rows of users that share weights, and each expert by name with its weight on every image, float32 (I,)."""
        for weights, is_member_N in zip(self.weights, (~is_cold_N, is_cold_N), strict=False):
            if not is_member_N.any():
                continue
            weighted = []
            for name, expert, warm, cold in zip(self.names, self.experts, weights.warm_E, weights.cold_E, strict=True):
                weights_I = np.where(self.is_cold_I, cold * weights.cold_item_scale, warm).astype(np.float32)
                if weights_I.any():
                    weighted.append((name, expert, weights_I))
            yield slice(None) if is_member_N.all() else np.flatnonzero(is_member_N), weighted

    @property
    def vectors(self) -> Vectors | None:
        if not self.config.dimensions:
            return None
        (expert,) = self.experts
        return vectors_of(np.asarray(expert.users_UR), np.asarray(expert.images_RI).T)

    def state(self) -> dict[str, np.ndarray]:
        state = {
            "names": _pack_names(self.names),
            "warm": np.stack([weights.warm_E for weights in self.weights]),
            "cold": np.stack([weights.cold_E for weights in self.weights]),
            "newness": np.array([weights.cold_item_scale for weights in self.weights]),
            **{
                f"learned.{number}.{key}": part
                for number, named in enumerate(self.learned)
                for key, part in named.state().items()
            },
            "is_cold": self.is_cold_I,
            "is_new": self.is_cold_U,
            **{f"signal.{name}": users_UD for name, users_UD in self.users_by_signal.items()},
        }
        for name, expert in zip(self.names, self.experts, strict=True):
            for number, part in enumerate(expert.products):
                state |= _pack(f"{name}.{number}.users", part.users_UR) | _pack(
                    f"{name}.{number}.images", part.images_RI
                )
        return state

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.names = _unpack_names(state["names"])
        parts = (state["warm"], state["cold"], state["newness"].tolist())
        self.weights = [EnsembleWeights(*of_users) for of_users in zip(*parts, strict=True)]
        self.is_cold_I, self.is_cold_U = state["is_cold"], state["is_new"]
        self.learned = [_NamedWeights.restored(state, f"learned.{number}") for number in range(len(self.weights))]
        self.experts = [_restore_expert(name, state) for name in self.names]
        self.users_by_signal = {
            key.removeprefix("signal."): part for key, part in state.items() if key.startswith("signal.")
        }


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

    def __str__(self) -> str:
        """The experts with weight on images with favorites, the largest first."""
        warm = sorted(((pair[0], name) for name, pair in self.weights.items() if pair[0] > 0), reverse=True)
        return ", ".join(f"{name} {weight:g}" for weight, name in warm)

    def state(self) -> dict[str, np.ndarray]:
        """As arrays, by name."""
        names, weights_E2 = list(self.weights), np.array(list(self.weights.values()), np.float64).reshape(-1, 2)
        return {"names": _pack_names(names), "weights": weights_E2, "scale": np.array([self.cold_item_scale])}

    @classmethod
    def restored(cls, state: dict[str, np.ndarray], prefix: str) -> "_NamedWeights":
        """The weights from their arrays in a state."""
        names, weights_E2 = _unpack_names(state[f"{prefix}.names"]), state[f"{prefix}.weights"]
        pairs = ((warm, cold) for warm, cold in weights_E2.tolist())
        return cls(dict(zip(names, pairs, strict=True)), float(state[f"{prefix}.scale"][0]))

    def in_order(self, names: list[str]) -> EnsembleWeights:
        """The weights of these experts; 0 for one that has none."""
        weights_E2 = np.array([self.weights.get(name, (0.0, 0.0)) for name in names]).reshape(-1, 2)
        return EnsembleWeights(weights_E2[:, 0], weights_E2[:, 1], self.cold_item_scale)


@dataclass(frozen=True)
class DeepCodedFactors:
    """Collaborative deep learning as an expert: as `coded_factors`, with a code that an autoencoder makes."""

    dimensions: int

    def fit(self, community: Community, seed: int) -> Expert | None:
        """The expert; None where no user has a favorite, or images have neither tags nor titles nor features."""
        has_content = any(community.has(signal) for signal in ("tags", "titles", "features"))
        if not community.favorites_UI.nnz or not has_content:
            return None
        system = CollaborativeDL(CollaborativeDLConfig(K=self.dimensions), seed)
        system.fit(community)
        return Expert(system.vectors.users_Ud, np.ascontiguousarray(system.vectors.images_Id.T))


@contextmanager
def _told_if_long(what: str) -> Iterator[None]:
    """The log says how long it took, where that was long."""
    start = time.perf_counter()
    yield
    if (seconds := time.perf_counter() - start) >= LONG_SECONDS:
        log.info("%-18s %s in %.0f s", "fit-ensemble", what, seconds)


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


def _compress(system: TasteGraph, num_users: int) -> tuple[Expert, dict[str, np.ndarray]]:
    """The best approximation of the ensemble by one inner product, and what each signal adds to the users' vectors.

    The images' vectors are the leading right singular vectors, by randomised iteration; the users' are their scores'
    projection on these, a sum over experts. What signals add is float16, large matrices of it in temporary files.
    """
    shape, max_floats = (num_users, len(system.is_cold_I)), system.config.max_floats
    dimensions = Bounded(max_floats=max_floats).within(system.config.dimensions, *shape)
    with _told_if_long(f"{dimensions} singular vectors"):
        found = singular_vectors(
            system.times, system.times_transposed, shape, dimensions, system.seed, COMPRESSION_ITERATIONS
        )
    images_DI = np.ascontiguousarray(found.right_CD.T, np.float32)
    users_UD, by_signal = np.zeros((num_users, len(images_DI)), np.float32), {}
    signals = sorted({SIGNALS.get(name, "favorites") for name in system.names})
    for signal in told(signals, len(signals), "signals"):
        added_UD = system.times(found.right_CD, signal)
        users_UD += added_UD
        by_signal[signal] = mapped(added_UD.astype(np.float16), max_floats // MAPPED_SHARE)
    return Expert(users_UD, images_DI), by_signal


def _restore_expert(name: str, state: dict[str, np.ndarray], number: int = 0) -> Expert:
    """The expert from its products with this number and above."""
    users, images = f"{name}.{number}.users", f"{name}.{number}.images"
    has_more = any(key.startswith(f"{name}.{number + 1}.") for key in state)
    addend = _restore_expert(name, state, number + 1) if has_more else None
    return Expert(_unpack(users, state), _unpack(images, state), addend)


def _pack_names(names: list[str]) -> np.ndarray:
    return np.frombuffer("\n".join(names).encode(), np.uint8)


def _unpack_names(packed: np.ndarray) -> list[str]:
    return packed.tobytes().decode().split("\n") if packed.size else []


def _pack(name: str, matrix: Matrix) -> dict[str, np.ndarray]:
    return pack_sparse(name, matrix) if issparse(matrix) else {name: np.asarray(matrix)}


def _unpack(name: str, state: dict[str, np.ndarray]) -> Matrix:
    return state[name] if name in state else unpack_sparse(name, state)
