"""Shards of pixels to shards of features, by a network that learns from the pictures."""

from collections.abc import Sequence

from models.content import features
from models.content.embedding import embed
from models.content.features import OwnFeatures
from models.settings.features import FeatureConfig
from storage import checkpoints, shards
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from tasks.data import reuse
from tasks.data.pictures import Features
from tasks.data.reuse import ShardOutput
from tasks.runtime import ledger
from tasks.runtime.caching import stage, unmapped, unsearched
from tasks.runtime.progress import Progress


def extract_learned(
    pixels: list[Ref], config: FeatureConfig, root: Root, network: Ref | None = None, last: Sequence[ShardOutput] = ()
) -> Features:
    """A shard of features for each shard of pixels, each a cached task run of its own.

    Features of a network that learns change with every picture that comes or goes; those of a `network` that an earlier
    night learned do not.

    Args:
        last: shards of pixels of the previous run, and their features by the very same network.
    """
    if not pixels:
        return Features([], None, [])
    network = network or learn_features(pixels, config, root)
    outputs = apply_learned.map(pixels, *(unmapped(item) for item in (network, config, root, unsearched(list(last)))))
    return Features(outputs, network, pixels, f"this community's pictures: {' and '.join(config.parts)}")


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
    network.load_state_dict(checkpoints.load(learned, root)["model"])
    pictures, vectors_If, num_new = reuse.fill(
        shard,
        last,
        lambda output: next(Shards.open([output], root).blocks())[1],
        lambda pixels: embed(network, pixels, config.batch_images),
        root,
    )
    ledger.count("image features made", num_new)
    return shards.write(pictures.ids.tolist(), vectors_If, "features", root)
