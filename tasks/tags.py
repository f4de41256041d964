"""Word vectors of the community's tags, or of its images where it has none, and their semantic clusters."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from models.clusters import ClusterConfig

from models import clusters
from storage import matrices, parquet, tables, word_vectors
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from tasks import word2vec
from tasks.caching import stage
from tasks.word2vec import Word2VecConfig

Vocabulary = Literal["tags", "images"]


@dataclass(frozen=True)
class Vectors:
    """Word2vec vectors of tags or images; tokens that a pretrained file lacks are counted, not kept."""

    of: Vocabulary
    vectors: Ref
    out_of_vocabulary: int


@stage
def learn_vectors(of: Vocabulary, sentences: list[Ref], config: Word2VecConfig, root: Root) -> Vectors:
    """Word2vec over sentences: the tags of an image, the tags of a user; without tags, the favorites of a user."""
    tables_read = [parquet.read(ref, root) for ref in sentences]
    columns = [(rows[rows.column_names[0]], rows[rows.column_names[1]]) for rows in tables_read]
    tokens = matrices.ids_of(*(words for _, words in columns))
    corpus = [matrices.incidence(texts, words, matrices.ids_of(texts), tokens) for texts, words in columns]
    if config.pretrained:
        found, vectors = word_vectors.load(Path(config.pretrained), tokens.tolist())
        tokens, vectors, missing = tokens[found], vectors[found], int((~found).sum())
        counts = np.sum([matrix.count_nonzero(axis=0) for matrix in corpus], axis=0)[found]
    else:
        tokens, counts, vectors = word2vec.train(word2vec.Corpus(corpus, tokens), config)
        missing = 0
    columns_out = {"token": tokens, "count": counts, "vector": _lists(vectors)}
    return Vectors(
        of, parquet.write(tables.TOKEN_VECTORS.with_dimensions(vectors.shape[1]), columns_out, root), missing
    )


@stage
def cluster_vectors(vectors: Ref, config: ClusterConfig, root: Root) -> Ref:
    """Semantic clusters of the tokens, the most frequent token of each first (CDL, section 5)."""
    rows = parquet.read(vectors, root)
    vectors_Vd = np.stack(rows["vector"].to_numpy())
    labels, centroids = clusters.cluster(vectors_Vd, config)
    tokens, counts = rows["token"].to_numpy(), rows["count"].to_numpy()
    order = np.lexsort((tokens.astype(str), -counts, labels))
    sizes = np.bincount(labels, minlength=len(centroids))
    return parquet.write(
        tables.CLUSTERS.with_dimensions(centroids.shape[1]),
        {
            "cluster": np.arange(len(centroids), dtype=np.int32),
            "size": sizes,
            "tokens": np.split(tokens[order], np.cumsum(sizes)[:-1]),
            "centroid": _lists(centroids),
        },
        root,
    )


def labels_of(clusters_table: Ref, tokens: Ids, root: Root) -> np.ndarray:
    """int32 cluster of each token; -1 for a token out of vocabulary."""
    rows = parquet.read(clusters_table, root, ["cluster", "tokens"]).to_pylist()
    cluster_of = {token: row["cluster"] for row in rows for token in row["tokens"]}
    return np.array([cluster_of.get(token, -1) for token in tokens], np.int32)


def _lists(vectors: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), vectors.shape[1])
