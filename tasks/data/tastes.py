"""Tag vectors, their clusters and user profiles: records of what the stages return, and how to read the tables."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_array

from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.tables.tastes import TOKEN_VECTORS

Vocabulary = Literal["tags", "images"]


@dataclass(frozen=True)
class Vectors:
    """Word2vec vectors of tags or images; tokens that a pretrained file lacks are only counted."""

    of: Vocabulary
    vectors: Ref
    out_of_vocabulary: int


@dataclass(frozen=True)
class Clusters:
    """Clusters as k-means found them, and the same under the numbers that they keep from night to night."""

    found: Ref
    numbered: Ref


@dataclass(frozen=True)
class Placed:
    """Vectors and clusters with the tokens that were new, each placed on a cluster."""

    vectors: Vectors
    clusters: Ref


def labels_of(clusters_table: Ref, tokens: Ids, root: Root) -> np.ndarray:
    """int32 cluster of each token; -1 for a token out of vocabulary."""
    rows = parquet.read(clusters_table, root, ["cluster", "tokens"]).to_pylist()
    cluster_of = {token: row["cluster"] for row in rows for token in row["tokens"]}
    return np.array([cluster_of.get(token, -1) for token in tokens], np.int32)


@dataclass(frozen=True)
class Profiles:
    """Profiles, interests, and the images' labels of the kind that interests name: tags or clusters."""

    of: Vocabulary
    profiles: Ref
    interests: Ref
    image_labels: Ref  # rows of IMAGE_TAGS: raw tags, or "cluster n"
    num_clusters: int
    num_from_own_tags: int
    num_from_favorites: int


def read_profiles(profiles_table: Ref, num_clusters: int, root: Root) -> tuple[Ids, csr_array]:
    """The users' ids and their profiles, float32 (U, C)."""
    rows = parquet.read(profiles_table, root).combine_chunks()
    clusters, weights = rows["clusters"].combine_chunks(), rows["weights"].combine_chunks()
    matrix = csr_array(
        (weights.flatten().to_numpy(), clusters.flatten().to_numpy(), clusters.offsets.to_numpy()),
        shape=(len(rows), num_clusters),
    )
    return rows["user_id"].to_numpy(), matrix


def write_vectors(
    of: Vocabulary, tokens: Ids, counts: np.ndarray, vectors: np.ndarray, missing: int, root: Root
) -> Vectors:
    """Write TOKEN_VECTORS; `missing` tokens have no vector."""
    columns = {"token": tokens, "count": counts, "vector": matrices.lists_of(vectors)}
    return Vectors(of, parquet.write(TOKEN_VECTORS.with_dimensions(vectors.shape[1]), columns, root), missing)
