"""The CDL family: one method (`models.cdl`) with three objectives, fitted in one go on a community in memory.

The nightly run calls the same code stage by stage (`tasks.cdl`), with tables and checkpoints between the steps.

U users, I images, C clusters, f features, d dimensions.
"""

from dataclasses import replace
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from sklearn.utils.extmath import randomized_svd

from models import bpr
from models.cdl import negatives, training, triplets
from models.cdl.inputs import choose, unit_vectors
from models.cdl.network import CDL, image_vectors, user_vectors
from models.cdl.training import TrainingData
from models.cdl.triplets import Triplets
from models.community import Community
from models.devices import choose_device
from models.gather import Gather
from models.settings.cdl import CDLSettings, ComparedSettings
from models.settings.inputs import InputConfig, InputKind
from models.systems.base import InnerProduct, Vectors, vectors_of

SINGULAR_VECTORS = 64  # dimensions of an image of which only favorites are known
TOWERS_GRID = {
    "inputs.sees": ("pixels", "features"),
    "training.learning_rate": (0.0005, 0.001, 0.002),
    "triplets.per_user": (20, 60),
    "training.epochs": (10, 20, 40, 80),
}
BLOCK_IMAGES, BLOCK_USERS = 1024, 16_384  # inputs in memory at a time once training is over
BATCH_IMAGES, BATCH_USERS = 256, 4096  # embedded at a time


class TwoTowers(InnerProduct[ComparedSettings]):
    """CDL by its settings; a subclass says which objective."""

    needs = ("profiles",)
    wants = ("pixels", "features")
    loss: ClassVar[Literal["hinge", "doublets"] | None] = None  # None: the setting `model.loss`
    Config = ComparedSettings

    @property
    def settings(self) -> CDLSettings:
        """The settings with the system's own objective and seed."""
        model = replace(self.config.model, loss=self.loss) if self.loss else self.config.model
        return replace(self.config, model=model).seeded(self.seed)

    def fit(self, community: Community) -> None:
        """Raises ValueError where the settings leave no triplet although there are favorites."""
        settings = self.settings
        inputs = image_inputs(community, settings.inputs, self.seed)
        sampled = sample_triplets(community, inputs.has_I, settings)
        data = TrainingData(sampled.rows_N3, sampled.pool, community.profiles_UC, inputs.gather)
        if not len(data.triplets_N3):
            _refuse_settings_without_triplets(community, inputs.has_I, settings)
        with bpr.seeded(self.seed):
            network = CDL(settings.model, inputs.shape, community.profiles_UC.shape[1])
            network.to(choose_device(settings.training.device))
            if len(data.triplets_N3):  # else nobody prefers an image to another, and the first weights stay
                for _ in training.train(network, data, settings.training):
                    pass
        self.fitted = _vectors(network.eval(), community.profiles_UC, inputs)


def _refuse_settings_without_triplets(community: Community, usable_I: np.ndarray, settings: CDLSettings) -> None:
    """Raises ValueError where some user has a favorite and an image that is none: only the settings are in the way."""
    num_favorites_U = community.favorites_UI @ usable_I.astype(np.float32)
    if not ((num_favorites_U > 0) & (num_favorites_U < np.count_nonzero(usable_I))).any():
        return
    num_clusters_U, users = np.diff(community.profiles_UC.indptr), settings.training_users
    raise ValueError(
        f"there is no triplet to train on: no user has {users.min_clusters} to {users.max_clusters} clusters (here "
        f"users have {num_clusters_U.min()} to {num_clusters_U.max()}), a favorite with an input and an assigned "
        f"negative; change training_users.min_clusters and max_clusters, or raise negatives.min_negatives "
        f"(now {settings.negatives.min_negatives})"
    )


class Comparative(TwoTowers):
    """CDL: a favorite is to be nearer than a negative."""

    name = "cdl"
    source = "Lei et al., CVPR 2016: Comparative Deep Learning, sections 3 to 5"
    grid = TOWERS_GRID


class Hinge(TwoTowers):
    """CDL with its alternative objective: a favorite is to be nearer than a negative by a margin."""

    name = "cdl_hinge"
    source = "Lei et al., CVPR 2016, sections 3 and 6.1.2"
    grid = {**TOWERS_GRID, "model.margin": (0.3, 1.0, 3.0)}
    loss = "hinge"


