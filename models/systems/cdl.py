"""The CDL family: two towers and the distance between them, learned from comparisons, or naively from doublets.

U users, I images, N triplets, C clusters, d dimensions. Symbols as in the paper: D the distance of a user and an image.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.utils.extmath import randomized_svd
from torch import Tensor
from torch.nn import functional

from models import bpr
from models.cdl import negatives, training, triplets
from models.cdl.negatives import NegativeConfig
from models.cdl.network import CDL, CDLConfig, embed, score_vectors
from models.cdl.training import TrainingConfig
from models.cdl.triplets import TripletConfig, Triplets
from models.community import Community, Signals
from models.devices import choose_device
from models.gather import Gather
from models.systems.base import InnerProduct, Vectors, vectors_of

SINGULAR_VECTORS = 64  # dimensions of an image of which nothing but favorites is known
TOWERS_GRID = {
    "sees": ("pixels", "features"),
    "learning_rate": (0.0005, 0.001, 0.002),
    "per_user": (20, 60),
    "epochs": (10, 20, 40, 80),
}
EMBEDDED_IMAGES, EMBEDDED_USERS = 1024, 16_384  # inputs in memory at a time once training is over


@dataclass(frozen=True, kw_only=True)
class CDLSystemConfig:
    """What all of the family share. The rest is as in the nightly run: AdamW, a falling rate, the same exclusions.

    Chosen on the demo's validation favorites, precision@20 matched, two seeds: rate .001 gives .61 and .56, the nightly
    run's .002 gives .52 and .48.
    """

    size: Literal["small", "paper"] = "small"  # of the towers; paper has AlexNet's widths
    sees: Literal["pixels", "features"] = "pixels"  # what the image tower is given where the community has both
    epochs: int = 20  # passes over the triplets; for 8,600 posters some two and a half minutes of one core
    learning_rate: float = 0.001  # at its highest; the paper's
    per_user: int = 20  # triplets for each user (section 6.1.1)
    pool_images: int = 256  # a step is a pool of so many images and all triplets within it; 0: the paper's plain order
    social_negatives: bool = True  # section 5's; False: any image that is no favorite of the user, for ablations


@dataclass(frozen=True, kw_only=True)
class ComparisonConfig(CDLSystemConfig):
    """Cross entropy is the paper's; softmax compares a favorite with several negatives at once, for ablations."""

    loss: Literal["cross_entropy", "softmax"] = "cross_entropy"


@dataclass(frozen=True, kw_only=True)
class HingeConfig(CDLSystemConfig):
    """The paper does not give the margin."""

    margin: float = 1.0  # by which a favorite is to be nearer, in units of distance


ConfigT = TypeVar("ConfigT", bound=CDLSystemConfig)


class Inputs(NamedTuple):
    """What the image tower sees."""

    shape: tuple[int, ...]  # of one image's input
    has_I: np.ndarray  # bool; the other images cannot be scored
    gather: Gather


class TwoTowers(InnerProduct[ConfigT]):
    """Triplets, training and vectors; a subclass says by which network, hence by which objective."""

    needs = ("profiles",)
    wants = ("pixels", "features")

    @abstractmethod
    def network(self, image_shape: tuple[int, ...], num_clusters: int) -> CDL:
        """The network before training; called with triplets it gives their loss."""

    def fit(self, community: Community) -> None:
        config = self.config
        inputs = image_inputs(community, config.sees, self.seed)
        drawn = draw(community, inputs.has_I, config, self.seed)
        triplets_N3 = np.column_stack([drawn.user, drawn.positive, drawn.negative])
        pools_N = drawn.pool if drawn.pool.any() else None  # a single pool is cut into batches
        how = TrainingConfig(epochs=config.epochs, learning_rate=config.learning_rate, seed=self.seed)
        with bpr.seeded(self.seed):
            network = self.network(inputs.shape, community.profiles_UC.shape[1]).to(choose_device("auto"))
            if len(triplets_N3):  # else nobody has a favorite, and the first weights stay
                for _ in training.train(network, triplets_N3, pools_N, community.profiles_UC, inputs.gather, how):
                    pass
        self.fitted = _vectors(network.eval(), community.profiles_UC, inputs)


