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
    """What is exported: vectors whose inner product is the score; no rows where it is not."""

    users: Ref
    images: list[Ref]
    code: str = ""  # the version of the code that wrote them, where later runs may reuse rows


@dataclass(frozen=True)
class Fitted:
    """A system that can be restored. `version` stands for its code, which no import here tells."""

    system: str
    version: str
    settings: dict[str, Any]
    state: Ref


@dataclass(frozen=True)
class Model:
    """What is published: everybody's scores of everything. Its rows and columns are the sorted ids of two tables."""

    system: str  # the name that metrics, gate and report call it by
    label: str  # what the column `model` says: the name, and the first digits of what was learned
    users: Ref
    images: Ref
    embeddings: Embeddings
    fitted: Fitted | None  # what scores where the embeddings have no rows

    @property
    def score_meaning(self) -> str:
        """How a score follows from what is exported, in words."""
        if self.fitted:
            return f"score is not an inner product: as fitted, {self.system} has no embeddings, so none are exported"
        return "inner product of the exported embeddings"


def read_embeddings(refs: list[Ref], root: Root) -> tuple[Ids, np.ndarray]:
    """Ids, sorted, and embeddings, float32 (len(ids), d); both read-only."""
    return _read_embeddings(tuple(refs), root)


@lru_cache(maxsize=4)  # a stage's: users and images, of tonight and of the last night; the next stage asks for the same
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
