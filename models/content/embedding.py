"""Vectors of pictures by a network, in batches of one size.

B pictures, S their side in pixels, f features.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models.devices import choose_device
from models.retrieval.fixed_blocks import map_rows


def embed(network: nn.Module, pixels_BSS3: np.ndarray, batch_images: int) -> np.ndarray:
    """float32 (B, f) of unit norm: features of pictures, uint8, by a backbone or by `OwnFeatures`."""
    device = choose_device("auto")
    network.to(device).eval()

    def embedded(block_BSS3: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return functional.normalize(network(torch.from_numpy(block_BSS3).to(device)), dim=1).cpu().numpy()

    return map_rows(embedded, pixels_BSS3, batch_images).astype(np.float32)
