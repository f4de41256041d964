"""The trained network: its record, and how to load it."""

from dataclasses import dataclass
from functools import lru_cache

import torch

from models.cdl.network import CDL, restore
from models.settings.network import CDLConfig
from storage import checkpoints
from storage.refs import Ref
from storage.roots import Root


@dataclass(frozen=True)
class Trained:
    """The trained weights, the shape of the network, and how its loss fell."""

    checkpoint: Ref
    image_shape: list[int]
    num_clusters: int
    losses: list[tuple[int, float]]  # (step, mean of the ten steps up to it)
    device: str


def load_cdl(trained: Trained, model: CDLConfig, root: Root, device: torch.device) -> CDL:
    """The trained network, ready to embed. It is loaded once and shared by the task runs of all shards."""
    return _load(trained.checkpoint, tuple(trained.image_shape), trained.num_clusters, model, root, device)


@lru_cache(maxsize=2)  # the model that is measured, and the one that is published
def _load(
    checkpoint: Ref, image_shape: tuple[int, ...], num_clusters: int, model: CDLConfig, root: Root, device: torch.device
) -> CDL:
    weights = checkpoints.load(checkpoint, root)["model"]
    return restore(weights, model, image_shape, num_clusters).to(device).eval()
