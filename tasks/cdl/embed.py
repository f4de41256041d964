"""CDL's embeddings of images, shard by shard, and of users; their inner product is the score."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from prefect import unmapped

from models.cdl.network import CDLConfig, embed, score_vectors
from models.devices import choose_device
from models.sparse import changed_rows
from storage import matrices
from storage.refs import Ref
from storage.roots import Root
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from tasks.cdl.trained import Trained, load_cdl
from tasks.data import reuse
from tasks.data.reuse import ShardOutput
from tasks.data.tastes import read_profiles
from tasks.runtime import ledger
from tasks.runtime.caching import stage, unsearched
from tasks.runtime.code_version import code_version
from tasks.systems.model import Embeddings, Model, read_embeddings, write_embeddings

BATCH_IMAGES, BATCH_USERS = 32, 256  # embedded at a time; even one that is new costs a batch
USER_BLOCK = 16_384  # users whose dense profiles are in memory at a time


def embed_all(
    table: dict[str, Ref],
    profiles: Ref,
    inputs: list[Ref],
    trained: Trained,
    model: CDLConfig,
    device: str,
    root: Root,
    images: Sequence[ShardOutput] = (),
    users: ShardOutput | None = None,
) -> Model:
    """The model: embeddings of all users, and of every shard of images, each shard a cached task run of its own.

    Args:
        images, users: inputs and embeddings of the previous run by the same network; unchanged rows are reused.
    """
    fixed = [unmapped(item) for item in (trained, model, device, root, unsearched(list(images)))]
    embedded = embed_images.map(inputs, *fixed)
    embedded_users = embed_users(profiles, trained, model, device, root, unsearched(users))
    embeddings = Embeddings(embedded_users, embedded, embedding_code())
    return Model("cdl", _label(trained), table["users"], table["images"], embeddings, None)


def embedding_code() -> str:
    """The version of the code that embeds: rows of another one are not reused."""
    return code_version(__name__)


@stage
def embed_images(
    shard: Ref, trained: Trained, model: CDLConfig, device: str, root: Root, last: list[ShardOutput]
) -> Ref:
    """IMAGE_EMBEDDINGS of one shard."""

    def embed_rows(values: np.ndarray) -> np.ndarray:
        network = load_cdl(trained, model, root, choose_device(device))  # only where something is new
        images_Id = embed(network.image_tower, values, BATCH_IMAGES)
        return score_vectors(network, images_Id[:0], images_Id)[1]

    inputs, vectors, num_new = reuse.fill(shard, last, lambda made: read_embeddings([made], root)[1], embed_rows, root)
    ledger.count("images embedded", num_new)
    return write_embeddings(IMAGE_EMBEDDINGS, inputs.ids, vectors, _label(trained), root)


@stage
def embed_users(
    profiles: Ref, trained: Trained, model: CDLConfig, device: str, root: Root, last: ShardOutput | None
) -> Ref:
    """USER_EMBEDDINGS of everybody."""
    network = load_cdl(trained, model, root, choose_device(device))
    users, profiles_UC = read_profiles(profiles, trained.num_clusters, root)
    vectors, is_new_U = np.empty((len(users), len(network.weight_d) + 1), np.float32), np.ones(len(users), bool)
    if last:
        known, before_KC = read_profiles(last.of, trained.num_clusters, root)
        row = matrices.rows_of(pa.array(users, pa.string()), known)
        here = np.flatnonzero(row >= 0)
        here = here[~changed_rows(profiles_UC[here], before_KC[row[here]])]
        vectors[here], is_new_U[here] = read_embeddings([last.output], root)[1][row[here]], False
    new = np.flatnonzero(is_new_U)
    for first in range(0, len(new), USER_BLOCK):
        rows = new[first : first + USER_BLOCK]
        users_Nd = embed(network.user_tower, profiles_UC[rows].toarray(), BATCH_USERS)
        vectors[rows] = score_vectors(network, users_Nd, users_Nd[:0])[0]
    ledger.count("users embedded", len(new))
    return write_embeddings(USER_EMBEDDINGS, users, vectors, _label(trained), root)


def _label(trained: Trained) -> str:
    return f"cdl-{trained.checkpoint.sha256[:12]}"
