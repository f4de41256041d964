"""Visual similarity to the user's favorites, by the cosine of frozen features; nothing is learned.

U users, I images, N users to score, M favorites of these users, f features.
"""

import numpy as np
from scipy.sparse import csr_array

from models.community import Community
from models.settings.visual_similarity import ResNetCosineConfig, VisRankConfig
from models.systems.base import InnerProduct, System, Vectors, pack_sparse, unpack_sparse, vectors_of

GATHERED_CELLS = 2**24  # similarities in memory at a time: 64 MiB


class VisRank(System[VisRankConfig]):
    """Cosine similarity of frozen features to the user's favorites: to the most similar one, or the mean over all."""

    name = "visrank"
    source = "VisRank, the content-based baseline of the visually-aware literature: maximum or mean of cosines"
    needs = ("features",)
    grid = {"similarity": ("max", "mean")}
    Config = VisRankConfig

    unit_If: np.ndarray
    favorites_UI: csr_array  # those with features

    def fit(self, community: Community) -> None:
        self.unit_If, self.favorites_UI = _unit_features(community)

    @property
    def vectors(self) -> Vectors | None:
        if self.config.similarity == "max":
            return None
        return vectors_of(_mean_favorite(self.unit_If, self.favorites_UI), self.unit_If, _has_features(self.unit_If))

    def score(self, users_N: np.ndarray) -> np.ndarray:
        """float32 (N, I); zeros for a user none of whose favorites has features, -inf for images without features."""
        if self.vectors is not None:
            scores_NI = self.vectors.users_Ud[users_N] @ self.vectors.images_Id.T
        else:
            blocks = [self._most_similar(users_N[first : first + 64]) for first in range(0, len(users_N), 64)]
            scores_NI = np.concatenate([np.empty((0, len(self.unit_If)), np.float32), *blocks])
        scores_NI[:, ~_has_features(self.unit_If)] = -np.inf
        return np.asarray(scores_NI, np.float32)

    def _most_similar(self, users_N: np.ndarray) -> np.ndarray:
        favorites_NI = self.favorites_UI[users_N]
        has_favorites_N = np.diff(favorites_NI.indptr) > 0
        first_N, favorites_Mf = favorites_NI.indptr[:-1][has_favorites_N], self.unit_If[favorites_NI.indices]
        scores_NI = np.zeros(favorites_NI.shape, np.float32)
        block_images = max(1, GATHERED_CELLS // max(1, len(favorites_Mf)))
        for first in range(0, len(self.unit_If) if has_favorites_N.any() else 0, block_images):
            block = slice(first, first + block_images)
            similarity_Mn = favorites_Mf @ self.unit_If[block].T
            scores_NI[has_favorites_N, block] = np.maximum.reduceat(similarity_Mn, first_N, axis=0)
        return scores_NI

    def state(self) -> dict[str, np.ndarray]:
        return {"unit_If": self.unit_If, **pack_sparse("favorites_UI", self.favorites_UI)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.unit_If, self.favorites_UI = state["unit_If"], unpack_sparse("favorites_UI", state)


class ResNetCosine(InnerProduct[ResNetCosineConfig]):
    """ "More like this" for all of a user's favorites at once: the mean cosine similarity of frozen features."""

    name = "resnet_cosine"
    source = "seed 002, the example with ResNet50; any frozen network in its place"
    needs = ("features",)
    Config = ResNetCosineConfig

    def fit(self, community: Community) -> None:
        unit_If, favorites_UI = _unit_features(community)
        self.fitted = vectors_of(_mean_favorite(unit_If, favorites_UI), unit_If, _has_features(unit_If))


def _unit_features(community: Community) -> tuple[np.ndarray, csr_array]:
    """float32 (I, f) features of length 1, zeros for images without; (U, I) the favorites with features."""
    assert community.features_If is not None, "`needs` names features"
    norms_I = np.linalg.norm(community.features_If, axis=1, keepdims=True)
    unit_If = (community.features_If / np.where(norms_I > 0, norms_I, 1)).astype(np.float32)
    favorites_UI = csr_array(community.favorites_UI.multiply(norms_I[:, 0] > 0).tocsr())
    favorites_UI.eliminate_zeros()
    return unit_If, favorites_UI


def _mean_favorite(unit_If: np.ndarray, favorites_UI: csr_array) -> np.ndarray:
    counts_U = np.diff(favorites_UI.indptr)
    return np.asarray((favorites_UI @ unit_If) / np.maximum(counts_U, 1)[:, None])


def _has_features(features_If: np.ndarray) -> np.ndarray:
    return np.asarray(features_If.any(axis=1))
