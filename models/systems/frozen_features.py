"""BPR on frozen visual features: one trained layer over a pretrained network's, or over a community's own autoencoder.

U users, I images, f features, B pictures of a batch, K dimensions of taste.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models import bpr
from models.community import Community, Pixels
from models.content.features import convolutions, scaled
from models.devices import choose_device
from models.progress import told
from models.settings.frozen_features import CAEConfig
from models.settings.visual_taste import TasteConfig
from models.systems.base import InnerProduct, Vectors
from models.systems.visual_taste import Tastes, pixels_of, standardised, standardised_features, train_vectors


class Inception(InnerProduct[TasteConfig]):
    """Frozen features of a pretrained network, and one trained layer over them."""

    name = "inception"
    source = "seed 001, section 5.2; any frozen network in the place of InceptionV3"
    needs = ("features",)
    grid = {"lambda_u": (0.1, 1.0, 3.0), "lambda_theta": (0.0003, 0.001, 0.003), "epochs": (10, 20, 30)}
    Config = TasteConfig

    def fit(self, community: Community) -> None:
        features_If, has_I = standardised_features(community)
        with bpr.seeded(self.seed):
            self.fitted = _train_layer(features_If, has_I, community, self.config, self.seed)


class CAE(InnerProduct[CAEConfig]):
    """An autoencoder of the community's pictures, its encoder frozen, and one trained layer over the code."""

    name = "cae"
    source = "seed 001, section 5.1"
    needs = ("pixels",)
    grid = {"lambda_u": (0.01, 0.1, 1.0), "lambda_theta": (0.0003, 0.001, 0.003), "autoencoder_epochs": (3, 10)}
    Config = CAEConfig

    def fit(self, community: Community) -> None:
        pixels = pixels_of(community)
        with bpr.seeded(self.seed):
            codes_If = autoencoder_codes(pixels, self.config, self.seed)
            self.fitted = _train_layer(
                standardised(codes_If, pixels.has_I), pixels.has_I, community, self.config, self.seed
            )


def autoencoder_codes(pixels: Pixels, config: CAEConfig, seed: int) -> np.ndarray:
    """float32 (I, f): the code of each picture by an autoencoder trained on them; zeros for images without one."""
    device = choose_device("auto")
    encoder = convolutions(config.channels)
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise((*config.channels[::-1], 3)):
        layers += [nn.ConvTranspose2d(width_in, width_out, 4, stride=2, padding=1), nn.ReLU()]
    autoencoder = nn.Sequential(encoder, *layers[:-1]).to(device).train()
    optimizer = torch.optim.Adam(autoencoder.parameters(), config.autoencoder_rate)
    rng = np.random.default_rng(seed)
    with_pixels = np.flatnonzero(pixels.has_I)
    for _ in told(range(config.autoencoder_epochs), config.autoencoder_epochs, "epochs of the autoencoder"):
        num_batches = -(-len(with_pixels) // config.autoencoder_batch) or 1
        for batch in np.array_split(rng.permutation(with_pixels), num_batches):
            pictures = scaled(torch.from_numpy(pixels.gather(batch)).to(device), config.size_px)
            loss = functional.mse_loss(autoencoder(pictures), pictures)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    encoder.eval()
    codes = []
    with torch.inference_mode():
        for first in range(0, len(with_pixels), bpr.EMBED_BATCH):
            pictures = torch.from_numpy(pixels.gather(with_pixels[first : first + bpr.EMBED_BATCH])).to(device)
            codes.append(encoder(scaled(pictures, config.size_px)).flatten(1).cpu().numpy())
    codes_If = np.zeros((len(pixels.has_I), codes[0].shape[1]), np.float32)
    codes_If[with_pixels] = np.concatenate(codes)
    return codes_If


def _train_layer(
    inputs_If: np.ndarray, has_I: np.ndarray, community: Community, config: TasteConfig, seed: int
) -> Vectors:
    """The vectors of θ_u · (W f_i + b) after training: one layer on top of a frozen network."""
    phi = nn.Linear(inputs_If.shape[1], config.K)
    tastes = Tastes(community.num_users, phi, lambda rows: inputs_If[rows], config)
    return train_vectors(tastes, community, has_I, config, seed)