class TwoNets(TwoTowers):
    """The naive way that the paper compares CDL with: each pair of a user and an image is near or far by itself."""

    name = "twonets"
    source = "Lei et al., CVPR 2016, section 6.1.2"
    grid = TOWERS_GRID
    loss = "doublets"


def sample_triplets(community: Community, usable_I: np.ndarray, settings: CDLSettings) -> Triplets:
    """Triplets of the users to train on, from images that have an input."""
    signals = negatives.signals_of(community.signals, settings.negatives)
    assignment = negatives.assign(signals, settings.negatives)
    users = np.flatnonzero(triplets.are_trained_on(np.diff(community.profiles_UC.indptr), settings.training_users))
    return triplets.sample(signals, assignment, users, settings.triplets, usable_I)


class Inputs(NamedTuple):
    """The inputs of the image tower."""

    shape: tuple[int, ...]  # of one image's input
    has_I: np.ndarray  # bool; the other images cannot be scored
    gather: Gather


def image_inputs(community: Community, config: InputConfig, seed: int) -> Inputs:
    """The inputs of the kind that `models.cdl.inputs.choose` chooses: pixels, features, bags of tag clusters.

    Where half of the images have none of these, singular vectors of the favorites are an input too.
    """
    has_IK: dict[InputKind, np.ndarray] = {"favorites": community.popularity_I > 0}
    if community.pixels is not None:
        has_IK["pixels"] = community.pixels.has_I
    if community.features_If is not None:
        has_IK["features"] = community.has_features_I
    if community.has("tags"):
        has_IK["tags"] = np.diff(community.image_bags_IC.indptr) > 0
    coverage = {kind: int(np.count_nonzero(has_I)) for kind, has_I in has_IK.items()}
    kind = choose(coverage, community.num_images, config)
    if kind == "pixels" and community.pixels is not None:
        size_px = community.pixels.size_px
        return Inputs((size_px, size_px, 3), has_IK[kind], community.pixels.gather)
    if kind == "features" and community.features_If is not None:
        return _of_vectors(community.features_If)
    if kind == "tags":
        bags_IC = community.image_bags_IC
        return Inputs(bags_IC.shape[1:], has_IK[kind], lambda rows: bags_IC[rows].toarray())
    return _of_vectors(_singular_vectors(community, seed))


def _of_vectors(vectors_If: np.ndarray) -> Inputs:
    """Vectors at unit length; an image with a vector of zeros has no input."""
    unit_If = unit_vectors(vectors_If)
    return Inputs(unit_If.shape[1:], np.asarray(vectors_If.any(axis=1)), lambda rows: unit_If[rows])


def _singular_vectors(community: Community, seed: int) -> np.ndarray:
    """(I, f): which other images the same users favor; zeros for images without favorites.

    From the favorites over the roots of both degrees, or they would say little beyond the most popular images.
    """
    favorites_UI, popularity_I = community.favorites_UI, community.popularity_I
    roots_U, roots_I = (np.sqrt(np.maximum(degrees, 1)) for degrees in (np.diff(favorites_UI.indptr), popularity_I))
    scaled_IU = csr_array(favorites_UI.multiply(1 / roots_U[:, None]).multiply(1 / roots_I).T)
    left_If, strengths_f, _ = randomized_svd(scaled_IU, min(SINGULAR_VECTORS, *scaled_IU.shape), random_state=seed)
    return np.asarray(left_If * strengths_f * (popularity_I > 0)[:, None])


def _vectors(network: CDL, profiles_UC: csr_array, inputs: Inputs) -> Vectors:
    """The vectors of all users and of all usable images, whose inner product ranks as −D does."""
    dimensions = len(network.weight_d) + 1
    users_Ud = np.empty((profiles_UC.shape[0], dimensions), np.float32)
    for first in range(0, len(users_Ud), BLOCK_USERS):
        block = slice(first, first + BLOCK_USERS)
        users_Ud[block] = user_vectors(network, profiles_UC[block].toarray(), BATCH_USERS)
    usable = np.flatnonzero(inputs.has_I)
    images_Id = np.zeros((len(inputs.has_I), dimensions), np.float32)
    for first in range(0, len(usable), BLOCK_IMAGES):
        rows = usable[first : first + BLOCK_IMAGES]
        images_Id[rows] = image_vectors(network, inputs.gather(rows), BATCH_IMAGES)
    return vectors_of(users_Ud, images_Id, inputs.has_I)
