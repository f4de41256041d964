"""Image features from the community's own pictures: learned, or descriptors.

B pictures, S their side in pixels, I images, f features, N = 2B augmented views.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.devices import choose_device
from models.gather import Gather
from models.settings.features import FeatureConfig, LearningConfig

THUMBNAIL, CELLS, ORIENTATIONS = 8, 8, 9  # 8 x 8 colours; 8 x 8 cells of 8 x 8 pixels, nine orientations in each
STATISTICS_BATCH = 256  # pictures at a time, for means and deviations
BLOCK = 3  # modules for each width of `convolutions`: convolution, normalisation, ReLU


class OwnFeatures(nn.Module):
    """Features from the community's own pictures: uint8 (B, S, S, 3) to float32 (B, f) of unit norm.

    Each block (learned features; a thumbnail; oriented gradients) is z-scored, and weighted so that learned features
    and descriptors count the same in a distance.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor

    def __init__(self, config: FeatureConfig):
        super().__init__()
        learning, self.parts = config.learning, config.parts
        self.encoder = Encoder(learning) if "learned" in self.parts else None
        widths = [sum(learning.channels[-2:])] if "learned" in self.parts else []
        shares = [1.0] * len(widths)
        if "descriptors" in self.parts:
            widths += [3 * THUMBNAIL**2, ORIENTATIONS * CELLS**2]
            shares += [0.5, 0.5]
        weights = [torch.full((width,), math.sqrt(share / width)) for width, share in zip(widths, shares, strict=True)]
        self.register_buffer("weight", torch.cat(weights), persistent=False)
        self.register_buffer("mean", torch.zeros(sum(widths)))
        self.register_buffer("std", torch.ones(sum(widths)))

    def blocks(self, pixels_BSS3: Tensor) -> Tensor:
        """float32 (B, f): the blocks side by side, before standardisation."""
        blocks = [self.encoder.represent(scaled(pixels_BSS3, self.encoder.represented_px))] if self.encoder else []
        if "descriptors" in self.parts:
            blocks += [thumbnail(pixels_BSS3), gradients(pixels_BSS3)]
        return torch.cat(blocks, 1)

    def forward(self, pixels_BSS3: Tensor) -> Tensor:
        standard = (self.blocks(pixels_BSS3) - self.mean) / self.std
        return functional.normalize(standard * self.weight, dim=1)


