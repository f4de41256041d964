"""Baselines that every system must beat: random, popularity, and images with the user's tags.

U users, I images, T tags, N users to score.
"""

import numpy as np
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfTransformer

from models.community import Community
from models.evaluation import protocols
from models.settings.floor import FloorConfig
from models.systems.base import InnerProduct, System, pack_sparse, unpack_sparse, vectors_of


class Random(InnerProduct[FloorConfig]):
    """Random vectors."""

    name = "random"
    source = "a floor: no learning"
    Config = FloorConfig

    def fit(self, community: Community) -> None:
        self.fitted = vectors_of(*protocols.random_vectors(community.num_users, community.num_images, self.seed))


class Popularity(InnerProduct[FloorConfig]):
    """The number of training favorites, the same for every user."""

    name = "popularity"
    source = "a floor: no personalisation"
    Config = FloorConfig

    def fit(self, community: Community) -> None:
        users_U1 = np.ones((community.num_users, 1), np.float32)
        self.fitted = vectors_of(users_U1, community.popularity_I[:, None])


class TagProfile(System[FloorConfig]):
    """The cosine of a user's tags, and those of the user's favorites, with an image's tags, weighted by tf-idf.

    A user or image without tags scores 0.
    """

    name = "tag_profile"
    source = "Salton and Buckley: Term-weighting approaches in automatic text retrieval, IPM 1988"
    needs = ("tags",)
    Config = FloorConfig

    users_UT: csr_array  # float32, rows of norm 1
    images_IT: csr_array

    def fit(self, community: Community) -> None:
        image_tags_IT = community.image_tags_IT.astype(bool).astype(np.float64)
        used_UT = community.favorites_UI @ image_tags_IT + community.user_tags_UT
        weights = TfidfTransformer(sublinear_tf=True).fit(image_tags_IT)
        self.users_UT, self.images_IT = (
            csr_array(weights.transform(counts) if counts.nnz else counts, dtype=np.float32)
            for counts in (used_UT, image_tags_IT)
        )

    def score(self, users_N: np.ndarray) -> np.ndarray:
        return np.asarray((self.users_UT[users_N] @ self.images_IT.T).toarray(), np.float32)

    def state(self) -> dict[str, np.ndarray]:
        return pack_sparse("users_UT", self.users_UT) | pack_sparse("images_IT", self.images_IT)

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.users_UT, self.images_IT = (unpack_sparse(name, state) for name in ("users_UT", "images_IT"))
