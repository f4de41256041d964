"""The shards of inputs of the image tower: of pixels, features, tag clusters, or vectors from favorites."""

from dataclasses import dataclass

from models.cdl.inputs import choose
from models.settings.inputs import InputConfig, InputKind
from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from tasks.cdl.pack import pack_features, pack_image_vectors, pack_tag_bags, scale_features
from tasks.data.pictures import Features
from tasks.data.tastes import Vectors
from tasks.data.vectors import learn_vectors
from tasks.runtime.caching import unmapped
from tasks.settings.word2vec import Word2VecConfig


@dataclass(frozen=True)
class Inputs:
    """The shards of inputs, their kind, and how many images have each kind. Images without one are left out."""

    kind: InputKind
    shards: list[Ref]
    coverage: dict[InputKind, int]
    num_images: int
    image_vectors: Vectors | None  # where the images' vectors were learned from favorites


@dataclass(frozen=True)
class InputSources:
    """What a community has for inputs."""

    table: dict[str, Ref]  # the community, as ingested
    training: Ref  # the favorites to learn from
    pixels: list[Ref]
    features: Features | None  # extracted from the pixels, where the tower may take them
    vectors: Vectors  # of the community's words
    clusters: Ref

    def coverage(self, root: Root) -> dict[InputKind, int]:
        """How many images have each kind of input."""
        features = self.table.get("image_features")
        extracted = self.features.shards if self.features else []
        return {
            "pixels": sum(shard.rows for shard in self.pixels),
            "features": features.rows if features else sum(shard.rows for shard in extracted),
            "tags": _num_images(self.table["image_tags"], root),
            "favorites": _num_images(self.training, root),
        }


def prepare_inputs(
    sources: InputSources, config: InputConfig, word2vec: Word2VecConfig, root: Root, kept: Inputs | None = None
) -> Inputs:
    """The inputs of the kind that `models.cdl.inputs.choose` chooses.

    Args:
        word2vec: how vectors are learned from favorites, where they are needed.
        kept: the inputs of a model that is kept or trained on from; their kind stays.
    """
    coverage, num_images = sources.coverage(root), sources.table["images"].rows
    kind = kept.kind if kept else choose(coverage, num_images, config)
    image_vectors = None
    if kind == "pixels":
        packed = sources.pixels
    elif kind == "features":
        packed = _features(sources, config, root)
    elif kind == "tags":
        packed = pack_tag_bags(sources.table["image_tags"], sources.clusters, config.shard_images, root)
    else:
        image_vectors = kept.image_vectors if kept else sources.vectors if sources.vectors.of == "images" else None
        image_vectors = image_vectors or learn_vectors("images", [sources.training], word2vec, root)
        packed = pack_image_vectors(image_vectors.vectors, config.shard_images, root)
    return Inputs(kind, packed, coverage, num_images, image_vectors)


def _features(sources: InputSources, config: InputConfig, root: Root) -> list[Ref]:
    """The source's own features, else those extracted from its pictures; at unit length."""
    if own := sources.table.get("image_features"):
        return pack_features(own, config.shard_images, root)
    assert sources.features, "features were chosen, but there are none"
    return scale_features.map(sources.features.shards, unmapped(root))


def _num_images(pairs: Ref, root: Root) -> int:
    return int(parquet.scan(pairs, root).select("image_id").unique().collect().height)
