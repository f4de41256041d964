"""The visually-aware BPR family: what a picture looks like, in a ranking learned from favorites.

U users, I images, N favorites or triplets, P images of a step, B images of a batch, f features, K dimensions of taste.
Symbols as in the papers: γ latent and θ visual taste, β bias, Φ(i) and E f_i what an image looks like.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn import functional

from models import bpr
from models.bpr import BPRConfig, Ranker
from models.cdl.training import Gather
from models.community import Community, Pixels
from models.content.features import convolutions, scaled
from models.devices import choose_device
from models.systems.base import InnerProduct, System, Vectors, pack_sparse, unpack_sparse, vectors_of

# Standard deviation of the first vectors; the tastes over fixed looks have nothing else to learn from and start larger.
FIRST_SCALE, FIRST_TASTE = 0.01, 0.1
GATHERED_CELLS = 2**24  # similarities in memory at a time: 64 MiB


@dataclass(frozen=True, kw_only=True)
class BPRMFConfig(BPRConfig):
    """The paper tunes its λ, and names no values. K is seed 001's."""

    K: int = 50  # dimensions of γ
    lambda_theta: float = 0.01  # λ of users, images and biases alike


@dataclass(frozen=True, kw_only=True)
class VBPRConfig(BPRConfig):
    """The paper has 10 latent and 10 visual dimensions and tunes its λ. K is seed 001's, for each of the two."""

    epochs: int = 40  # passes over the favorites; new images are served best by fewer, known ones by more
    learning_rate: float = 0.003  # of Adam
    K: int = 50  # dimensions of γ
    K_visual: int = 50  # dimensions of θ and rows of E
    lambda_theta: float = 0.003  # λ of γ, θ and β
    lambda_visual: float = 0.0001  # λ of E and β'; from .001 on little is left of the looks


@dataclass(frozen=True, kw_only=True)
class TasteConfig(BPRConfig):
    """Seed 001: λ_u = 1, λ = 0.001, K = 50, Adam 1e-4, batches of 128, 20 to 25 epochs.

    That is for hundreds of thousands of favorites, and hours. So low a rate has hardly moved by the end in a small
    community, where a hundred times as much ranks cold images better (movielens-posters: NDCG@20 .046 for .031).
    """

    epochs: int = 20  # passes over the favorites
    K: int = 50  # dimensions of θ_u and Φ(i)
    lambda_u: float = 1.0  # λ of θ_u, in each triplet
    lambda_theta: float = 0.001  # λ of the layers that are trained
    pool_images: int = 256  # the seed draws from all images; in pools each is embedded once an epoch


@dataclass(frozen=True, kw_only=True)
class CAEConfig(TasteConfig):
    """Seed 001 gives its autoencoder 3 epochs, and shows no widths that can be read."""

    autoencoder_epochs: int = 3  # passes over the pictures
    autoencoder_rate: float = 0.001  # of Adam
    autoencoder_batch: int = 64  # pictures a step of it
    channels: tuple[int, ...] = (16, 32, 64, 64)  # of the encoder's convolutions, each of which halves the side
    size_px: int = 64  # pictures are brought to this side; a multiple of 2 to the number of convolutions

    def __post_init__(self) -> None:
        if self.size_px % 2 ** len(self.channels):
            raise ValueError(
                f"cae: size_px {self.size_px} is no multiple of {2 ** len(self.channels)}, which the "
                f"{len(self.channels)} convolutions of channels halve it to; change one of the two"
            )


@dataclass(frozen=True, kw_only=True)
class DVBPRConfig(TasteConfig):
    """DVBPR trains CNN-F on pictures of 224 px, which takes a GPU; the default serves a CPU."""

    epochs: int = 10  # passes over the favorites, hence over their pictures
    learning_rate: float = 0.001  # of Adam; the paper's 0.0001 wants ten times the epochs
    network: Literal["small", "cnn_f"] = "small"  # cnn_f is the paper's
    channels: tuple[int, ...] = (32, 64, 128, 256)  # of the small network's convolutions
    size_px: int = 32  # pictures are brought to this side; cnn_f wants 224, the paper's
    dropout: float = 0.5  # after the first two fully connected layers of cnn_f


@dataclass(frozen=True, kw_only=True)
class VisRankConfig:
    """Nothing is learned."""

    similarity: Literal["max", "mean"] = "max"  # to the most similar favorite, or to all on average


@dataclass(frozen=True, kw_only=True)
class ResNetCosineConfig:
    """Nothing to set."""


