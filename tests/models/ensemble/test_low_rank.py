"""Singular vectors of a matrix given by its products."""

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from models.ensemble.low_rank import singular_vectors


def test_singular_vectors_are_those_of_the_dense_matrix() -> None:
    rng = np.random.default_rng(0)
    matrix = (rng.normal(size=(60, 40)) * 0.8 ** np.arange(40)).astype(np.float32)
    found = singular_vectors(matrix.__matmul__, matrix.T.__matmul__, matrix.shape, 5, seed=0)
    _, values, right = np.linalg.svd(matrix)
    np.testing.assert_allclose(found.values_D, values[:5], rtol=1e-3)
    np.testing.assert_allclose(np.abs((right[:5].T * found.right_CD).sum(axis=0)), 1, atol=1e-3)  # up to the sign


def test_a_matrix_of_low_rank_is_the_product_of_its_singular_vectors() -> None:
    rng = np.random.default_rng(1)
    matrix = (rng.normal(size=(70, 3)) @ rng.normal(size=(3, 50))).astype(np.float32)
    _, right = singular_vectors(matrix.__matmul__, matrix.T.__matmul__, matrix.shape, 3, seed=0)
    np.testing.assert_allclose(matrix @ right @ right.T, matrix, atol=1e-3)


def test_there_are_no_more_singular_vectors_than_rows_or_columns() -> None:
    matrix = np.eye(4, 9, dtype=np.float32)
    found = singular_vectors(matrix.__matmul__, matrix.T.__matmul__, matrix.shape, 100, seed=0)
    assert found.values_D.shape == (4,)
    assert found.right_CD.shape == (9, 4)


def test_singular_vectors_are_equal_bytes_on_any_number_of_threads() -> None:
    matrix = np.random.default_rng(0).standard_normal((600, 400)).astype(np.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with threadpool_limits(1, "blas"):  # numpy's own products, which the caller may keep on one thread
                found.append(singular_vectors(matrix.__matmul__, matrix.T.__matmul__, matrix.shape, 100, seed=0))
    finally:
        torch.set_num_threads(before)

    assert all(np.array_equal(one, other) for one, other in zip(*found, strict=True))
