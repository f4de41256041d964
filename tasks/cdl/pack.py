"""Shards of vectors as inputs of the image tower: image features, bags of tag clusters, vectors from favorites."""

import numpy as np

from models.cdl.inputs import unit_vectors
from models.content import profiles
from storage import matrices, parquet, shards
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from tasks.data.tastes import labels_of
from tasks.runtime.caching import stage


@stage
def pack_features(image_features: Ref, shard_images: int, root: Root) -> list[Ref]:
    """The features that the source brings, at unit length."""
    rows = parquet.read(image_features, root)
    return _pack(rows["image_id"].to_numpy(), matrices.vectors_of(rows["feature"]), shard_images, root)


@stage
def scale_features(shard: Ref, root: Root) -> Ref:
    """One shard of features that were extracted from pictures, at unit length."""
    features = Shards.open([shard], root)
    vectors_If = features.gather(np.arange(len(features)))
    return shards.write(features.ids.tolist(), unit_vectors(vectors_If), "vectors", root)


@stage
def pack_image_vectors(vectors: Ref, shard_images: int, root: Root) -> list[Ref]:
    """The images' word2vec vectors, from favorites, at unit length."""
    rows = parquet.read(vectors, root)
    return _pack(rows["token"].to_numpy(), matrices.vectors_of(rows["vector"]), shard_images, root)


@stage
def pack_tag_bags(image_tags: Ref, clusters: Ref, shard_images: int, root: Root) -> list[Ref]:
    """The bag of clusters of each image's tags, at unit length; dense shard by shard."""
    rows = parquet.read(image_tags, root)
    images, tags = matrices.ids_of(rows["image_id"]), matrices.ids_of(rows["tag"])
    counts_IT = matrices.incidence(rows["image_id"], rows["tag"], images, tags)
    bags_IC = profiles.bag_of_clusters(counts_IT, labels_of(clusters, tags, root), clusters.rows)
    tagged = np.flatnonzero(np.diff(bags_IC.indptr))
    packed = []
    for part in shards.cut(images[tagged], shard_images):
        chosen = tagged[part]
        packed += _pack(images[chosen], bags_IC[chosen].toarray(), shard_images, root)
    return packed


def _pack(ids: np.ndarray, vectors_Id: np.ndarray, shard_images: int, root: Root) -> list[Ref]:
    """Shards of vectors at unit length."""
    unit_Id = unit_vectors(vectors_Id)
    return [shards.write(ids[part].tolist(), unit_Id[part], "vectors", root) for part in shards.cut(ids, shard_images)]
