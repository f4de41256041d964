"""Comparative Deep Learning (Lei et al., CVPR 2016): two towers, a weighted l2 distance, a comparison as the loss.

Shapes: U users, I images, B a batch of either, N triplets, C clusters, d latent dimensions, S side in pixels.
Symbols as in the paper: π the image tower, φ the user tower, D the distance, o the difference of two distances.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from models.retrieval import fixed_blocks
from models.settings.network import CDLConfig


class Convolution(NamedTuple):
    """A convolution, and what follows its ReLU: local response normalisation, then a max-pool of 3 x 3 at stride 2."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1  # of channels that do not see each other; AlexNet's two GPUs
    is_normalised: bool = False
    is_pooled: bool = False


@dataclass(frozen=True, kw_only=True)
class Size:
    """The towers' layers and their widths."""

    convolutions: tuple[Convolution, ...]
    pool_padding: int  # 0: AlexNet's, whose last window may reach over the edge
    image_hidden: tuple[int, int]
    user_hidden: tuple[int, int, int]
    dimensions: int
    dropout: float


# The paper's own widths stand in its Fig. 2, "inspired by AlexNet"; these are AlexNet's as Caffe has it, which the
# paper used, with the 1024 outputs that its text gives; the user tower's are a guess (docs/method.md).
# Small: less dropout, because at .5 a short training learns nothing (.18 on the demo, where .2 gives .49).
SIZES = {
    "paper": Size(
        convolutions=(
            Convolution(96, 11, stride=4, is_normalised=True, is_pooled=True),
            Convolution(256, 5, padding=2, groups=2, is_normalised=True, is_pooled=True),
            Convolution(384, 3, padding=1),
            Convolution(384, 3, padding=1, groups=2),
            Convolution(256, 3, padding=1, groups=2, is_pooled=True),
        ),
        pool_padding=0,
        image_hidden=(4096, 4096),
        user_hidden=(1024, 1024, 1024),
        dimensions=1024,
        dropout=0.5,
    ),
    "small": Size(
        convolutions=(
            Convolution(32, 5, stride=2, padding=2, is_pooled=True),
            Convolution(64, 3, padding=1, is_pooled=True),
            Convolution(96, 3, padding=1),
            Convolution(96, 3, padding=1),
            Convolution(64, 3, padding=1, is_pooled=True),
        ),
        pool_padding=1,
        image_hidden=(256, 256),
        user_hidden=(256, 256, 256),
        dimensions=128,
        dropout=0.2,
    ),
}

LAST_GAIN = 0.2


def fully_connected(widths: tuple[int, ...], dropout: float) -> nn.Sequential:
    """Linear layers of the given widths, ReLU and dropout between them."""
    layers: list[nn.Module] = []
    for row, (width_in, width_out) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(width_in, width_out))
        if row < len(widths) - 2:
            layers += [nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


class ImageTower(nn.Module):
    """π for pixels: five convolutions, three max-pools, three fully connected layers (section 4).

    uint8 (B, S, S, 3) in, float32 (B, d) out.
    """

    def __init__(self, size: Size, size_px: int):
        super().__init__()
        layers: list[nn.Module] = []
        channels_in = 3
        for one in size.convolutions:
            layers.append(
                nn.Conv2d(channels_in, one.channels, one.kernel, one.stride, padding=one.padding, groups=one.groups)
            )
            layers.append(nn.ReLU())
            if one.is_normalised:  # Krizhevsky et al. 2012, section 3.3, with the constants of Caffe's AlexNet
                layers.append(nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0))
            if one.is_pooled:
                layers.append(nn.MaxPool2d(3, 2, padding=size.pool_padding, ceil_mode=not size.pool_padding))
            channels_in = one.channels
        self.convolutions = nn.Sequential(*layers)
        try:
            with torch.no_grad():
                features = self.convolutions(torch.zeros(1, 3, size_px, size_px)).numel()
        except RuntimeError as error:  # torch: "Output size is too small"
            raise ValueError(
                f"images.size_px is {size_px}, of which the convolutions of this model.size leave nothing; raise it "
                f"(the paper's is 256; 64 is enough), or set model.size=small"
            ) from error
        self.layers = fully_connected((features, *size.image_hidden, size.dimensions), size.dropout)

    def forward(self, pixels_BSS3: Tensor) -> Tensor:
        scaled = pixels_BSS3.permute(0, 3, 1, 2).float() / 127.5 - 1  # a permuted view is channels-last already
        out: Tensor = self.layers(self.convolutions(scaled).flatten(1))
        return out


