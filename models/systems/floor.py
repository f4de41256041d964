"""What every system must beat: chance, and what everybody likes."""

from dataclasses import dataclass

import numpy as np

from models import protocols
from models.community import Community
from models.systems.base import InnerProduct, vectors_of


@dataclass(frozen=True, kw_only=True)
class FloorConfig:
    """Nothing to set."""


class Random(InnerProduct[FloorConfig]):
    """Vectors drawn at random."""

    name = "random"
    source = "a floor: no learning"
    Config = FloorConfig

    def fit(self, community: Community) -> None:
        self.fitted = vectors_of(*protocols.random_vectors(community.num_users, community.num_images, self.seed))


class Popularity(InnerProduct[FloorConfig]):
    """The number of training favorites, the same for everybody."""

    name = "popularity"
    source = "a floor: no personalisation"
    Config = FloorConfig

    def fit(self, community: Community) -> None:
        users_U1 = np.ones((community.num_users, 1), np.float32)
        self.fitted = vectors_of(users_U1, community.popularity_I[:, None])
