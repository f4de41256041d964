"""The published model: exported embeddings, or saved state where the score is no inner product."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.tables.schema import Table


@dataclass(frozen=True)
class Embeddings:
    """The exported vectors, whose inner product is the score; no rows where it is not."""

    users: Ref
    images: list[Ref]
    code: str = ""  # the version of the code that wrote them, where later runs may reuse rows


@dataclass(frozen=True)
class Fitted:
    """A fitted system's saved state. `version` stands for the system's code in cache keys."""

    system: str
    version: str
    settings: dict[str, Any]
    state: Ref


@dataclass(frozen=True)
class Model:
    """The published model: each user's score of each image. Rows and columns are the sorted ids of two tables."""

    system: str  # its name in metrics, gate and report
    label: str  # the column `model` of exports: the name, and the first digits of the state's sha256
    users: Ref
    images: Ref
    embeddings: Embeddings
    fitted: Fitted | None  # computes scores where the embeddings have no rows

    @property
    def score_meaning(self) -> str:
        """How a score follows from what is exported, in words."""
        if self.fitted:
            return f"score is not an inner product: as fitted, {self.system} has no embeddings, so none are exported"
        return "inner product of the exported embeddings"


def read_embeddings(refs: list[Ref], root: Root) -> tuple[Ids, np.ndarray]:
    """Ids, sorted, and embeddings, float32 (len(ids), d); both read-only."""
    return _read_embeddings(tuple(refs), root)


@lru_cache(maxsize=4)  # users and images, of this night and the last one; the next stage reads the same
def _read_embeddings(refs: tuple[Ref, ...], root: Root) -> tuple[Ids, np.ndarray]:
    rows = pa.concat_tables([parquet.read(ref, root) for ref in refs])
    name = rows.column_names[0]
    rows = parquet.in_order(rows, [name])
    ids, vectors = rows[name].to_numpy(), matrices.vectors_of(rows["embedding"])
    ids.flags.writeable = vectors.flags.writeable = False
    return ids, vectors


def write_embeddings(table: Table, ids: Ids, vectors: np.ndarray, label: str, root: Root) -> Ref:
    """USER_EMBEDDINGS or IMAGE_EMBEDDINGS; `label` is what the column `model` says."""
    columns = {table.key[0]: ids, "embedding": matrices.lists_of(vectors), "model": pa.repeat(label, len(ids))}
    return parquet.write(table.with_dimensions(vectors.shape[1]), columns, root)