class Factors(Ranker):
    """x_ui = γ_u · γ_i + θ_u · (E f_i) + β_i + β' · f_i; without features the rest is BPR-MF.

    An image without training favorites has no γ_i, and once training is over the β_i that images with one favorite have
    on average: with none it would stand above most known images.
    """

    def __init__(self, community: Community, features_If: np.ndarray, K: int, K_visual: int, λ: tuple[float, float]):
        super().__init__()
        self.popularity_I, self.features_If = community.popularity_I, features_If
        self.K, (self.λ, self.λ_visual) = K, λ
        self.tastes = nn.Parameter(FIRST_SCALE * torch.randn(community.num_users, K + K_visual))  # γ_u and θ_u
        self.factors = nn.Parameter(FIRST_SCALE * torch.randn(community.num_images, K))  # γ_i
        self.biases = nn.Parameter(torch.zeros(community.num_images, 1))  # β_i
        width = features_If.shape[1]
        self.looks = nn.Parameter(torch.randn(width, K_visual + 1) / max(width, 1) ** 0.5)  # E and β'

    def users(self, users_N: np.ndarray) -> Tensor:
        tastes = self.tastes[torch.from_numpy(users_N).to(self.tastes.device)]
        return torch.cat([tastes, tastes.new_ones(len(tastes), 2)], 1)

    def images(self, images_P: np.ndarray) -> Tensor:
        device = self.factors.device
        rows = torch.from_numpy(images_P).to(device)
        is_warm = torch.from_numpy(self.popularity_I[images_P, None] > 0).to(device)
        looks = torch.from_numpy(self.features_If[images_P]).to(device) @ self.looks
        biases = torch.where(is_warm, self.biases[rows], 0 if self.training else self.bias_of_cold())
        return torch.cat([self.factors[rows] * is_warm, looks, biases], 1)

    def bias_of_cold(self) -> Tensor | int:
        """β of images without training favorites: that of those with the fewest, on average."""
        is_warm_I = self.popularity_I > 0
        if not is_warm_I.any():
            return 0
        is_rare_I = self.popularity_I == self.popularity_I[is_warm_I].min()
        return self.biases[torch.from_numpy(is_rare_I).to(self.biases.device)].mean()

    def penalty(self, users_Nd: Tensor, positives_Nd: Tensor, negatives_Nd: Tensor) -> Tensor:
        own = users_Nd[:, :-2].square().sum(1)
        for vectors in (positives_Nd, negatives_Nd):
            own = own + vectors[:, : self.K].square().sum(1) + vectors[:, -1].square()
        return self.λ * own.mean() + self.λ_visual * self.looks.square().sum()


class Tastes(Ranker):
    """x_ui = θ_u · Φ(i), Φ being a network over an image's input."""

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


class BPRMF(InnerProduct[BPRMFConfig]):
    """Matrix factorisation. Images without training favorites cannot be scored."""

    name = "bpr_mf"
    source = "Rendle et al., UAI 2009, sections 4.1 to 4.3"
    grid = {"learning_rate": (0.003, 0.01), "lambda_theta": (0.003, 0.01, 0.03), "epochs": (15, 30, 100)}
    Config = BPRMFConfig

    def fit(self, community: Community) -> None:
        nothing_If = np.zeros((community.num_images, 0), np.float32)
        with bpr.seeded(self.seed):
            λ = (self.config.lambda_theta, 0.0)
            factors = Factors(community, nothing_If, self.config.K, 0, λ)
            self.fitted = _trained(factors, community, community.popularity_I > 0, self.config, self.seed)


class VBPR(InnerProduct[VBPRConfig]):
    """Latent and visual factors; an image without training favorites has the visual ones alone."""

    name = "vbpr"
    source = "He & McAuley, AAAI 2016: VBPR"
    needs = ("features",)
    grid = {"epochs": (20, 40, 60), "lambda_theta": (0.001, 0.003, 0.01), "lambda_visual": (0.00001, 0.0001, 0.001)}
    Config = VBPRConfig

    def fit(self, community: Community) -> None:
        features_If, has_I = _features(community)
        # Of length 1, not of variance 1: a step of Adam moves each weight alike, hence what E makes of an image by the
        # sum of its features. With 768 of variance 1 NDCG@20 of new images is .028, of length 1 .051 (docs/log.md).
        features_If /= max(1, features_If.shape[1]) ** 0.5
        with bpr.seeded(self.seed):
            config = self.config
            λ = (config.lambda_theta, config.lambda_visual)
            factors = Factors(community, features_If, config.K, config.K_visual, λ)
            self.fitted = _trained(factors, community, has_I | (community.popularity_I > 0), config, self.seed)


