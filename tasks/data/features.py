"""Shards of pixels to shards of features: by a frozen network, or by one that learns from the pictures."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from prefect import unmapped
from safetensors.torch import load_file
from torch import Tensor, nn

from models.content import features
from models.content.features import FeatureConfig, OwnFeatures
from storage import checkpoints, shards
from storage.refs import Ref, store
from storage.roots import Root
from storage.shards import Shards
from tasks.data import reuse
from tasks.data.reuse import ShardOutput
from tasks.runtime import ledger
from tasks.runtime.caching import stage, unsearched
from tasks.runtime.progress import Progress


@dataclass(frozen=True)
class Features:
    """A shard of features for each shard of pixels in `of`; `network` is the learned one, None for a named backbone."""

    shards: list[Ref]
    network: Ref | None
    of: list[Ref]


def extract_features(
    pixels: list[Ref], config: FeatureConfig, root: Root, network: Ref | None = None, last: Sequence[ShardOutput] = ()
) -> Features:
    """A shard of features for each shard of pixels, each a cached task run of its own.

    Features of a network that learns change with every picture that comes or goes; those of a named backbone do not,
    nor those of a `network` that an earlier night learned.

    Args:
        last: shards of pixels of the previous run, and their features by the very same network.
    """
    if not pixels:
        return Features([], None, [])
    if config.backbone:
        weights = keep_weights(config.weights, root) if config.weights else None
        outputs = apply_backbone.map(
            pixels, *(unmapped(item) for item in (weights, config, root, unsearched(list(last))))
        )
    else:
        network = network or learn_features(pixels, config, root)
        outputs = apply_learned.map(
            pixels, *(unmapped(item) for item in (network, config, root, unsearched(list(last))))
        )
    return Features(outputs, network, pixels)


def keep_weights(path: str, root: Root) -> Ref:
    """The file of weights, below the root: its content is then part of the key, and every worker can read it."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(
            f"features.weights: no file {file}; put the backbone's state dict there (.safetensors or .pth), or leave "
            f"features.weights empty for the weights that timm downloads"
        )
    with root.workspace() as folder:
        return store(Path(shutil.copy(file, folder / f"weights{file.suffix}")), "weights", "weights", 0, root)


@stage
def apply_backbone(shard: Ref, weights: Ref | None, config: FeatureConfig, root: Root, last: list[ShardOutput]) -> Ref:
    """Features of one shard by the frozen network."""
    backbone = features.load_backbone(config.backbone, _state_dict(weights.local(root)) if weights else None)
    return _extract(shard, backbone, config, root, last)


@stage
def learn_features(pixels: list[Ref], config: FeatureConfig, root: Root) -> Ref:
    """The checkpoint of a network that has learned from all pictures."""
    pictures = Shards.open(pixels, root)
    progress = Progress("learn-features", config.learning.epochs + 1, "passes over the pictures")
    for state in features.learn(pictures.gather, len(pictures), config):
        network, _ = state
        progress.advance()
    return checkpoints.store({"model": network.state_dict()}, "features", root)


@stage
def apply_learned(shard: Ref, learned: Ref, config: FeatureConfig, root: Root, last: list[ShardOutput]) -> Ref:
    """Features of one shard by what was learned from all."""
    network = OwnFeatures(config)
    network.load_state_dict(checkpoints.load(root, learned.path)["model"])
    return _extract(shard, network, config, root, last)


def _extract(shard: Ref, network: nn.Module, config: FeatureConfig, root: Root, last: list[ShardOutput]) -> Ref:
    pictures, vectors_If, num_new = reuse.fill(
        shard,
        last,
        lambda output: next(Shards.open([output], root).blocks())[1],
        lambda pixels: features.embed(network, pixels, config.batch_images),
        root,
    )
    ledger.count("image features made", num_new)
    return shards.write(pictures.ids.tolist(), vectors_If, "features", root)


def _state_dict(file: Path) -> dict[str, Tensor]:
    content: dict[str, Tensor] = (
        load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    )
    return content
