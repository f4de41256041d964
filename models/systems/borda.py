"""The Borda count family: images ranked by their distance to each favorite, the points summed (CDL, section 6.1.2).

U users, I images, J usable images, N users to score, B favorites of a block, d dimensions; b anchors of a step and t
targets of an anchor.
"""

from abc import abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from models.community import Community
from models.content import metric_learning, visual_words
from models.content.metric_learning import Margins
from models.devices import choose_device
from models.settings.borda import ImageNetConfig, SIDLConfig, SocialLMNNConfig
from models.settings.metric_learning import MapConfig
from models.settings.visual_words import WordsConfig
from models.systems.base import ConfigT, System, pack_sparse, unpack_sparse

BLOCK_CELLS = 2**20  # pairs of a favorite and an image ranked at once, at some 40 bytes each
LARGEST = 2**15 - 1  # of the integers to which image vectors are rounded


class Images(NamedTuple):
    """Vectors of images, whose Euclidean distances rank images."""

    vectors_Id: np.ndarray
    usable_I: np.ndarray  # bool; other images are never listed, and have no vote as favorites


class Borda(System[ConfigT]):
    """A vote of a user's favorites, whose points are no inner product; subclasses define the vectors of images.

    Vectors are rounded to integers of 16 bits, whose products are exact in float64 in any order of summation. So points
    depend neither on the other users nor on the machine, and equal images have equal points.
    """

    images_Id: np.ndarray  # int16
    usable_I: np.ndarray  # bool
    favorites_UI: csr_array

    @abstractmethod
    def represent(self, community: Community) -> Images:
        """Learn the vectors of images."""

    def fit(self, community: Community) -> None:
        vectors_Id, self.usable_I = self.represent(community)
        vectors_Id = np.where(self.usable_I[:, None], vectors_Id, 0)
        largest = np.abs(vectors_Id).max(initial=0) or 1
        self.images_Id = np.rint(vectors_Id / largest * LARGEST).astype(np.int16)
        self.favorites_UI = community.favorites_UI

    def score(self, users_N: np.ndarray) -> np.ndarray:
        usable = np.flatnonzero(self.usable_I)
        favorites_NJ = self.favorites_UI[users_N][:, usable]
        favorites = np.unique(favorites_NJ.indices)
        votes_NB = favorites_NJ[:, favorites].tocsc()
        scores_NJ = np.zeros((len(users_N), len(usable)))
        images_Jd = torch.from_numpy(self.images_Id[usable]).to(choose_device("auto"), torch.float64)
        lengths_J = images_Jd.square().sum(1)
        step = max(1, BLOCK_CELLS // max(1, len(usable)))
        for first in range(0, len(favorites), step):
            block = slice(first, first + step)
            scores_NJ += votes_NB[:, block] @ borda_points(images_Jd, lengths_J, favorites[block])
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
    """float64 (B, J): the number of images further from the favorite than this one; images equally far share points.

    The favorite is part of its own ranking, and the points of a favorite sum to J (J - 1) / 2.

    Args:
        images_Jd: float64.
        lengths_J: float64, their squared lengths.
        favorites_B: rows of favorites among the images.
    """
    favorites_Bd = images_Jd[torch.from_numpy(favorites_B.astype(np.int64)).to(images_Jd.device)]
    distances_BJ = (lengths_J - 2 * favorites_Bd @ images_Jd.T).cpu().numpy()  # less a constant of the row
    order_BJ = np.argsort(distances_BJ, axis=1)  # takes a fifth of the time of torch
    in_order_BJ = np.take_along_axis(distances_BJ, order_BJ, axis=1)
    place_J = np.arange(distances_BJ.shape[1])
    is_first_BJ = np.ones(order_BJ.shape, bool)
    is_first_BJ[:, 1:] = in_order_BJ[:, 1:] != in_order_BJ[:, :-1]
    is_last_BJ = np.roll(is_first_BJ, -1, axis=1)
    # Of images equally far, the first and the last place; all of them get the mean of the two.
    first_BJ = np.maximum.accumulate(np.where(is_first_BJ, place_J, 0), axis=1)
    last_BJ = np.minimum.accumulate(np.where(is_last_BJ, place_J, len(place_J))[:, ::-1], axis=1)[:, ::-1]
    points_BJ = np.empty(order_BJ.shape)
    np.put_along_axis(points_BJ, order_BJ, len(place_J) - 1 - (first_BJ + last_BJ) / 2, axis=1)
    return points_BJ


class BordaBow(Borda[WordsConfig]):
    """Images are compared by histograms of visual words."""

    name = "borda_bow"
    source = (
        "CDL, section 6.1.2: Borda Count with BoW; dense SIFT and k-means are ours, the paper says hand-crafted only"
    )
    needs = ("pixels",)
    grid = {"num_words": (256, 512, 1024), "cell_px": (4, 8), "color_weight": (0.0, 1.0)}
    Config = WordsConfig

    def represent(self, community: Community) -> Images:
        pixels = community.pixels
        assert pixels is not None, "`needs` names it"
        return Images(visual_words.histograms(pixels, self.config, self.seed, choose_device("auto")), pixels.has_I)


class BordaImageNet(Borda[ImageNetConfig]):
    """Images are compared by frozen features: a pretrained network's, as in the paper, or the source's own."""

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
    """A large-margin nearest neighbor metric in which images favored by the same user are of one class."""

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
        map_fd = metric_learning.learn(features_If, keys_IU, targets, no_common_favoriter, self.config, self.seed)
        return Images(features_If @ map_fd, usable_I)


class BordaSocialLMNN(Borda[SocialLMNNConfig]):
    """LMNN with the socially most similar images as targets, and much less similar ones as impostors."""

    name = "borda_social_lmnn"
    source = "CDL, section 6.1.2: Borda Count with Social+LMNN; S. Liu et al., ACM MM 2014"
    needs = ("features",)
    grid = {"dimensions": (32, 64, 128), "pull": (0.2, 0.5, 0.8), "impostor_share": (0.1, 0.5)}
    Config = SocialLMNNConfig

    def represent(self, community: Community) -> Images:
        def much_less_similar(similarity_bt: Tensor, similarity_bb: Tensor) -> Tensor:
            return (similarity_bb[:, None] < self.config.impostor_share * similarity_bt[:, :, None]).float()

        return _social(community, much_less_similar, self.config, self.seed)


class BordaSIDL(Borda[SIDLConfig]):
    """Social embedding Image Distance Learning: of two images, the socially more similar one is to be nearer.

    Liu et al. estimate social similarity from multiple social factors and learn a distance of visual features from it;
    we have only their abstract and CDL's description. The factors, their equal weights and the objective are ours:
    relative comparisons as in Schultz and Joachims (2004), whom they cite, with a margin that shrinks to 0 as the two
    similarities s become equal: m(i, j, l) = margin * [1 - s(i, l) / s(i, j)]+.
    """

    name = "borda_sidl"
    source = "CDL, section 6.1.2: Borda Count with SIDL; S. Liu et al., Social Embedding Image Distance Learning, 2014"
    needs = ("features",)
    grid = {"dimensions": (32, 64, 128), "margin": (0.5, 1.0, 2.0), "num_targets": (3, 10)}
    Config = SIDLConfig

    def represent(self, community: Community) -> Images:
        def less_similar(similarity_bt: Tensor, similarity_bb: Tensor) -> Tensor:
            return self.config.margin * (1 - similarity_bb[:, None] / similarity_bt[:, :, None]).clamp(min=0)

        return _social(community, less_similar, self.config, self.seed)


def no_common_favoriter(similarity_bt: Tensor, similarity_bb: Tensor) -> Tensor:
    """float32 (b, t, b): a margin of 1 to images that no user favors together with the anchor, whatever the target."""
    return (similarity_bb == 0).float()[:, None].expand(-1, similarity_bt.shape[1], -1)


def _social(community: Community, margins: Margins, config: MapConfig, seed: int) -> Images:
    features_If, usable_I = _features(community)
    features_If = metric_learning.standardised(features_If, usable_I)
    keys_IK = metric_learning.social_keys(community)
    targets = metric_learning.draw_targets(keys_IK, usable_I, None, config, seed)
    return Images(features_If @ metric_learning.learn(features_If, keys_IK, targets, margins, config, seed), usable_I)


def _features(community: Community) -> Images:
    features_If = community.features_If
    assert features_If is not None, "`needs` names it"
    return Images(features_If, community.has_features_I)