class Inception(InnerProduct[TasteConfig]):
    """Frozen features of a pretrained network, and one trained layer over them."""

    name = "inception"
    source = "seed 001, section 5.2; any frozen network in the place of InceptionV3"
    needs = ("features",)
    grid = {"lambda_u": (0.1, 1.0, 3.0), "lambda_theta": (0.0003, 0.001, 0.003), "epochs": (10, 20, 30)}
    Config = TasteConfig

    def fit(self, community: Community) -> None:
        features_If, has_I = _features(community)
        with bpr.seeded(self.seed):
            self.fitted = _one_layer(features_If, has_I, community, self.config, self.seed)


class CAE(InnerProduct[CAEConfig]):
    """An autoencoder of the community's pictures, its encoder frozen, and one trained layer over the code."""

    name = "cae"
    source = "seed 001, section 5.1"
    needs = ("pixels",)
    grid = {"lambda_u": (0.01, 0.1, 1.0), "lambda_theta": (0.0003, 0.001, 0.003), "autoencoder_epochs": (3, 10)}
    Config = CAEConfig

    def fit(self, community: Community) -> None:
        pixels = _pixels(community)
        with bpr.seeded(self.seed):
            codes_If = autoencoder_codes(pixels, self.config, self.seed)
            self.fitted = _one_layer(
                _standardised(codes_If, pixels.has_I), pixels.has_I, community, self.config, self.seed
            )


class DVBPR(InnerProduct[DVBPRConfig]):
    """A network trained end to end, from pixels to preference."""

    name = "dvbpr"
    source = "Kang et al., ICDM 2017: DVBPR; objective and settings of seed 001"
    needs = ("pixels",)
    grid = {"lambda_u": (0.1, 1.0), "lambda_theta": (0.0001, 0.001), "epochs": (5, 10, 20)}
    Config = DVBPRConfig

    def fit(self, community: Community) -> None:
        pixels, config = _pixels(community), self.config
        with bpr.seeded(self.seed):
            phi = CNNF(config) if config.network == "cnn_f" else SmallCNN(config)
            tastes = Tastes(community.num_users, phi, pixels.gather, config)
            self.fitted = _trained(tastes, community, pixels.has_I, config, self.seed)


