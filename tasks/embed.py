"""CDL's embeddings of images, shard by shard, and of users; their inner product is the score."""

import numpy as np
from prefect import unmapped

from models import cdl
from models.cdl import CDLConfig
from models.training import choose_device
from storage import tables
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from tasks.caching import stage
from tasks.profiles import read_profiles
from tasks.scoring import Embeddings, Model, write_embeddings
from tasks.train import Trained, load_cdl

USER_BLOCK = 16_384  # users whose dense profiles are in memory at a time


def embed_all(
    table: dict[str, Ref], profiles: Ref, inputs: list[Ref], trained: Trained, model: CDLConfig, device: str, root: Root
) -> Model:
    """Everybody, and every shard of images, each shard a cached task run of its own."""
    fixed = [unmapped(item) for item in (trained, model, device, root)]
    images = list(embed_images.map(inputs, *fixed).result())
    embeddings = Embeddings(embed_users(profiles, trained, model, device, root), images)
    return Model("cdl", _label(trained), table["users"], table["images"], embeddings, None)


@stage
def embed_images(shard: Ref, trained: Trained, model: CDLConfig, device: str, root: Root) -> Ref:
    """IMAGE_EMBEDDINGS of one shard."""
    network = load_cdl(trained, model, root, choose_device(device))
    shards = Shards.open([shard], root)
    images_Id = cdl.embed(network.image_tower, shards.gather(np.arange(len(shards))))
    _, vectors = cdl.score_vectors(network, images_Id[:0], images_Id)
    return write_embeddings(tables.IMAGE_EMBEDDINGS, shards.ids, vectors, _label(trained), root)


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
    return write_embeddings(tables.USER_EMBEDDINGS, users, vectors, _label(trained), root)


def _label(trained: Trained) -> str:
    return f"cdl-{trained.checkpoint.sha256[:12]}"
