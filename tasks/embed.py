"""Embeddings of images, shard by shard, and of users, by the trained model; their inner product is the score."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from prefect import unmapped

from models import cdl
from models.cdl import CDLConfig
from models.training import choose_device
from storage import matrices, parquet, tables
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from storage.tables import Table
from tasks.caching import stage
from tasks.profiles import read_profiles
from tasks.train import Trained, load_cdl

USER_BLOCK = 16_384  # users whose dense profiles are in memory at a time


@dataclass(frozen=True)
class Embeddings:
    """What is exported: the inner product of a user's and an image's embedding is the score."""

    users: Ref
    images: list[Ref]


def embed_all(
    profiles: Ref, inputs: list[Ref], trained: Trained, model: CDLConfig, device: str, root: Root
) -> Embeddings:
    """Everybody, and every shard of images, each shard a cached task run of its own."""
    fixed = [unmapped(item) for item in (trained, model, device, root)]
    images = list(embed_images.map(inputs, *fixed).result())
    return Embeddings(embed_users(profiles, trained, model, device, root), images)


@stage
def embed_images(shard: Ref, trained: Trained, model: CDLConfig, device: str, root: Root) -> Ref:
    """IMAGE_EMBEDDINGS of one shard."""
    network = load_cdl(trained, model, root, choose_device(device))
    shards = Shards.open([shard], root)
    images_Id = cdl.embed(network.image_tower, shards.gather(np.arange(len(shards))))
    _, vectors = cdl.score_vectors(network, images_Id[:0], images_Id)
    return _write(tables.IMAGE_EMBEDDINGS, "image_id", shards.ids, vectors, trained, root)


@stage
def embed_users(profiles: Ref, trained: Trained, model: CDLConfig, device: str, root: Root) -> Ref:
    """USER_EMBEDDINGS of everybody."""
    network = load_cdl(trained, model, root, choose_device(device))
    users, profiles_UC = read_profiles(profiles, trained.num_clusters, root)
    blocks = [
        cdl.embed(network.user_tower, profiles_UC[row : row + USER_BLOCK].toarray(), 4096)
        for row in range(0, len(users), USER_BLOCK)
    ]
    vectors, _ = cdl.score_vectors(network, np.concatenate(blocks), blocks[0][:0])
    return _write(tables.USER_EMBEDDINGS, "user_id", users, vectors, trained, root)


def read_embeddings(refs: list[Ref], root: Root) -> tuple[np.ndarray, np.ndarray]:
    """Ids, sorted, and embeddings, float32 (len(ids), d)."""
    rows = pa.concat_tables([parquet.read(ref, root) for ref in refs])
    ids, vectors = rows[rows.column_names[0]].to_numpy(), matrices.vectors_of(rows["embedding"])
    order = np.argsort(ids.astype(str), kind="stable")
    return ids[order], vectors[order]


def _write(table: Table, key: str, ids: np.ndarray, vectors: np.ndarray, trained: Trained, root: Root) -> Ref:
    name = pa.array([model_name(trained)] * len(ids))
    columns = {key: ids, "embedding": matrices.lists_of(vectors), "model": name}
    return parquet.write(table.with_dimensions(vectors.shape[1]), columns, root)


def model_name(trained: Trained) -> str:
    """What the column `model` says."""
    return f"cdl-{trained.checkpoint.sha256[:12]}"