class VectorTower(nn.Module):
    """π for images that have a ready vector in place of pixels, and φ for users: fully connected layers.

    float32 (B, width) in, (B, d) out. Rows are expected to have about unit l2 norm; they are scaled to unit variance.
    """

    def __init__(self, width: int, hidden: tuple[int, ...], dimensions: int, dropout: float):
        super().__init__()
        self.scale = width**0.5
        self.layers = fully_connected((width, *hidden, dimensions), dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        out: Tensor = self.layers(vectors.float() * self.scale)
        return out


class CDL(nn.Module):
    """The two towers and the distance between their outputs."""

    def __init__(self, config: CDLConfig, image_shape: tuple[int, ...], num_clusters: int):
        """`image_shape`: (S, S, 3) for pixels, (width,) for vectors. `num_clusters`: width of a user's profile."""
        super().__init__()
        size = SIZES[config.size]
        self.config = config
        self.image_tower: nn.Module
        if len(image_shape) == 3:
            self.image_tower = ImageTower(size, image_shape[0])
        else:
            self.image_tower = VectorTower(image_shape[0], size.image_hidden, size.dimensions, size.dropout)
        self.user_tower = VectorTower(num_clusters, size.user_hidden, size.dimensions, size.dropout)
        self.dropout = nn.Dropout(size.dropout)
        self.weight_d = nn.Parameter(torch.full((size.dimensions,), size.dimensions**-0.5))
        self._initialise()

    def _initialise(self) -> None:
        """He's initialisation, the last layer of each tower made smaller, so that distances start near each other.

        Neither is in the paper. On the demo community, after 120 steps: precision@20 against matched others .52 with
        both, .49 with He's alone, .29 with torch's defaults, under which four layers of a tower shrink the signal to
        nothing beside the biases; group normalisation on top of He's lowered .49 to .39.
        """
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, layer.bias))
        with torch.no_grad():
            for tower in (self.image_tower, self.user_tower):
                last = [layer for layer in tower.modules() if isinstance(layer, nn.Linear)][-1]
                last.weight.mul_(LAST_GAIN)

    def distance(self, users_Nd: Tensor, images_Nd: Tensor) -> Tensor:
        """D = w · (φ − π)², with dropout on the squared difference (section 4): float32 (N,)."""
        squared: Tensor = self.dropout((users_Nd - images_Nd).square())
        return (squared * self.weight_d).sum(1)  # a matrix product would be of bfloat16, in autocast

    def distances(self, images: Tensor, profiles: Tensor, triplets_N3: Tensor) -> tuple[Tensor, Tensor]:
        """D(u, i+) and D(u, i−) of triplets of rows of `profiles` and `images`, each embedded once: float32 (N,)."""
        images_Bd, users_Bd = self.image_tower(images).float(), self.user_tower(profiles).float()
        user, positive, negative = triplets_N3.unbind(1)
        users_Nd = users_Bd[user]
        return self.distance(users_Nd, images_Bd[positive]), self.distance(users_Nd, images_Bd[negative])

    def forward(self, images: Tensor, profiles: Tensor, triplets_N3: Tensor) -> Tensor:
        """Mean loss of the triplets."""
        near_N, far_N = self.distances(images, profiles, triplets_N3)
        if self.config.loss == "softmax":
            return softmax_loss(near_N, far_N, triplets_N3[:, 0], len(profiles))
        if self.config.loss == "doublets":
            return doublet_loss(near_N, far_N)
        return comparison_loss(near_N - far_N, self.config)


