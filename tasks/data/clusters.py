"""Semantic clusters of tags (of images where there are no tags), their numbers, and how far tags have drifted."""

import logging
from functools import lru_cache

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from models.content import clusters
from models.settings.clusters import ClusterConfig
from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.tables.tastes import CLUSTERS
from tasks.data.sentences import read_sentences
from tasks.data.tastes import Clusters, Placed, Vectors, labels_of, write_vectors
from tasks.runtime.caching import stage
from tasks.runtime.whereabouts import RUN

log = logging.getLogger("tastegraph")


@stage
def cluster_vectors(vectors: Ref, config: ClusterConfig, root: Root) -> Ref:
    """Semantic clusters of the tokens, the most frequent token of each first (CDL, section 5)."""
    rows = parquet.read(vectors, root)
    labels, centroids = clusters.cluster(matrices.vectors_of(rows["vector"]), None, config)
    if len(centroids) < config.num_clusters:
        _say_fewer(RUN.get(), config.num_clusters, len(centroids))
    return _write_clusters(rows["token"].to_numpy(), rows["count"].to_numpy(), labels, centroids, root)


@lru_cache
def _say_fewer(_run: str | None, wanted: int, found: int) -> None:
    """Once a run, which may cluster twice."""
    log.info("%-18s clusters.num_clusters is %d, and there are %d distinct vectors", "cluster-vectors", wanted, found)


@stage
def number_clusters(found: Ref, vectors: Ref, before: Ref, root: Root) -> Ref:
    """The clusters, each under the number that most of its members had before."""
    rows = parquet.read(vectors, root, ["token", "count"])
    tokens, centroids = rows["token"].to_numpy(), _centroids(found, root)
    labels = labels_of(found, tokens, root)
    number = clusters.match(labels, labels_of(before, tokens, root), found.rows)
    renumbered = np.empty_like(centroids)
    renumbered[number] = centroids
    return _write_clusters(tokens, rows["count"].to_numpy(), number[labels], renumbered, root)


def keep_numbers(found: Ref, vectors: Ref, last: Clusters | None, root: Root) -> Ref:
    """The clusters under the numbers of the previous run, so that downstream finds them again; else as found."""
    if last is None:
        return found
    return last.numbered if found == last.found else number_clusters(found, vectors, last.numbered, root)


@stage
def place_tokens(vectors: Vectors, numbered: Ref, sentences: list[Ref], min_count: int, root: Root) -> Placed:
    """Vectors and clusters with the new tokens, each on the cluster of the tokens that it stands beside.

    As in word2vec, a token in fewer than `min_count` sentences is left out.
    """
    tokens, corpus, all_counts = _common(*read_sentences(sentences, root), min_count)
    rows = parquet.read(vectors.vectors, root)
    old, old_Kd = rows["token"].to_numpy(), matrices.vectors_of(rows["vector"])
    row = matrices.rows_of(pa.array(tokens, pa.string()), old)
    if (row >= 0).all():
        return Placed(vectors, numbered)
    centroids = _centroids(numbered, root)
    new_Nd, labels_N = clusters.place(corpus, row >= 0, old_Kd[row[row >= 0]], centroids)
    new, counts = tokens[row < 0][labels_N >= 0], all_counts[row < 0][labels_N >= 0]
    log.info("%-18s %d new tokens on their clusters, %d without a neighbor", "place", len(new), (labels_N < 0).sum())
    columns = (
        np.concatenate([old, new]),
        np.concatenate([rows["count"].to_numpy(), counts]),
        np.concatenate([old_Kd, new_Nd[labels_N >= 0]]),
    )
    labels = np.concatenate([labels_of(numbered, old, root), labels_N[labels_N >= 0]])
    missing = vectors.out_of_vocabulary + int((labels_N < 0).sum())
    return Placed(
        write_vectors(vectors.of, *columns, missing, root), _write_clusters(*columns[:2], labels, centroids, root)
    )


def drift(vectors: Vectors, sentences: list[Ref], min_count: int, root: Root) -> float:
    """How far the tokens' shares have moved since their vectors were learned, 0 to 1; 0 for pretrained vectors."""
    rows = parquet.read(vectors.vectors, root, ["token", "count"])
    tokens, _, counts = _common(*read_sentences(sentences, root), min_count)
    all_tokens = matrices.ids_of(rows["token"], pa.array(tokens, pa.string()))
    now, before = np.zeros(len(all_tokens)), np.zeros(len(all_tokens))
    now[matrices.rows_of(pa.array(tokens, pa.string()), all_tokens)] = counts
    before[matrices.rows_of(rows["token"], all_tokens)] = rows["count"].to_numpy()
    return clusters.drift(now, before) if before.any() else 0.0


def _common(tokens: Ids, corpus: list[csr_array], min_count: int) -> tuple[Ids, list[csr_array], np.ndarray]:
    """The tokens in at least `min_count` sentences, the sentences of these, and each token's count."""
    counts = np.sum([texts.count_nonzero(axis=0) for texts in corpus], axis=0)
    kept = np.flatnonzero(counts >= max(min_count, 1))
    return tokens[kept], [texts[:, kept] for texts in corpus], counts[kept]


def _centroids(clusters_table: Ref, root: Root) -> np.ndarray:
    return matrices.vectors_of(parquet.read(clusters_table, root, ["centroid"])["centroid"])


def _write_clusters(tokens: Ids, counts: np.ndarray, labels: np.ndarray, centroids: np.ndarray, root: Root) -> Ref:
    order = np.lexsort((tokens.astype(str), -counts, labels))
    sizes = np.bincount(labels, minlength=len(centroids))
    return parquet.write(
        CLUSTERS.with_dimensions(centroids.shape[1]),
        {
            "cluster": np.arange(len(centroids), dtype=np.int32),
            "size": sizes,
            "tokens": np.split(tokens[order], np.cumsum(sizes)[:-1]),
            "centroid": matrices.lists_of(centroids),
        },
        root,
    )
