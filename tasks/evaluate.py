"""The concealed favorites against the model: the paper's protocol in both versions, and full ranking."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from models import metrics, protocols, ranking
from models.protocols import ProtocolConfig
from storage import matrices, parquet, tables
from storage.refs import Ref
from storage.roots import Root
from tasks.caching import stage
from tasks.embed import read_embeddings
from tasks.split import Split

FULL_KS = (10, 20)


@dataclass(frozen=True)
class Scorers:
    """Systems as vectors over one numbering of users and images: the score is their inner product."""

    vectors: dict[str, tuple[np.ndarray, np.ndarray]]


@stage
def evaluate(
    split: Split,
    user_embeddings: Ref,
    image_embeddings: list[Ref],
    config: ProtocolConfig,
    root: Root,
) -> Ref:
    """METRICS of the model, of popularity and of random on the concealed favorites."""
    raise NotImplementedError
