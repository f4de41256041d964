"""The map: what is alike lies together, whether t-SNE placed it or its landmarks did."""

import numpy as np

from models.retrieval import projection
from models.retrieval.projection import project


def test_rows_of_a_group_lie_together_landmarks_or_not(monkeypatch):
    monkeypatch.setattr(projection, "LANDMARKS", 60)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 8))
    groups = np.arange(150) % 3
    points = project(centres[groups] + 0.1 * rng.normal(size=(150, 8)))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)

    assert points.min() == 0
    assert points.max() == 1
    assert (groups[distances.argmin(axis=1)] == groups).mean() > 0.97


def test_the_same_vectors_give_the_same_map_and_few_rows_have_one_too():
    vectors = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)

    assert np.array_equal(project(vectors), project(vectors))
    assert [project(vectors[:count, :width]).shape for count, width in ((0, 4), (1, 4), (5, 1))] == [
        (0, 2),
        (1, 2),
        (5, 2),
    ]