class Encoder(nn.Module):
    """The network to be learned, with the head that projects views for the loss."""

    def __init__(self, config: LearningConfig):
        super().__init__()
        self.represented_px = 2 * config.size_px  # larger than the views, whose crops enlarge what they show
        self.convolutions = convolutions(config.channels)
        width = config.channels[-1]
        self.head = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, config.projection)
        )

    def forward(self, views_N: Tensor) -> Tensor:
        """(N, 3, S, S) to unit vectors (N, projection)."""
        return functional.normalize(self.head(self.convolutions(views_N).mean((2, 3))), dim=1)

    def represent(self, pictures: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, f): the outputs of the last two convolutions, averaged over positions."""
        before = self.convolutions[:-BLOCK](pictures)
        return torch.cat([before.mean((2, 3)), self.convolutions[-BLOCK:](before).mean((2, 3))], 1)


def learn(gather: Gather, num_images: int, config: FeatureConfig) -> Iterator[tuple[OwnFeatures, float]]:
    """Learn features from I pictures, yielding them with the mean loss after each epoch, and at the end standardised.

    Without learned parts only the latter, with a loss of nan.

    Args:
        gather: takes rows, 0 to I - 1, and returns pictures, uint8 (B, S, S, 3).
    """
    learning, device = config.learning, choose_device("auto")
    rng = np.random.default_rng(learning.seed)
    chosen = np.sort(rng.permutation(num_images)[: learning.max_images])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(learning.seed)
        features = OwnFeatures(config).to(device)
    loss = math.nan
    if features.encoder:
        for loss in _contrast(features.encoder, gather, chosen, learning, rng, device):
            yield features, loss
    _standardise(features.eval().requires_grad_(False), gather, chosen, device)
    yield features, loss


def _contrast(
    encoder: Encoder,
    gather: Gather,
    chosen: np.ndarray,
    config: LearningConfig,
    rng: np.random.Generator,
    device: torch.device,
) -> Iterator[float]:
    """SimCLR's training (its Algorithm 1), yielding each epoch's mean loss."""
    encoder.train()
    generator = torch.Generator(device).manual_seed(config.seed)
    optimizer = torch.optim.AdamW(encoder.parameters(), config.learning_rate, weight_decay=1e-4)
    num_batches = max(1, len(chosen) // config.batch_images)
    num_steps, warm_up = config.epochs * num_batches, 50
    for epoch in range(config.epochs):
        losses = []
        for row, batch in enumerate(np.array_split(rng.permutation(chosen), num_batches)):
            step = epoch * num_batches + row
            rate = min(1, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / num_steps))
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * rate
            pixels = torch.from_numpy(gather(batch)).to(device)
            views = torch.cat([augment(pixels, config, generator) for _ in range(2)])
            loss = contrastive_loss(encoder(views), config.temperature)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.detach())
        yield float(torch.stack(losses).mean())


def contrastive_loss(views_Nd: Tensor, temperature: float) -> Tensor:
    """NT-Xent (SimCLR, equation 1): each unit vector is to identify the other view of its picture, N / 2 rows away."""
    similar_NN = views_Nd @ views_Nd.T / temperature
    similar_NN = similar_NN.masked_fill(torch.eye(len(similar_NN), dtype=torch.bool, device=similar_NN.device), -1e4)
    other = torch.arange(len(similar_NN), device=similar_NN.device).roll(len(similar_NN) // 2)
    return functional.cross_entropy(similar_NN, other)


def augment(pixels_BSS3: Tensor, config: LearningConfig, generator: torch.Generator) -> Tensor:
    """A view of each picture, float32 (B, 3, size_px, size_px): crop, flip, colour jitter, one in five grey."""
    pictures = pixels_BSS3.permute(0, 3, 1, 2).float() / 127.5 - 1

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(pictures), generator=generator, device=pictures.device)

    area, aspect = uniform(config.min_area, 1), uniform(-1, 1).mul(math.log(4 / 3)).exp()
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    crop_B23 = pictures.new_zeros(len(pictures), 2, 3)
    crop_B23[:, 0, 0], crop_B23[:, 1, 1] = width * uniform(-1, 1).sign(), height
    crop_B23[:, 0, 2], crop_B23[:, 1, 2] = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
    places = functional.affine_grid(crop_B23, [len(pictures), 3, config.size_px, config.size_px], align_corners=False)
    views = functional.grid_sample(pictures, places, padding_mode="border", align_corners=False)

    brightness, contrast, saturation = (
        uniform(1 - 0.8 * config.jitter, 1 + 0.8 * config.jitter).view(-1, 1, 1, 1) for _ in range(3)
    )
    views = views * brightness
    mean = views.mean((1, 2, 3), keepdim=True)
    views = mean + contrast * (views - mean)
    grey = views.mean(1, keepdim=True)
    return grey + torch.where(uniform(0, 1).view(-1, 1, 1, 1) < 0.2, 0, saturation) * (views - grey)


def _standardise(features: OwnFeatures, gather: Gather, chosen: np.ndarray, device: torch.device) -> None:
    """Set the means and standard deviations to those of the chosen pictures, computed in float64."""
    total = torch.zeros(2, len(features.mean), dtype=torch.float64)
    with torch.inference_mode():
        for first in range(0, len(chosen), STATISTICS_BATCH):
            pixels = torch.from_numpy(gather(chosen[first : first + STATISTICS_BATCH])).to(device)
            blocks = features.blocks(pixels).double().cpu()
            total += torch.stack([blocks.sum(0), blocks.square().sum(0)])
    mean, square = total / max(1, len(chosen))
    std = (square - mean.square()).clamp(min=0).sqrt()
    features.mean.copy_(mean)
    features.std.copy_(torch.where(std > 1e-6, std, 1))


def thumbnail(pixels_BSS3: Tensor) -> Tensor:
    """float32 (B, 192): the mean colours of 8 x 8 areas."""
    return scaled(pixels_BSS3, THUMBNAIL).flatten(1)


def gradients(pixels_BSS3: Tensor) -> Tensor:
    """float32 (B, 576): histograms of oriented gradients (Dalal & Triggs 2005), each cell of unit norm.

    Orientations are unsigned; a gradient's length is shared between its two nearest ones. Normalising by neighbouring
    cells too, as the paper does, made no difference for cold images on movielens-posters.
    """
    grey = scaled(pixels_BSS3, CELLS * CELLS).mean(1, keepdim=True)
    padded = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    down, right = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1], padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    angle = torch.atan2(down, right).remainder(math.pi) * (ORIENTATIONS / math.pi)
    centres = torch.arange(ORIENTATIONS, device=angle.device).view(1, -1, 1, 1)
    apart = (angle - centres).abs()
    apart = torch.minimum(apart, ORIENTATIONS - apart)
    histograms = functional.avg_pool2d((1 - apart).clamp(min=0) * torch.hypot(down, right), CELLS)
    energy = histograms.square().sum(1, keepdim=True)
    return (histograms / (energy + 1e-4).sqrt()).flatten(1)  # the constant suppresses noise in uniform cells


def convolutions(channels: tuple[int, ...]) -> nn.Sequential:
    """A network from (B, 3, S, S) to (B, channels[-1], S / 2 ** len(channels), ...): BLOCK modules for each width."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise((3, *channels)):
        convolution = nn.Conv2d(width_in, width_out, 3, stride=2, padding=1, bias=False)  # the norm has a bias
        layers += [convolution, nn.BatchNorm2d(width_out), nn.ReLU()]
    return nn.Sequential(*layers)


def scaled(pixels_BSS3: Tensor, size_px: int) -> Tensor:
    """float32 (B, 3, size_px, size_px) between -1 and 1 from uint8 (B, S, S, 3); resized by the mean of areas."""
    pictures = pixels_BSS3.permute(0, 3, 1, 2).float() / 127.5 - 1  # a permuted view is channels-last already
    return pictures if pictures.shape[2:] == (size_px, size_px) else functional.adaptive_avg_pool2d(pictures, size_px)
