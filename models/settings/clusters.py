"""Settings of semantic clusters."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Settings of the clustering."""

    num_clusters: int = 1024  # as in the paper; at most the distinct vectors
    max_iterations: int = 25  # of k-means
    seed: int = 0  # of the initial centroids
