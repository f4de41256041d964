"""Semantic clusters of tokens: k-means on their word2vec vectors (CDL, section 5).

V tokens, k clusters, d dimensions.
"""

import logging
import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from models.settings.clusters import ClusterConfig

# k-means++ compares all rows with every centroid, which takes longer than all iterations. On a sample of 4 rows for
# each centroid final inertia is 1 to 5 % lower than that of faiss, which begins with random rows; with 16 it is up to
# 4 % lower still, in up to three times the time (docs/log.md, "Rows that were open").
SAMPLE_PER_CLUSTER = 4

log = logging.getLogger(__name__)


def cluster(vectors: np.ndarray, weights: np.ndarray | None, config: ClusterConfig) -> tuple[np.ndarray, np.ndarray]:
    """The cluster of each token, and the clusters' centroids.

    Vectors are scaled to unit length first, since word2vec's similarity is the cosine. Clusters are numbered by falling
    weight, ties by their first token. Equal input gives equal bytes on one kind of machine, whatever its number of
    cores: one thread only, because the order in which threads add up their sums would show in the last bits.

    Args:
        vectors: float32 (V, d).
        weights: (V,) how much each token counts, not negative; None: all the same, as in the paper. Weighted by its
            frequency, each frequent tag gets a cluster of its own: on lastfm "metal" parts from "industrial metal".
    Returns:
        int32 (V,) labels, and float32 (k, d) centroids: means of unit vectors. k is `num_clusters`, or the number of
        distinct directions where there are fewer.
    Raises:
        ValueError: no vector, or one that is not finite.
    """
    if not len(vectors) or not np.isfinite(vectors).all():
        bad = int((~np.isfinite(vectors).all(axis=1)).sum())
        raise ValueError(
            f"{len(vectors)} vectors, {bad} of them not finite: nothing to cluster; check how the vectors were trained"
        )
    directions = normalize(np.asarray(vectors, np.float32))
    num_distinct = len(np.unique(directions, axis=0))
    num_clusters = min(config.num_clusters, num_distinct)
    mass = np.ones(len(directions)) if weights is None else np.asarray(weights, np.float64)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of empty clusters, which are logged below
        means = KMeans(
            num_clusters,
            init=_initial_centroids(directions, mass, num_clusters, config.seed),
            n_init=1,
            max_iter=config.max_iterations,
            random_state=config.seed,
        ).fit(directions, sample_weight=mass)
    weight_of_cluster = np.bincount(means.labels_, weights=mass, minlength=num_clusters)
    first_token = np.full(num_clusters, len(directions))  # stays so if k-means left the cluster empty
    np.minimum.at(first_token, means.labels_, np.arange(len(directions)))
    if num_empty := int((first_token == len(directions)).sum()):
        log.warning("%d of %d clusters are empty: too many vectors are equal or nearly so", num_empty, num_clusters)
    order = np.lexsort((first_token, -weight_of_cluster))
    number = np.empty(num_clusters, np.int32)
    number[order] = np.arange(num_clusters)
    return number[means.labels_], np.asarray(means.cluster_centers_[order], np.float32)


def match(labels_V: np.ndarray, before_V: np.ndarray, num_clusters: int) -> np.ndarray:
    """int64 (k,): a number for each new cluster, so that as many tokens as possible keep the number of their cluster.

    Args:
        labels_V: the tokens' new clusters, 0 to k - 1.
        before_V: the same tokens' previous clusters, negative for a new token. Numbers from k on cannot be kept.
    """
    is_matched_V = (before_V >= 0) & (before_V < num_clusters)
    overlap_kk = np.zeros((num_clusters, num_clusters), np.int64)
    np.add.at(overlap_kk, (labels_V[is_matched_V], before_V[is_matched_V]), 1)
    _, number = linear_sum_assignment(overlap_kk, maximize=True)
    return np.asarray(number)


def place(
    sentences: list[csr_array], is_known_V: np.ndarray, vectors_Kd: np.ndarray, centroids_kd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and clusters of new tokens: the mean direction of the known tokens in their sentences, and its cluster.

    Args:
        sentences: each (S, V), an entry where a token is in a sentence.
        is_known_V: bool; which tokens have a vector: the rows of `vectors_Kd`, in that order.
    Returns:
        float32 (N, d) unit vectors of the new tokens, and int32 (N,) the nearest centroid; zeros and -1 for a token
        that shares no sentence with a known one.
    """
    known, new = np.flatnonzero(is_known_V), np.flatnonzero(~is_known_V)
    means_Nd = np.zeros((len(new), vectors_Kd.shape[1]))
    directions_Kd = normalize(np.asarray(vectors_Kd, np.float64))
    for texts_SV in sentences:
        columns_SV = texts_SV.astype(bool).astype(np.float64).tocsc()
        means_Nd += (columns_SV[:, new].T @ columns_SV[:, known]) @ directions_Kd
    has_neighbors = means_Nd.any(axis=1)
    directions_Nd = normalize(means_Nd)
    squared_k = np.square(centroids_kd, dtype=np.float64).sum(axis=1)
    nearest_N = (squared_k - 2 * directions_Nd @ centroids_kd.T.astype(np.float64)).argmin(axis=1)
    return directions_Nd.astype(np.float32), np.where(has_neighbors, nearest_N, -1).astype(np.int32)


def drift(counts_V: np.ndarray, before_V: np.ndarray) -> float:
    """The total variation distance of the tokens' distributions, 0 to 1: half the l1 distance of their shares.

    New tokens count 0 before, lost ones 0 now.
    """
    now, before = (values / max(1, values.sum()) for values in (counts_V, before_V))
    return float(np.abs(now - before).sum() / 2)


def _initial_centroids(directions: np.ndarray, mass: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """k-means++ centroids from a sample of the rows, in float64: scikit-learn takes twice as long for float32."""
    sample_size = num_clusters * SAMPLE_PER_CLUSTER
    rows = np.arange(len(directions))
    if len(rows) > sample_size:
        rows = np.sort(np.random.default_rng(seed).choice(rows, sample_size, replace=False))
    sample = directions[rows].astype(np.float64)
    centroids, _ = kmeans_plusplus(sample, num_clusters, sample_weight=mass[rows], random_state=seed)
    return np.asarray(centroids)