class VisRank(System[VisRankConfig]):
    """Cosine similarity of frozen features to the user's favorites: to the most similar one, or to all on average."""

    name = "visrank"
    source = "VisRank, the content-based baseline of the visually-aware literature: maximum or mean of cosines"
    needs = ("features",)
    grid = {"similarity": ("max", "mean")}
    Config = VisRankConfig

    unit_If: np.ndarray
    favorites_UI: csr_array  # those with features

    def fit(self, community: Community) -> None:
        self.unit_If, self.favorites_UI = _unit_features(community)

    @property
    def vectors(self) -> Vectors | None:
        if self.config.similarity == "max":
            return None
        return vectors_of(_mean_favorite(self.unit_If, self.favorites_UI), self.unit_If, _has_features(self.unit_If))

    def score(self, users_N: np.ndarray) -> np.ndarray:
        """A user without favorites that have features gets zeros."""
        if self.vectors is not None:
            scores_NI = self.vectors.users_Ud[users_N] @ self.vectors.images_Id.T
        else:
            blocks = [self._most_similar(users_N[first : first + 64]) for first in range(0, len(users_N), 64)]
            scores_NI = np.concatenate([np.empty((0, len(self.unit_If)), np.float32), *blocks])
        scores_NI[:, ~_has_features(self.unit_If)] = -np.inf
        return np.asarray(scores_NI, np.float32)

    def _most_similar(self, users_N: np.ndarray) -> np.ndarray:
        favorites_NI = self.favorites_UI[users_N]
        has_N = np.diff(favorites_NI.indptr) > 0
        first_N, favored_Mf = favorites_NI.indptr[:-1][has_N], self.unit_If[favorites_NI.indices]
        scores_NI = np.zeros(favorites_NI.shape, np.float32)
        num_block = max(1, GATHERED_CELLS // max(1, len(favored_Mf)))
        for first in range(0, len(self.unit_If) if has_N.any() else 0, num_block):
            block = slice(first, first + num_block)
            scores_NI[has_N, block] = np.maximum.reduceat(favored_Mf @ self.unit_If[block].T, first_N, axis=0)
        return scores_NI

    def state(self) -> dict[str, np.ndarray]:
        return {"unit_If": self.unit_If, **pack_sparse("favorites_UI", self.favorites_UI)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.unit_If, self.favorites_UI = state["unit_If"], unpack_sparse("favorites_UI", state)


class ResNetCosine(InnerProduct[ResNetCosineConfig]):
    """ "More like this", asked of all favorites of a user at once: the mean cosine similarity of frozen features."""

    name = "resnet_cosine"
    source = "seed 002, the example with ResNet50; any frozen network in its place"
    needs = ("features",)
    Config = ResNetCosineConfig

    def fit(self, community: Community) -> None:
        unit_If, favorites_UI = _unit_features(community)
        self.fitted = vectors_of(_mean_favorite(unit_If, favorites_UI), unit_If, _has_features(unit_If))


class SmallCNN(nn.Module):
    """Φ for a CPU: convolutions that halve the side, the mean over places, one layer. uint8 (B, S, S, 3) to (B, K)."""

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


def autoencoder_codes(pixels: Pixels, config: CAEConfig, seed: int) -> np.ndarray:
    """float32 (I, f): the codes of the pictures by an autoencoder trained on them, zeros for images without one."""
    device = choose_device("auto")
    encoder = convolutions(config.channels)
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise((*config.channels[::-1], 3)):
        layers += [nn.ConvTranspose2d(width_in, width_out, 4, stride=2, padding=1), nn.ReLU()]
    autoencoder = nn.Sequential(encoder, *layers[:-1]).to(device).train()
    optimizer = torch.optim.Adam(autoencoder.parameters(), config.autoencoder_rate)
    rng = np.random.default_rng(seed)
    has = np.flatnonzero(pixels.has_I)
    for _ in range(config.autoencoder_epochs):
        for batch in np.array_split(rng.permutation(has), -(-len(has) // config.autoencoder_batch) or 1):
            pictures = scaled(torch.from_numpy(pixels.gather(batch)).to(device), config.size_px)
            loss = functional.mse_loss(autoencoder(pictures), pictures)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    encoder.eval()
    codes = []
    with torch.inference_mode():
        for first in range(0, len(has), bpr.EMBEDDED):
            pictures = torch.from_numpy(pixels.gather(has[first : first + bpr.EMBEDDED])).to(device)
            codes.append(encoder(scaled(pictures, config.size_px)).flatten(1).cpu().numpy())
    codes_If = np.zeros((len(pixels.has_I), codes[0].shape[1]), np.float32)
    codes_If[has] = np.concatenate(codes)
    return codes_If


def _one_layer(
    inputs_If: np.ndarray, has_I: np.ndarray, community: Community, config: TasteConfig, seed: int
) -> Vectors:
    """θ_u · (W f_i + b), trained: what is put on top of a frozen network."""
    phi = nn.Linear(inputs_If.shape[1], config.K)
    tastes = Tastes(community.num_users, phi, lambda rows: inputs_If[rows], config)
    return _trained(tastes, community, has_I, config, seed)


def _trained(ranker: Ranker, community: Community, usable_I: np.ndarray, config: BPRConfig, seed: int) -> Vectors:
    """Vectors of usable images after training, in which images that nobody favored take no part.

    They would be negatives always, and what tells them from others would be learned as a look that nobody likes.
    """
    for _ in bpr.train(ranker, community.favorites_UI, usable_I & (community.popularity_I > 0), config, seed):
        pass
    return vectors_of(*bpr.embed(ranker, community.favorites_UI, usable_I), usable_I)


def _features(community: Community) -> tuple[np.ndarray, np.ndarray]:
    """The features, standardised, and which images have them."""
    assert community.features_If is not None  # the system needs them
    has_I = community.has_features_I
    return _standardised(community.features_If, has_I), has_I


def _has_features(features_If: np.ndarray) -> np.ndarray:
    return np.asarray(features_If.any(axis=1))


def _pixels(community: Community) -> Pixels:
    assert community.pixels is not None  # the system needs them
    return community.pixels


def _standardised(inputs_If: np.ndarray, has_I: np.ndarray) -> np.ndarray:
    """Centred and over one common scale, so that a learning rate means the same for every network; zeros stay zeros.

    Comparisons do not change by it: the centre drops out of x_ui - x_uj, and the layer learns the scale.
    """
    centred_If = inputs_If - inputs_If[has_I].mean(axis=0)
    scale = np.sqrt(np.mean(centred_If[has_I] ** 2))
    return np.where(has_I[:, None], centred_If / max(scale, 1e-12), 0).astype(np.float32)


def _unit_features(community: Community) -> tuple[np.ndarray, csr_array]:
    """The features over their norms, and the favorites that have features."""
    assert community.features_If is not None  # the system needs them
    norms_I = np.linalg.norm(community.features_If, axis=1, keepdims=True)
    unit_If = (community.features_If / np.where(norms_I > 0, norms_I, 1)).astype(np.float32)
    favorites_UI = csr_array(community.favorites_UI.multiply(norms_I[:, 0] > 0).tocsr())
    favorites_UI.eliminate_zeros()
    return unit_If, favorites_UI


def _mean_favorite(unit_If: np.ndarray, favorites_UI: csr_array) -> np.ndarray:
    counts_U = np.diff(favorites_UI.indptr)
    return np.asarray((favorites_UI @ unit_If) / np.maximum(counts_U, 1)[:, None])
