"""What the image tower sees: pixels, ready features, the clusters of an image's tags, or vectors from favorites."""

from dataclasses import dataclass
from typing import Literal

from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from tasks.cdl.pack import pack_features, pack_image_vectors, pack_tag_bags
from tasks.data.tastes import Vectors
from tasks.data.vectors import learn_vectors
from tasks.data.word2vec import Word2VecConfig

InputKind = Literal["pixels", "features", "tags", "favorites"]
KINDS: tuple[InputKind, ...] = ("pixels", "features", "tags", "favorites")


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """Which input the image tower takes."""

    kind: Literal["auto", "pixels", "features", "tags", "favorites"] = (
        "auto"  # auto: the first that half the images have
    )
    shard_images: int = 8192  # images in a shard of vectors

    def __post_init__(self) -> None:
        if self.kind not in ("auto", *KINDS):
            raise ValueError(f"inputs.kind is {self.kind!r}; choose auto or one of {', '.join(KINDS)}")


@dataclass(frozen=True)
class Inputs:
    """The shards of inputs, their kind, and how many images have each kind. Images without one are left out."""

    kind: InputKind
    shards: list[Ref]
    coverage: dict[str, int]
    num_images: int
    looks: Vectors | None  # where the images' vectors were learned from favorites


def prepare_inputs(
    table: dict[str, Ref],
    pixels: list[Ref],
    training: Ref,
    vectors: Vectors,
    clusters: Ref,
    word2vec: Word2VecConfig,
    config: InputConfig,
    root: Root,
    kept: Inputs | None = None,
) -> Inputs:
    """The inputs of the first kind that half of the images have, else of the kind that most have.

    `kept`: what a model that is kept or trained on has learned from; its kind stays.
    """
    features = table.get("image_features")
    coverage = {
        "pixels": sum(shard.rows for shard in pixels),
        "features": features.rows if features else 0,
        "tags": _num_images(table["image_tags"], root),
        "favorites": _num_images(training, root),
    }
    kind = kept.kind if kept else choose(coverage, table["images"].rows, config)
    looks = None
    if kind == "pixels":
        packed = pixels
    elif kind == "features" and features:
        packed = pack_features(features, config.shard_images, root)
    elif kind == "tags":
        packed = pack_tag_bags(table["image_tags"], clusters, config.shard_images, root)
    else:
        looks = kept.looks if kept else vectors if vectors.of == "images" else None
        looks = looks or learn_vectors("images", [training], word2vec, root)
        packed = pack_image_vectors(looks.vectors, config.shard_images, root)
    return Inputs(kind, packed, coverage, table["images"].rows, looks)


def choose(coverage: dict[str, int], num_images: int, config: InputConfig) -> InputKind:
    """The kind of input for a community in which `coverage` of `num_images` have each kind."""
    if config.kind != "auto":
        if not coverage[config.kind]:
            raise ValueError(
                f"inputs.kind is {config.kind!r}, but no image of this source has it; images with: {coverage}"
            )
        return config.kind
    enough = [kind for kind in KINDS if 2 * coverage[kind] >= num_images]
    return enough[0] if enough else max(KINDS, key=lambda kind: coverage[kind])


def _num_images(pairs: Ref, root: Root) -> int:
    return int(parquet.scan(pairs, root).select("image_id").unique().collect().height)
