"""VBPR: matrix factorisation by BPR with visual as well as latent factors.

U users, I images, N triplets, P images of a step, f features. Symbols as in the papers: γ latent and θ visual factors,
β bias, E the projection of the features f_i.
"""

import numpy as np
import torch
from torch import Tensor, nn

from models import bpr
from models.bpr import Ranker
from models.community import Community
from models.settings.bpr_factors import VBPRConfig
from models.systems.base import InnerProduct
from models.systems.visual_taste import standardised_features, train_vectors

FIRST_SCALE = 0.01  # standard deviation of the first factors


class VBPR(InnerProduct[VBPRConfig]):
    """Latent and visual factors; an image without training favorites has only the visual ones."""

    name = "vbpr"
    source = "He & McAuley, AAAI 2016: VBPR"
    needs = ("features",)
    grid = {"epochs": (20, 40, 60), "lambda_theta": (0.001, 0.003, 0.01), "lambda_visual": (0.00001, 0.0001, 0.001)}
    Config = VBPRConfig

    def fit(self, community: Community) -> None:
        features_If, has_I = standardised_features(community)
        # Of length 1, not of variance 1: a step of Adam moves every weight equally far, hence E f_i by the sum of the
        # features. With 768 of variance 1, NDCG@20 on cold images is .028, with length 1 .051 (docs/log.md).
        features_If /= max(1, features_If.shape[1]) ** 0.5
        with bpr.seeded(self.seed):
            config = self.config
            λ = (config.lambda_theta, config.lambda_visual)
            factors = Factors(community, features_If, config.K, config.K_visual, λ)
            self.fitted = train_vectors(factors, community, has_I | (community.popularity_I > 0), config, self.seed)


class Factors(Ranker):
    """x_ui = γ_u · γ_i + θ_u · (E f_i) + β_i + β' · f_i; without features this is BPR-MF.

    An image without training favorites has no γ_i. After training, its β_i is the mean of those of the images with the
    fewest favorites: with a β_i of 0 it would rank above most warm images.
    """

    def __init__(self, community: Community, features_If: np.ndarray, K: int, K_visual: int, λ: tuple[float, float]):
        super().__init__()
        self.popularity_I, self.features_If = community.popularity_I, features_If
        self.K, (self.λ, self.λ_visual) = K, λ
        self.tastes = nn.Parameter(FIRST_SCALE * torch.randn(community.num_users, K + K_visual))  # γ_u and θ_u
        self.factors = nn.Parameter(FIRST_SCALE * torch.randn(community.num_images, K))  # γ_i
        self.biases = nn.Parameter(torch.zeros(community.num_images, 1))  # β_i
        width = features_If.shape[1]
        self.appearance = nn.Parameter(torch.randn(width, K_visual + 1) / max(width, 1) ** 0.5)  # E and β'

    def users(self, users_N: np.ndarray) -> Tensor:
        tastes = self.tastes[torch.from_numpy(users_N).to(self.tastes.device)]
        return torch.cat([tastes, tastes.new_ones(len(tastes), 2)], 1)

    def images(self, images_P: np.ndarray) -> Tensor:
        device = self.factors.device
        rows = torch.from_numpy(images_P).to(device)
        is_warm = torch.from_numpy(self.popularity_I[images_P, None] > 0).to(device)
        appearance = torch.from_numpy(self.features_If[images_P]).to(device) @ self.appearance
        biases = torch.where(is_warm, self.biases[rows], 0 if self.training else self.cold_image_bias())
        return torch.cat([self.factors[rows] * is_warm, appearance, biases], 1)

    def cold_image_bias(self) -> Tensor | int:
        """β of images without training favorites: the mean of those with the fewest; 0 if nobody has a favorite."""
        is_warm_I = self.popularity_I > 0
        if not is_warm_I.any():
            return 0
        is_rare_I = self.popularity_I == self.popularity_I[is_warm_I].min()
        return self.biases[torch.from_numpy(is_rare_I).to(self.biases.device)].mean()

    def penalty(self, users_Nd: Tensor, positives_Nd: Tensor, negatives_Nd: Tensor) -> Tensor:
        squares_N = users_Nd[:, :-2].square().sum(1)
        for vectors in (positives_Nd, negatives_Nd):
            squares_N = squares_N + vectors[:, : self.K].square().sum(1) + vectors[:, -1].square()
        return self.λ * squares_N.mean() + self.λ_visual * self.appearance.square().sum()
