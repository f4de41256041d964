"""The Borda count family: candidates ranked by their distance to each favorite, the points summed (CDL, section 6.1.2).

U users, I images, J usable images, N users asked about, B favorites of a block, d dimensions.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from models.community import Community
from models.content import metric_learning, visual_words
from models.content.metric_learning import MapConfig, Margins
from models.content.visual_words import WordsConfig
from models.devices import choose_device
from models.systems.base import ConfigT, System, pack_sparse, unpack_sparse

BLOCK_CELLS = 2**20  # pairs of a favorite and an image ranked at once, at some 40 bytes each
LARGEST = 2**15 - 1  # of the integers in which images are kept


class Images(NamedTuple):
    """What images are compared by."""

    vectors_Id: np.ndarray  # their Euclidean distance ranks images
    usable_I: np.ndarray  # bool; the others are never listed, and their being a favorite says nothing


class Borda(System[ConfigT]):
    """A vote among a user's favorites, whose points are no inner product; subclasses say what images are compared by.

    Images are kept as integers of 16 bits. Products of such integers are exact in float64 however they are summed, so
    points hang neither on who else is asked about nor on the machine, and equal images have equal points.
    """

    images_Id: np.ndarray  # int16
    usable_I: np.ndarray  # bool
    favorites_UI: csr_array

    @abstractmethod
    def represent(self, community: Community) -> Images:
        """Learn what images are compared by."""

    def fit(self, community: Community) -> None:
        vectors_Id, self.usable_I = self.represent(community)
        vectors_Id = np.where(self.usable_I[:, None], vectors_Id, 0)
        largest = np.abs(vectors_Id).max(initial=0) or 1
        self.images_Id = np.rint(vectors_Id / largest * LARGEST).astype(np.int16)
        self.favorites_UI = community.favorites_UI

    def score(self, users_N: np.ndarray) -> np.ndarray:
        usable = np.flatnonzero(self.usable_I)
        favorites_NJ = self.favorites_UI[users_N][:, usable]
        favored = np.unique(favorites_NJ.indices)
        votes_NB = favorites_NJ[:, favored].tocsc()
        scores_NJ = np.zeros((len(users_N), len(usable)))
        images_Jd = torch.from_numpy(self.images_Id[usable]).to(choose_device("auto"), torch.float64)
        lengths_J = images_Jd.square().sum(1)
        step = max(1, BLOCK_CELLS // max(1, len(usable)))
        for first in range(0, len(favored), step):
            block = slice(first, first + step)
            scores_NJ += votes_NB[:, block] @ borda_points(images_Jd, lengths_J, favored[block])
        scores_NI = np.full((len(users_N), len(self.usable_I)), -np.inf, np.float32)
        scores_NI[:, usable] = scores_NJ
        return scores_NI

    def state(self) -> dict[str, np.ndarray]:
        return {
            "images_Id": self.images_Id,
            "usable_I": self.usable_I,
            **pack_sparse("favorites_UI", self.favorites_UI),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.images_Id, self.usable_I = state["images_Id"], state["usable_I"]
        self.favorites_UI = unpack_sparse("favorites_UI", state)


def borda_points(images_Jd: Tensor, lengths_J: Tensor, favorites_B: np.ndarray) -> np.ndarray:
    """float64 (B, J): the number of images further from the favorite than this one; images equally far share theirs.

    The favorite stands in its own ranking, and the points of each add up to J (J - 1) / 2.

    Args:
        images_Jd: float64.
        lengths_J: float64, their squared lengths.
        favorites_B: rows of favorites among the images.
    """
    favorites_Bd = images_Jd[torch.from_numpy(favorites_B.astype(np.int64)).to(images_Jd.device)]
    distances_BJ = (lengths_J - 2 * favorites_Bd @ images_Jd.T).cpu().numpy()  # less what is the same for a whole row
    order_BJ = np.argsort(distances_BJ, axis=1)  # a fifth of the time of torch's
    in_order_BJ = np.take_along_axis(distances_BJ, order_BJ, axis=1)
    place_J = np.arange(distances_BJ.shape[1])
    is_first_BJ = np.ones(order_BJ.shape, bool)
    is_first_BJ[:, 1:] = in_order_BJ[:, 1:] != in_order_BJ[:, :-1]
    is_last_BJ = np.roll(is_first_BJ, -1, axis=1)
    # The places of the first and the last of those equally far, whose mean is everyone's place.
    first_BJ = np.maximum.accumulate(np.where(is_first_BJ, place_J, 0), axis=1)
    last_BJ = np.minimum.accumulate(np.where(is_last_BJ, place_J, len(place_J))[:, ::-1], axis=1)[:, ::-1]
    points_BJ = np.empty(order_BJ.shape)
    np.put_along_axis(points_BJ, order_BJ, len(place_J) - 1 - (first_BJ + last_BJ) / 2, axis=1)
    return points_BJ


class BordaBow(Borda[WordsConfig]):
    """Images are compared by their visual words."""

    name = "borda_bow"
    source = (
        "CDL, section 6.1.2: Borda Count with BoW; dense SIFT and k-means are ours, the paper says hand-crafted only"
    )
    needs = ("pixels",)
    grid = {"num_words": (256, 512, 1024), "cell_px": (4, 8), "color_weight": (0.0, 1.0)}
    Config = WordsConfig

    def represent(self, community: Community) -> Images:
        pixels = community.pixels
        assert pixels is not None, "needs says so"
        return Images(visual_words.histograms(pixels, self.config, self.seed, choose_device("auto")), pixels.has_I)


@dataclass(frozen=True, kw_only=True)
class ImageNetConfig:
    """How ready features are compared."""

    unit_length: bool = True  # whether features are scaled to length 1 first, which ranks by the cosine; CDL: Euclidean


class BordaImageNet(Borda[ImageNetConfig]):
    """Images are compared by ready features: a frozen network's, as the paper's, or the source's own."""

    name = "borda_imagenet"
    source = "CDL, section 6.1.2: Borda Count with ImageNet features"
    needs = ("features",)
    grid = {"unit_length": (True, False)}
    Config = ImageNetConfig

    def represent(self, community: Community) -> Images:
        features_If, usable_I = _features(community)
        if self.config.unit_length:
            features_If = features_If / np.where(usable_I, np.linalg.norm(features_If, axis=1), 1)[:, None]
        return Images(features_If, usable_I)


