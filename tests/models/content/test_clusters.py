import numpy as np
import pytest
from scipy.sparse import csr_array

from models.content.clusters import cluster, drift, match, place
from models.settings.clusters import ClusterConfig


def blobs(sizes: list[int], num_dimensions: int = 8) -> np.ndarray:
    """Tokens around one axis per blob, of random lengths."""
    rng = np.random.default_rng(0)
    centres = np.eye(len(sizes), num_dimensions).repeat(sizes, axis=0)
    noise = 0.05 * rng.normal(size=centres.shape)
    return ((centres + noise) * rng.uniform(0.1, 10, (len(centres), 1))).astype(np.float32)


def test_tokens_of_one_direction_share_a_cluster_whatever_their_length_and_large_clusters_come_first():
    labels, centroids = cluster(blobs([30, 80, 50]), None, ClusterConfig(num_clusters=3))
    assert labels.dtype == np.int32
    assert centroids.dtype == np.float32
    assert labels.tolist() == [2] * 30 + [0] * 80 + [1] * 50
    np.testing.assert_allclose(centroids, np.eye(3, 8)[[1, 2, 0]], atol=0.1)


def test_weights_order_the_clusters_and_pull_the_centroids():
    vectors = np.array([[1, 0], [1, 0.2], [0, 1]], np.float32)
    labels, centroids = cluster(vectors, np.array([1, 3, 9]), ClusterConfig(num_clusters=2))
    assert labels.tolist() == [1, 1, 0]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(centroids, [unit[2], (unit[0] + 3 * unit[1]) / 4], atol=1e-6)


def test_equal_input_gives_equal_bytes_and_another_seed_other_clusters():
    vectors = np.random.default_rng(1).normal(size=(600, 16)).astype(np.float32)
    first, again = (cluster(vectors, None, ClusterConfig(num_clusters=20)) for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    assert (cluster(vectors, None, ClusterConfig(num_clusters=20, seed=1))[0] != first[0]).any()


def test_more_clusters_than_distinct_vectors_are_clipped():
    vectors = blobs([4, 2]).repeat(3, axis=0)
    labels, centroids = cluster(vectors, None, ClusterConfig(num_clusters=1024))
    assert len(centroids) == len(set(labels.tolist())) == 6


@pytest.mark.parametrize("weights", [None, np.r_[np.ones(3), np.zeros(5)]])
def test_vectors_of_zero_weight_or_zero_length_are_clustered_too(weights):
    vectors = np.r_[blobs([3, 4]), np.zeros((1, 8), np.float32)]
    labels, centroids = cluster(vectors, weights, ClusterConfig(num_clusters=7))
    assert labels.min() >= 0
    assert labels.max() < len(centroids) == 7
    assert np.isfinite(centroids).all()


def test_no_vectors_or_nan_ones_are_an_error():
    with pytest.raises(ValueError, match="0 vectors"):
        cluster(np.empty((0, 8), np.float32), None, ClusterConfig())
    with pytest.raises(ValueError, match="2 vectors, 1 of them not finite"):
        cluster(np.array([[1, 2], [np.nan, 1]], np.float32), None, ClusterConfig())


def test_clusters_keep_the_number_that_most_of_their_tokens_had():
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    before = np.array([2, 2, 1, 0, -1, 1, 1, 1, 5])  # -1: a new token; 5: a number that does not exist any longer

    assert match(labels, before, 3).tolist() == [2, 0, 1]


def test_a_new_token_gets_the_cluster_of_the_tokens_in_its_sentences():
    sentences = csr_array(
        np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1]])
    )
    is_known = np.array([True, True, False, False])
    vectors, labels = place([sentences], is_known, np.eye(2, dtype=np.float32), 0.9 * np.eye(2)[::-1])

    assert labels.tolist() == [1, -1]  # twice with the first, once with the second; with none
    assert np.allclose(vectors, [[2 / 5**0.5, 1 / 5**0.5], [0, 0]])


def test_drift_is_the_share_of_occurrences_that_moved():
    assert drift(np.array([3, 1, 0]), np.array([6, 2, 0])) == 0
    assert drift(np.array([3, 0, 1]), np.array([3, 1, 0])) == 0.25
    assert drift(np.array([0, 2]), np.array([2, 0])) == 1
