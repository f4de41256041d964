"""DVBPR: a convolutional network trained end to end, from pixels to preference.

B pictures of a batch, S their side in pixels, K dimensions of taste.
"""

import torch
from torch import Tensor, nn

from models import bpr
from models.community import Community
from models.content.features import convolutions, scaled
from models.settings.dvbpr import DVBPRConfig
from models.systems.base import InnerProduct
from models.systems.visual_taste import Tastes, pixels_of, train_vectors


class DVBPR(InnerProduct[DVBPRConfig]):
    """A network trained end to end, from pixels to preference."""

    name = "dvbpr"
    source = "Kang et al., ICDM 2017: DVBPR; objective and settings of seed 001"
    needs = ("pixels",)
    grid = {"lambda_u": (0.1, 1.0), "lambda_theta": (0.0001, 0.001), "epochs": (5, 10, 20)}
    Config = DVBPRConfig

    def fit(self, community: Community) -> None:
        pixels, config = pixels_of(community), self.config
        with bpr.seeded(self.seed):
            phi = CNNF(config) if config.network == "cnn_f" else SmallCNN(config)
            tastes = Tastes(community.num_users, phi, pixels.gather, config)
            self.fitted = train_vectors(tastes, community, pixels.has_I, config, self.seed)


class SmallCNN(nn.Module):
    """Φ for a CPU: convolutions that halve the side, the mean over positions, a layer; uint8 (B, S, S, 3) to (B, K)."""

    def __init__(self, config: DVBPRConfig):
        super().__init__()
        self.size_px = config.size_px
        self.convolutions = convolutions(config.channels)
        self.last = nn.Linear(config.channels[-1], config.K)

    def forward(self, pixels_BSS3: Tensor) -> Tensor:
        maps = self.convolutions(scaled(pixels_BSS3, self.size_px))
        vectors: Tensor = self.last(maps.mean((2, 3)))
        return vectors


class CNNF(nn.Module):
    """Φ of the paper: CNN-F with K outputs. uint8 (B, S, S, 3) to (B, K)."""

    def __init__(self, config: DVBPRConfig):
        super().__init__()
        self.size_px = config.size_px
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 11, stride=4), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        layers += [nn.Conv2d(64, 256, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        for _ in range(3):
            layers += [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True), nn.Flatten())
        with torch.no_grad():
            width = self.convolutions(torch.zeros(1, 3, self.size_px, self.size_px)).shape[1]
        self.layers = nn.Sequential(
            *(nn.Linear(width, 4096), nn.ReLU(), nn.Dropout(config.dropout)),
            *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(config.dropout)),
            nn.Linear(4096, config.K),
        )

    def forward(self, pixels_BSS3: Tensor) -> Tensor:
        vectors: Tensor = self.layers(self.convolutions(scaled(pixels_BSS3, self.size_px)))
        return vectors