class Comparative(TwoTowers[ComparisonConfig]):
    """CDL: a favorite is to be nearer than a negative."""

    name = "cdl"
    source = "Lei et al., CVPR 2016: Comparative Deep Learning, sections 3 to 5"
    grid = TOWERS_GRID
    Config = ComparisonConfig

    def network(self, image_shape: tuple[int, ...], num_clusters: int) -> CDL:
        made = Softmax if self.config.loss == "softmax" else CDL
        return made(CDLConfig(size=self.config.size), image_shape, num_clusters)


class Hinge(TwoTowers[HingeConfig]):
    """CDL with its alternative objective: a favorite is to be nearer than a negative by a margin."""

    name = "cdl_hinge"
    source = "Lei et al., CVPR 2016, sections 3 and 6.1.2"
    grid = {**TOWERS_GRID, "margin": (0.3, 1.0, 3.0)}
    Config = HingeConfig

    def network(self, image_shape: tuple[int, ...], num_clusters: int) -> CDL:
        config = CDLConfig(size=self.config.size, loss="hinge", margin=self.config.margin)
        return CDL(config, image_shape, num_clusters)


class TwoNets(TwoTowers[CDLSystemConfig]):
    """The naive way that CDL is held against: each pair of a user and an image is near or far by itself."""

    name = "twonets"
    source = "Lei et al., CVPR 2016, section 6.1.2"
    grid = TOWERS_GRID
    Config = CDLSystemConfig

    def network(self, image_shape: tuple[int, ...], num_clusters: int) -> CDL:
        return Doublets(CDLConfig(size=self.config.size), image_shape, num_clusters)


class Doublets(CDL):
    """The towers and the distance of CDL, and the objective of TwoNets; a triplet is two doublets."""

    def forward(self, images: Tensor, profiles: Tensor, triplets_N3: Tensor) -> Tensor:
        return doublet_loss(*self.distances(images, profiles, triplets_N3))


class Softmax(CDL):
    """The towers and the distance of CDL, and a comparison with all negatives that the step has of the user."""

    def forward(self, images: Tensor, profiles: Tensor, triplets_N3: Tensor) -> Tensor:
        near_N, far_N = self.distances(images, profiles, triplets_N3)
        return softmax_loss(near_N, far_N, triplets_N3[:, 0], len(profiles))


def doublet_loss(near_N: Tensor, far_N: Tensor) -> Tensor:
    """Mean cross entropy of σ(D) against 0 for favorites and 1 for negatives: scalar.

    The paper's labels are the other way round, which would put favorites farthest; ours follow its Eq. 4: 0 is near.
    """
    return torch.cat([functional.softplus(near_N), functional.softplus(-far_N)]).mean()


def softmax_loss(near_N: Tensor, far_N: Tensor, user_N: Tensor, num_users: int) -> Tensor:
    """Mean of −log(e^−D(u, i+) / (e^−D(u, i+) + Σ e^−D(u, i−))) over all negatives of the user: scalar.

    With one negative a user it is Eq. 5. `user_N`: int64, the user of each triplet, below `num_users`.
    """
    near_N, far_N = near_N.float(), far_N.float()
    nearest_U = far_N.new_full((num_users,), torch.inf).scatter_reduce(0, user_N, far_N.detach(), "amin")
    sums_U = far_N.new_zeros(num_users).index_add(0, user_N, (nearest_U[user_N] - far_N).exp())
    log_sums_N = sums_U[user_N].log() - nearest_U[user_N]
    return functional.softplus(near_N + log_sums_N).mean()


def draw(community: Community, usable_I: np.ndarray, config: CDLSystemConfig, seed: int) -> Triplets:
    """Triplets of the users who have a profile, from images that have an input."""
    signals = community.signals if config.social_negatives else _favorites_alone(community.signals)
    assignment = negatives.assign(signals, NegativeConfig())
    users = np.flatnonzero(np.diff(community.profiles_UC.indptr))
    how = TripletConfig(per_user=config.per_user, pool_images=config.pool_images, seed=seed)
    return triplets.sample(signals, assignment, users, how, usable_I)


