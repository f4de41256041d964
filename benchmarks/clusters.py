"""k-means of tags beside faiss' on the same vectors: `python benchmarks/clusters.py`.

`--paper` takes 35,844 vectors of 300 dimensions to 1,024 clusters. Both do as many iterations; `inertia_ratio` says how
much farther ours lie from their centroids, of which 1 % is allowed.
"""

import argparse
from typing import Any

import numpy as np
from reach import Claim, measured, report
from sklearn.preprocessing import normalize

from models.content.clusters import cluster
from models.settings.clusters import ClusterConfig


def main() -> None:
    parser = argparse.ArgumentParser(description="Time k-means beside faiss'.")
    parser.add_argument("--paper", action="store_true", help="35,844 vectors of 300 dimensions, 1,024 clusters")
    options = parser.parse_args()
    try:
        import faiss
    except ImportError:
        print("clusters: left out, as faiss is not installed (pip install faiss-cpu)")
        return
    faiss.omp_set_num_threads(1)  # ours has one thread, so that clusters are the same bytes on any number of cores
    count, dimensions, number = (35_844, 300, 1024) if options.paper else (8_000, 100, 256)
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((number, dimensions))
    vectors = normalize(topics[rng.integers(0, number, count)] + rng.standard_normal((count, dimensions)))
    vectors = vectors.astype(np.float32)
    config = ClusterConfig(num_clusters=number)
    inertia: dict[str, float] = {}

    def ours() -> None:
        labels, _ = cluster(vectors, None, config)
        inertia["ours"] = _inertia(vectors, labels)

    def by_faiss() -> None:
        means: Any = faiss.Kmeans(
            dimensions, number, niter=config.max_iterations, max_points_per_centroid=10**9, seed=1
        )
        means.train(vectors)
        inertia["faiss"] = _inertia(vectors, means.index.search(vectors, 1)[1][:, 0])

    found = measured({"ours": ours, "faiss": by_faiss}, warm_up=False)
    claim = Claim(f"k-means, {count:,} x {dimensions} to {number:,}", "faiss' Kmeans, one thread", 2.0)
    report(claim, found["ours"], found["faiss"], inertia_ratio=inertia["ours"] / inertia["faiss"])


def _inertia(vectors: np.ndarray, labels: np.ndarray) -> float:
    """The sum of squared distances from the means."""
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(sums, labels, vectors)
    return float(
        (vectors.astype(np.float64) ** 2).sum() - ((sums**2).sum(axis=1)[counts > 0] / counts[counts > 0]).sum()
    )


if __name__ == "__main__":
    main()
