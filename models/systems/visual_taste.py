"""θ_u · Φ(i): the user's taste times a network over an image's input, trained by BPR; what the visual systems share.

U users, I images, N triplets, P images of a step, f features, K dimensions of taste.
"""

import numpy as np
import torch
from torch import Tensor, nn

from models import bpr
from models.bpr import Ranker
from models.community import Community, Pixels
from models.gather import Gather
from models.settings.bpr import BPRConfig
from models.settings.visual_taste import TasteConfig
from models.systems.base import Vectors, vectors_of

FIRST_TASTE = 0.1  # standard deviation of the first θ_u: larger than of factors, as fixed images teach nothing else


class Tastes(Ranker):
    """x_ui = θ_u · Φ(i), where Φ is a network over an image's input."""

    def __init__(self, num_users: int, phi: nn.Module, inputs: Gather, config: TasteConfig):
        super().__init__()
        self.phi, self.inputs = phi, inputs
        self.λ_u, self.λ = config.lambda_u, config.lambda_theta
        self.theta = nn.Parameter(FIRST_TASTE * torch.randn(num_users, config.K))

    def users(self, users_N: np.ndarray) -> Tensor:
        return self.theta[torch.from_numpy(users_N).to(self.theta.device)]

    def images(self, images_P: np.ndarray) -> Tensor:
        vectors: Tensor = self.phi(torch.from_numpy(self.inputs(images_P)).to(self.theta.device))
        return vectors

    def penalty(self, users_Nd: Tensor, positives_Nd: Tensor, negatives_Nd: Tensor) -> Tensor:
        weights = sum(weight.square().sum() for weight in self.phi.parameters())
        return self.λ_u * users_Nd.square().sum(1).mean() + self.λ * weights


def train_vectors(ranker: Ranker, community: Community, usable_I: np.ndarray, config: BPRConfig, seed: int) -> Vectors:
    """The trained vectors of users and of usable images; images without favorites are embedded but not trained on.

    They would only ever be negatives, and the network would learn their features as an appearance that nobody likes.
    """
    for _ in bpr.train(ranker, community.favorites_UI, usable_I & (community.popularity_I > 0), config, seed):
        pass
    return vectors_of(*bpr.embed(ranker, community.favorites_UI, usable_I), usable_I)


def standardised_features(community: Community) -> tuple[np.ndarray, np.ndarray]:
    """float32 (I, f) standardised features, and bool (I,): which images have them."""
    assert community.features_If is not None, "`needs` names features"
    has_I = community.has_features_I
    return standardised(community.features_If, has_I), has_I


def standardised(inputs_If: np.ndarray, has_I: np.ndarray) -> np.ndarray:
    """float32 (I, f): inputs less their mean, divided by one common scale; zeros for images without inputs.

    With it one learning rate suits every network. Rankings do not depend on it: the mean drops out of x_ui - x_uj, and
    the layer learns the scale.
    """
    centred_If = inputs_If - inputs_If[has_I].mean(axis=0)
    scale = np.sqrt(np.mean(centred_If[has_I] ** 2))
    return np.where(has_I[:, None], centred_If / max(scale, 1e-12), 0).astype(np.float32)


def pixels_of(community: Community) -> Pixels:
    """The community's pictures, for a system that needs them."""
    assert community.pixels is not None, "`needs` names pixels"
    return community.pixels
