"""Shards of pixels to shards of features: by a frozen network, or by what the pictures themselves teach."""

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
    """A shard of features for each of some shards; `network` made them where it was learned here."""

    shards: list[Ref]
    network: Ref | None
    of: list[Ref]


def extract_features(
    pixels: list[Ref], config: FeatureConfig, root: Root, network: Ref | None = None, last: Sequence[ShardOutput] = ()
) -> Features:
    """A shard of features for each shard of pixels, each a cached task run of its own.

    Features that are learned change with every picture that comes or goes; those of a named backbone do not, nor do
    those of a `network` that an earlier night learned.

    Args:
        last: shards of pixels that an earlier night had, and what the very same network made of them.
    """
    if not pixels:
        return Features([], None, [])
    if config.backbone:
        weights = keep_weights(config.weights, root) if config.weights else None
        made = apply_backbone.map(pixels, *(unmapped(item) for item in (weights, config, root, unsearched(list(last)))))
    else:
        network = network or learn_features(pixels, config, root)
        made = apply_learned.map(pixels, *(unmapped(item) for item in (network, config, root, unsearched(list(last)))))
    return Features(made, network, pixels)


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
    """A checkpoint of what all the pictures taught."""
    pictures = Shards.open(pixels, root)
    progress = Progress("learn-features", config.learning.epochs + 1, "passes over the pictures")
    for reached in features.learn(pictures.gather, len(pictures), config):
        made, _ = reached
        progress.advance()
    return checkpoints.store({"model": made.state_dict()}, "features", root)


@stage
def apply_learned(shard: Ref, learned: Ref, config: FeatureConfig, root: Root, last: list[ShardOutput]) -> Ref:
    """Features of one shard by what was learned from all."""
    made = OwnFeatures(config)
    made.load_state_dict(checkpoints.load(root, learned.path)["model"])
    return _extract(shard, made, config, root, last)


def _extract(shard: Ref, network: nn.Module, config: FeatureConfig, root: Root, last: list[ShardOutput]) -> Ref:
    pictures, vectors_If, num_new = reuse.fill(
        shard,
        last,
        lambda made: next(Shards.open([made], root).blocks())[1],
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
