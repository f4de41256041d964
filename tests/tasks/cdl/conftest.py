"""A community of four users and eight images, as the tables that CDL's stages read: u0 and u1 like the first half."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from models.settings.negatives import NegativeConfig
from models.settings.triplets import TrainingUsersConfig, TripletConfig
from storage import parquet, shards
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import CONTACTS, FAVORITES, IMAGE_TAGS, IMAGES, MEMBERSHIPS, USERS
from storage.tables.tastes import INTERESTS, PROFILES
from tasks.cdl.negatives import assign_negatives
from tasks.cdl.signals import SignalTables
from tasks.cdl.train import TrainingTables
from tasks.cdl.triplets import sample_triplets

USER_IDS, IMAGE_IDS = [f"u{row}" for row in range(4)], [f"i{row}" for row in range(8)]
LIKES = {"u0": ["i0", "i1"], "u1": ["i1", "i2"], "u2": ["i4", "i5"], "u3": ["i5", "i6"]}
WITH_INPUT = [name for name in IMAGE_IDS if name != "i7"]
NUM_CLUSTERS = 2
EVERY_EXCLUSION = NegativeConfig(min_negatives=0)


@dataclass(frozen=True)
class Chain:
    """What the stages read."""

    root: Root
    signals: SignalTables
    profiles: Ref
    inputs: list[Ref]

    def sample(
        self,
        negatives: NegativeConfig = EVERY_EXCLUSION,
        users: TrainingUsersConfig | None = None,
        triplets: TripletConfig | None = None,
    ) -> Ref:
        """The table of triplets, by the stages."""
        return sample_triplets.fn(
            tables=self.signals,
            profiles=self.profiles,
            inputs=self.inputs,
            audit=assign_negatives.fn(self.signals, negatives, self.root),
            negative_config=negatives,
            training_users=users or TrainingUsersConfig(),
            config=triplets or TripletConfig(per_user=5, pool_images=4),
            root=self.root,
        )

    def training_tables(self) -> TrainingTables:
        return TrainingTables(self.sample(), self.profiles, NUM_CLUSTERS, self.inputs)


@pytest.fixture
def chain(tmp_path) -> Chain:
    """u0 follows u2; u1 and u3 are in one group; each half of the images has a tag, which is an interest of nobody."""
    root = Root(str(tmp_path))

    def write(table, **columns):
        return parquet.write(table, pl.DataFrame(columns), root)

    names: dict[str, list[str | None]] = {"users": [None] * 4, "images": [None] * 8}
    favorites = [(user, image) for user, liked in LIKES.items() for image in liked]
    profiles = {"user_id": USER_IDS, "clusters": [[0], [0], [1], [0, 1]], "weights": [[1.0], [1.0], [1.0], [0.6, 0.8]]}
    vectors = np.random.default_rng(0).standard_normal((len(WITH_INPUT), 3)).astype(np.float32)
    vectors[:4, 0], vectors[4:, 0] = 3, -3
    signals = SignalTables(
        users=write(USERS, user_id=USER_IDS, name=names["users"]),
        images=write(
            IMAGES,
            image_id=IMAGE_IDS,
            **dict.fromkeys(("path", "url", "owner_id", "title", "uploaded_at"), names["images"]),
        ),
        training=write(
            FAVORITES,
            user_id=[user for user, _ in favorites],
            image_id=[image for _, image in favorites],
            favorited_at=[None] * len(favorites),
        ),
        interests=write(INTERESTS, user_id=["u3"], tag=["night"], count=[1], lift=[1.0]),
        image_labels=write(IMAGE_TAGS, image_id=["i0", "i3"], tag=["day", "night"]),
        contacts=write(CONTACTS, user_id=["u0"], contact_id=["u2"]),
        memberships=write(MEMBERSHIPS, user_id=["u1", "u3"], group_id=["g", "g"]),
    )
    inputs = [
        shards.write(WITH_INPUT[:4], vectors[:4], "vectors", root),
        shards.write(WITH_INPUT[4:], vectors[4:], "vectors", root),
    ]
    return Chain(root, signals, write(PROFILES, **profiles), inputs)