def comparison_loss(o_N: Tensor, config: CDLConfig) -> Tensor:
    """Mean of log(1 + e^o) (Eq. 3 to 5 with the label 0 of Eq. 4), or of max(0, margin + o): scalar.

    `o_N`: D(u, i+) − D(u, i−), negative where the positive is nearer.
    """
    if config.loss == "hinge":
        return functional.relu(config.margin + o_N).mean()
    return functional.softplus(o_N).mean()


def doublet_loss(near_N: Tensor, far_N: Tensor) -> Tensor:
    """Mean cross entropy of σ(D) against 0 for favorites and 1 for negatives: scalar. A triplet is two doublets.

    TwoNets (section 6.1.2): each pair of a user and an image is near or far by itself. The paper's labels are the other
    way round, which would put favorites farthest; ours follow its Eq. 4: 0 is near.
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


def user_vectors(network: CDL, profiles_BC: np.ndarray, batch: int) -> np.ndarray:
    """float32 (B, d + 1): users as the vectors of `score_vectors`, embedded `batch` at a time."""
    users_Bd = embed(network.user_tower, profiles_BC, batch)
    return score_vectors(network, users_Bd, users_Bd[:0])[0]


def image_vectors(network: CDL, inputs: np.ndarray, batch: int) -> np.ndarray:
    """float32 (B, d + 1): images, by their inputs (B, ...), as the vectors of `score_vectors`."""
    images_Bd = embed(network.image_tower, inputs, batch)
    return score_vectors(network, images_Bd[:0], images_Bd)[1]


def score_vectors(network: CDL, users_Ud: np.ndarray, images_Id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors whose inner product ranks as −D does: float32 (U, d + 1), (I, d + 1).

    −D(u, i) = 2 (w ∘ φ) · π − w · π² − w · φ², and the last term is one number per user, so it changes no ranking:
    [2 w ∘ φ, −1] · [π, w · π²]. Exact top-K is one matrix product even where w has negative entries.
    """
    weight_d = network.weight_d.detach().cpu().numpy()
    users = np.concatenate([2 * weight_d * users_Ud, -np.ones((len(users_Ud), 1))], axis=1)
    # By einsum, as BLAS would add up in an order that depends on the number of images.
    lengths_I = np.einsum("id,d->i", np.square(images_Id), weight_d)
    images = np.concatenate([images_Id, lengths_I[:, None]], axis=1)
    return users.astype(np.float32), images.astype(np.float32)


class _WithoutRandomWeights(TorchFunctionMode):
    """Within it weights are not initialised at random: they stay what the memory held."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (nn.init.kaiming_uniform_, nn.init.uniform_, Tensor.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def restore(weights: Mapping[str, Tensor], config: CDLConfig, image_shape: tuple[int, ...], num_clusters: int) -> CDL:
    """The network with these weights. It spends no time on random ones, of which the paper's widths have millions."""
    with _WithoutRandomWeights():
        network = CDL(config, image_shape, num_clusters)
    network.load_state_dict(weights)
    return network


@torch.inference_mode()
def embed(tower: nn.Module, inputs: np.ndarray, batch: int = 256) -> np.ndarray:
    """The tower's outputs for a block of inputs, in batches: float32 (B, d). The tower must be in evaluation mode.

    In `models.retrieval.fixed_blocks`, as an image's embedding must not depend on how many others are new in a run.
    """
    device = next(tower.parameters()).device

    def embedded(block: np.ndarray) -> np.ndarray:
        return tower(torch.from_numpy(block).to(device)).float().cpu().numpy()  # type: ignore[no-any-return]

    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        return fixed_blocks.map_rows(embedded, inputs, batch)