class BordaLMNN(Borda[MapConfig]):
    """Images that share a favoriter are of one class in a large-margin nearest neighbor metric."""

    name = "borda_lmnn"
    source = "CDL, section 6.1.2: Borda Count with LMNN; K. Weinberger, L. Saul, JMLR 2009, Eq. 13"
    needs = ("features",)
    grid = {"dimensions": (32, 64, 128), "pull": (0.2, 0.5, 0.8), "learning_rate": (0.001, 0.003)}
    Config = MapConfig

    def represent(self, community: Community) -> Images:
        features_If, usable_I = _features(community)
        features_If = metric_learning.standardised(features_If, usable_I)
        keys_IU = metric_learning.favoriters(community)
        targets = metric_learning.draw_targets(keys_IU, usable_I, features_If, self.config, self.seed)
        map_fd = metric_learning.learn(features_If, keys_IU, targets, share_nothing, self.config, self.seed)
        return Images(features_If @ map_fd, usable_I)


@dataclass(frozen=True, kw_only=True)
class SocialLMNNConfig(MapConfig):
    """LMNN with social classes."""

    impostor_share: float = 0.5  # an image is an impostor below this share of the target's social similarity


class BordaSocialLMNN(Borda[SocialLMNNConfig]):
    """LMNN with the socially most similar images as targets, and as impostors those much less similar."""

    name = "borda_social_lmnn"
    source = "CDL, section 6.1.2: Borda Count with Social+LMNN; S. Liu et al., ACM MM 2014"
    needs = ("features",)
    grid = {"dimensions": (32, 64, 128), "pull": (0.2, 0.5, 0.8), "impostor_share": (0.1, 0.5)}
    Config = SocialLMNNConfig

    def represent(self, community: Community) -> Images:
        def much_less_alike(alike_bt: Tensor, alike_bb: Tensor) -> Tensor:
            return (alike_bb[:, None] < self.config.impostor_share * alike_bt[:, :, None]).float()

        return _social(community, much_less_alike, self.config, self.seed)


@dataclass(frozen=True, kw_only=True)
class SIDLConfig(MapConfig):
    """Distances in the order of social similarities."""

    pull: float = 0.0  # comparisons only; nothing is pulled for itself
    margin: float = 1.0  # by how much an unrelated image must be further; less, the more alike it is socially


class BordaSIDL(Borda[SIDLConfig]):
    """Social embedding Image Distance Learning: of two images, the socially more similar one shall be nearer.

    Liu et al. estimate social similarity from multiple social factors and learn a distance of visual features from it;
    we have their abstract and what CDL says of them. The factors, their equal weights and the objective are ours:
    relative comparisons as in Schultz and Joachims (2004), whom they cite, with a margin that shrinks to nothing as the
    two similarities s become equal: m(i, j, l) = margin * [1 - s(i, l) / s(i, j)]+.
    """

    name = "borda_sidl"
    source = "CDL, section 6.1.2: Borda Count with SIDL; S. Liu et al., Social Embedding Image Distance Learning, 2014"
    needs = ("features",)
    grid = {"dimensions": (32, 64, 128), "margin": (0.5, 1.0, 2.0), "num_targets": (3, 10)}
    Config = SIDLConfig

    def represent(self, community: Community) -> Images:
        def less_alike(alike_bt: Tensor, alike_bb: Tensor) -> Tensor:
            return self.config.margin * (1 - alike_bb[:, None] / alike_bt[:, :, None]).clamp(min=0)

        return _social(community, less_alike, self.config, self.seed)


def share_nothing(alike_bt: Tensor, alike_bb: Tensor) -> Tensor:
    """A margin of 1 towards images that share no favoriter with the anchor, whatever the target."""
    return (alike_bb == 0).float()[:, None].expand(-1, alike_bt.shape[1], -1)


def _social(community: Community, margins: Margins, config: MapConfig, seed: int) -> Images:
    features_If, usable_I = _features(community)
    features_If = metric_learning.standardised(features_If, usable_I)
    keys_IK = metric_learning.social_keys(community)
    targets = metric_learning.draw_targets(keys_IK, usable_I, None, config, seed)
    return Images(features_If @ metric_learning.learn(features_If, keys_IK, targets, margins, config, seed), usable_I)


def _features(community: Community) -> Images:
    features_If = community.features_If
    assert features_If is not None, "needs says so"
    return Images(features_If, community.has_features_I)
