"""Shards of inputs of the image tower that are no pixels: ready-made features, bags of tag clusters, image vectors."""

import numpy as np

from models.content import profiles
from storage import matrices, parquet, shards
from storage.refs import Ref
from storage.roots import Root
from tasks.data.tastes import labels_of
from tasks.runtime.caching import stage


@stage
def pack_features(image_features: Ref, shard_images: int, root: Root) -> list[Ref]:
    """The source's ready-made features."""
    rows = parquet.read(image_features, root)
    return _pack(rows["image_id"].to_numpy(), matrices.vectors_of(rows["feature"]), shard_images, root)


@stage
def pack_image_vectors(vectors: Ref, shard_images: int, root: Root) -> list[Ref]:
    """The images' word2vec vectors, from favorites."""
    rows = parquet.read(vectors, root)
    return _pack(rows["token"].to_numpy(), matrices.vectors_of(rows["vector"]), shard_images, root)


@stage
def pack_tag_bags(image_tags: Ref, clusters: Ref, shard_images: int, root: Root) -> list[Ref]:
    """The bag of the clusters of each image's tags; made dense shard by shard."""
    rows = parquet.read(image_tags, root)
    images, tags = matrices.ids_of(rows["image_id"]), matrices.ids_of(rows["tag"])
    counts_IT = matrices.incidence(rows["image_id"], rows["tag"], images, tags)
    bags_IC = profiles.bag_of_clusters(counts_IT, labels_of(clusters, tags, root), clusters.rows)
    known = np.flatnonzero(np.diff(bags_IC.indptr))
    packed = []
    for part in shards.cut(images[known], shard_images):
        chosen = known[part]
        packed += _pack(images[chosen], bags_IC[chosen].toarray(), shard_images, root)
    return packed


def _pack(ids: np.ndarray, vectors_Id: np.ndarray, shard_images: int, root: Root) -> list[Ref]:
    """Shards of l2-normalised vectors."""
    norms = np.linalg.norm(vectors_Id, axis=1, keepdims=True)
    unit_Id = (vectors_Id / np.where(norms > 0, norms, 1)).astype(np.float32)
    return [shards.write(ids[part].tolist(), unit_Id[part], "vectors", root) for part in shards.cut(ids, shard_images)]
