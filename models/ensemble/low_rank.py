"""Leading singular vectors of a matrix that is only known by its products (Halko, Martinsson and Tropp, 2011, 4.4).

R rows, C columns, D dimensions.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

OVERSAMPLED, POWERS = 32, 3

Times = Callable[[np.ndarray], np.ndarray]


class Singular(NamedTuple):
    """The matrix is about `left_RD @ diag(values_D) @ right_CD.T`; values fall, all float32."""

    left_RD: np.ndarray
    values_D: np.ndarray
    right_CD: np.ndarray


def singular_vectors(
    times: Times, times_transposed: Times, shape: tuple[int, int], dimensions: int, seed: int
) -> Singular:
    """The leading `dimensions` singular vectors, fewer where the matrix has fewer rows or columns.

    Args:
        times: float32 (C, d) to the matrix times it, float32 (R, d).
        times_transposed: float32 (R, d) to the transposed matrix times it, float32 (C, d).
    """
    dimensions = min(dimensions, *shape)
    width = min(dimensions + OVERSAMPLED, *shape)
    basis_RD = times(np.random.default_rng(seed).standard_normal((shape[1], width)).astype(np.float32))
    for _ in range(POWERS):
        basis_RD = times(_orthonormal(times_transposed(_orthonormal(basis_RD))))
    basis_RD = _orthonormal(basis_RD)
    right_CD, values_D, rotation_DD = np.linalg.svd(times_transposed(basis_RD), full_matrices=False)
    left_RD = basis_RD @ rotation_DD.T
    return Singular(left_RD[:, :dimensions], values_D[:dimensions], right_CD[:, :dimensions])


def _orthonormal(matrix: np.ndarray) -> np.ndarray:
    """A basis of the columns' span. By torch: numpy's takes several times as long where its BLAS is an old one."""
    return np.asarray(torch.linalg.qr(torch.from_numpy(np.ascontiguousarray(matrix)))[0].numpy())