def _favorites_alone(signals: Signals) -> Signals:
    """The same favorites, and nothing else that would exclude an image."""
    num_users, num_images = signals.favorites_UI.shape
    of_users, of_images, of_both = (csr_array(shape) for shape in ((num_users, 0), (num_images, 0), (num_users,) * 2))
    return Signals(signals.favorites_UI, of_users, of_images, of_both, of_users)


def image_inputs(community: Community, sees: str, seed: int) -> Inputs:
    """Pixels, features, bags of tag clusters: the first that half of the images have.

    Features come before pixels where they are what the tower is to see. Where none is that frequent, singular vectors
    of the favorites are an input too, and what most images have is taken.
    """
    told = []
    if community.pixels is not None and not (sees == "features" and community.features_If is not None):
        size_px = community.pixels.size_px
        told.append(Inputs((size_px, size_px, 3), community.pixels.has_I, community.pixels.gather))
    if community.features_If is not None:
        told.append(_ready(community.features_If))
    if community.has("tags"):
        bags_IC = community.image_bags_IC
        has_I = np.diff(bags_IC.indptr) > 0
        told.append(Inputs(bags_IC.shape[1:], has_I, lambda rows: bags_IC[rows].toarray()))
    for inputs in told:
        if 2 * np.count_nonzero(inputs.has_I) >= community.num_images:
            return inputs
    return max([*told, _ready(_singular_vectors(community, seed))], key=lambda inputs: np.count_nonzero(inputs.has_I))


def _ready(vectors_If: np.ndarray) -> Inputs:
    """Vectors of unit length, which the tower expects; an image with a vector of zeros has none."""
    norms_I = np.linalg.norm(vectors_If, axis=1)
    unit_If = (vectors_If / np.where(norms_I > 0, norms_I, 1)[:, None]).astype(np.float32)
    return Inputs(unit_If.shape[1:], norms_I > 0, lambda rows: unit_If[rows])


def _singular_vectors(community: Community, seed: int) -> np.ndarray:
    """(I, f): which other images the same users favor; zeros for images without favorites.

    From the favorites over the roots of both degrees, or the most popular images would be all that it tells.
    """
    favorites_UI, popularity_I = community.favorites_UI, community.popularity_I
    roots_U, roots_I = (np.sqrt(np.maximum(degrees, 1)) for degrees in (np.diff(favorites_UI.indptr), popularity_I))
    scaled_IU = csr_array(favorites_UI.multiply(1 / roots_U[:, None]).multiply(1 / roots_I).T)
    left_If, strengths_f, _ = randomized_svd(scaled_IU, min(SINGULAR_VECTORS, *scaled_IU.shape), random_state=seed)
    return np.asarray(left_If * strengths_f * (popularity_I > 0)[:, None])


def _vectors(network: CDL, profiles_UC: csr_array, inputs: Inputs) -> Vectors:
    """Everybody's and every usable image's vectors, whose inner product ranks as −D does."""
    dimensions = len(network.weight_d)
    users_Ud = np.zeros((profiles_UC.shape[0], dimensions), np.float32)
    for first in range(0, len(users_Ud), EMBEDDED_USERS):
        block = slice(first, first + EMBEDDED_USERS)
        users_Ud[block] = embed(network.user_tower, profiles_UC[block].toarray(), 4096)
    usable = np.flatnonzero(inputs.has_I)
    images_Id = np.zeros((len(inputs.has_I), dimensions), np.float32)
    for first in range(0, len(usable), EMBEDDED_IMAGES):
        rows = usable[first : first + EMBEDDED_IMAGES]
        images_Id[rows] = embed(network.image_tower, inputs.gather(rows))
    return vectors_of(*score_vectors(network, users_Ud, images_Id), inputs.has_I)
