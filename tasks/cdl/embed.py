"""CDL's embeddings of images, shard by shard, and of users; their inner product is the score."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from models.cdl.network import CDL, image_vectors, user_vectors
from models.devices import choose_device
from models.settings.network import CDLConfig
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
from tasks.runtime.caching import stage, unmapped, unsearched
from tasks.runtime.code_version import code_version
from tasks.systems.model import Embeddings, Model, read_embeddings, write_embeddings

BATCH_IMAGES, BATCH_USERS = 32, 256  # embedded at a time; even one that is new costs a batch
USER_BLOCK = 16_384  # users whose dense profiles are in memory at a time


@dataclass(frozen=True)
class Network:
    """A trained network and the device that it runs on."""

    trained: Trained
    model: CDLConfig
    device: str

    @property
    def label(self) -> str:
        """The export's column `model`."""
        return f"cdl-{self.trained.checkpoint.sha256[:12]}"

    def load(self, root: Root) -> CDL:
        return load_cdl(self.trained, self.model, root, choose_device(self.device))


@dataclass(frozen=True)
class PreviousEmbeddings:
    """Inputs and embeddings of the previous run by the same network; those of unchanged rows are reused."""

    images: list[ShardOutput] = field(default_factory=list)
    users: ShardOutput | None = None


def embed_all(
    table: dict[str, Ref], profiles: Ref, inputs: list[Ref], network: Network, previous: PreviousEmbeddings, root: Root
) -> Model:
    """The model: embeddings of all users, and of every shard of images, each shard a cached task run of its own."""
    embedded = embed_images.map(inputs, *map(unmapped, (network, root, unsearched(previous.images))))
    embedded_users = embed_users(profiles, network, root, unsearched(previous.users))
    embeddings = Embeddings(embedded_users, embedded, embedding_code())
    return Model("cdl", network.label, table["users"], table["images"], embeddings, None)


def embedding_code() -> str:
    """The version of the code that embeds: rows of another one are not reused."""
    return code_version(__name__)


@stage
def embed_images(shard: Ref, network: Network, root: Root, last: list[ShardOutput]) -> Ref:
    """IMAGE_EMBEDDINGS of one shard."""

    def embed_rows(values: np.ndarray) -> np.ndarray:
        return image_vectors(network.load(root), values, BATCH_IMAGES)  # loaded only where a row is new

    inputs, vectors, num_new = reuse.fill(
        shard, last, lambda output: read_embeddings([output], root)[1], embed_rows, root
    )
    ledger.count("images embedded", num_new)
    return write_embeddings(IMAGE_EMBEDDINGS, inputs.ids, vectors, network.label, root)


@stage
def embed_users(profiles: Ref, network: Network, root: Root, last: ShardOutput | None) -> Ref:
    """USER_EMBEDDINGS of all users."""
    cdl, num_clusters = network.load(root), network.trained.num_clusters
    users, profiles_UC = read_profiles(profiles, num_clusters, root)
    vectors, is_new_U = np.empty((len(users), len(cdl.weight_d) + 1), np.float32), np.ones(len(users), bool)
    if last:
        previous_users, before_PC = read_profiles(last.of, num_clusters, root)
        row_U = matrices.rows_of(pa.array(users, pa.string()), previous_users)
        same = np.flatnonzero(row_U >= 0)
        same = same[~changed_rows(profiles_UC[same], before_PC[row_U[same]])]
        vectors[same], is_new_U[same] = read_embeddings([last.output], root)[1][row_U[same]], False
    new = np.flatnonzero(is_new_U)
    for first in range(0, len(new), USER_BLOCK):
        rows = new[first : first + USER_BLOCK]
        vectors[rows] = user_vectors(cdl, profiles_UC[rows].toarray(), BATCH_USERS)
    ledger.count("users embedded", len(new))
    return write_embeddings(USER_EMBEDDINGS, users, vectors, network.label, root)
