"""Bags of visual words: dense local descriptors, clustered into words and counted (Csurka et al. 2004; Lazebnik 2006).

B pictures of a block, I images, S side of a picture in pixels, o orientations, G cells of a side, P patches of a
picture, f descriptor entries, W words.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.community import Pixels
from models.content import clusters
from models.settings.clusters import ClusterConfig
from models.settings.visual_words import WordsConfig

CELLS, ORIENTATIONS, STRIDE_CELLS = 4, 8, 2  # Lowe's 4 x 4 cells of 8 orientations; patches overlap by half
LARGEST_ENTRY = 0.2  # of a unit descriptor: Lowe's bound on the weight of one strong edge
FLAT = 0.05  # gradient of a patch (1: black next to white) below which it is noise and not scaled to length 1
BLOCK_PIXELS = 2**18  # of the pictures described at once, at some 100 bytes each: twice as fast as blocks of 2**21
SAMPLE_PER_WORD = 64  # descriptors that the words are learned from
SAMPLE_PER_PICTURE = 16  # of them at most from one picture, if there are enough pictures


def histograms(pixels: Pixels, config: WordsConfig, seed: int, device: torch.device) -> np.ndarray:
    """float32 (I, W): square roots of each word's share of a picture's patches, so rows have length 1.

    Rows of images without a picture are zeros. Words are learned on patches sampled from all pictures, by `seed`.

    Raises:
        ValueError: no picture, or pictures smaller than one patch.
    """
    patch_px = CELLS * config.cell_px
    if pixels.size_px < patch_px:
        raise ValueError(
            f"pictures have {pixels.size_px} px a side, a patch has {patch_px}: set a cell_px of at most "
            f"{pixels.size_px // CELLS}, or decode the pictures larger"
        )
    rows = np.flatnonzero(pixels.has_I)
    if not len(rows):
        raise ValueError("no image has a picture, so there are no visual words to learn; the system needs pixels")
    words_Wf = _learn_words(pixels, rows, config, seed, device)
    histograms_IW = np.zeros((len(pixels.has_I), len(words_Wf)), np.float32)
    centroids = torch.from_numpy(words_Wf).to(device)
    for block in _blocks(rows, pixels.size_px):
        descriptors_BPf = _describe(pixels.gather(block), config, device)
        distances_BPW = (centroids**2).sum(1) - 2 * descriptors_BPf @ centroids.T
        words_BP = distances_BPW.argmin(2).cpu().numpy()
        cells = np.arange(len(block))[:, None] * len(words_Wf) + words_BP
        counts_BW = np.bincount(cells.ravel(), minlength=len(block) * len(words_Wf)).reshape(len(block), -1)
        histograms_IW[block] = np.sqrt(counts_BW / words_BP.shape[1])
    return histograms_IW


def descriptors(pictures_BSS3: np.ndarray, config: WordsConfig) -> np.ndarray:
    """float32 (B, P, f): unit descriptors of the patches, row by row; f is 128, or 131 with color.

    Dense upright SIFT (Lowe 2004) of one size: the gradients of the gray picture in 8 orientations, an angle shared
    between its two nearest, summed over 4 x 4 cells, scaled to length 1, clipped at 0.2 and scaled again. As in fast
    dense SIFT there is no Gaussian window and no sharing between cells. A flat patch has a descriptor of zeros.

    Args:
        pictures_BSS3: uint8.
    """
    return _describe(pictures_BSS3, config, torch.device("cpu")).numpy()


def _describe(pictures_BSS3: np.ndarray, config: WordsConfig, device: torch.device) -> Tensor:
    pictures = torch.from_numpy(pictures_BSS3).to(device).float().div(255)
    gray_BSS = pictures @ pictures.new_tensor([0.299, 0.587, 0.114])
    padded = functional.pad(gray_BSS[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    right, down = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    angle = torch.atan2(down, right) * (ORIENTATIONS / (2 * torch.pi))  # in orientations, from -4 to 4
    orientations = torch.arange(ORIENTATIONS, device=device)[:, None, None]
    apart = (angle[:, None] - orientations) % ORIENTATIONS
    share = (1 - torch.minimum(apart, ORIENTATIONS - apart)).clamp_(min=0)
    cells_BoGG = functional.avg_pool2d(share * torch.hypot(right, down)[:, None], config.cell_px)
    sift = functional.unfold(cells_BoGG, CELLS, stride=STRIDE_CELLS).transpose(1, 2)
    lengths = sift.norm(dim=2, keepdim=True)
    sift = functional.normalize(torch.where(lengths > FLAT, sift / lengths, 0).clamp(max=LARGEST_ENTRY), dim=2)
    if not config.color_weight:
        return sift
    patch_px, stride_px = CELLS * config.cell_px, STRIDE_CELLS * config.cell_px
    mean_color = functional.avg_pool2d(pictures.permute(0, 3, 1, 2), patch_px, stride_px).flatten(2).transpose(1, 2)
    return functional.normalize(torch.cat([sift, config.color_weight * mean_color], dim=2), dim=2)


def _learn_words(pixels: Pixels, rows: np.ndarray, config: WordsConfig, seed: int, device: torch.device) -> np.ndarray:
    """float32 (W, f): centroids of descriptors sampled uniformly from pictures sampled uniformly."""
    rng = np.random.default_rng(seed)
    wanted = SAMPLE_PER_WORD * config.num_words
    chosen = np.sort(rng.choice(rows, min(len(rows), -(-wanted // SAMPLE_PER_PICTURE)), replace=False))
    per_picture = -(-wanted // len(chosen))
    sample = []
    for block in _blocks(chosen, pixels.size_px):
        described_BPf = _describe(pixels.gather(block), config, device).cpu().numpy()
        order_BP = rng.random(described_BPf.shape[:2]).argsort(axis=1)[:, :per_picture, None]
        sample.append(np.take_along_axis(described_BPf, order_BP, axis=1).reshape(-1, described_BPf.shape[2]))
    vectors = np.concatenate(sample)
    return clusters.cluster(vectors, None, ClusterConfig(num_clusters=config.num_words, seed=seed))[1]


def _blocks(rows: np.ndarray, size_px: int) -> Iterator[np.ndarray]:
    step = max(1, BLOCK_PIXELS // size_px**2)
    for first in range(0, len(rows), step):
        yield rows[first : first + step]
