"""Leading singular vectors of a matrix given only by its products (Halko, Martinsson and Tropp, 2011, 4.4).

R rows, C columns, D dimensions.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from models.progress import told

OVERSAMPLING, POWER_ITERATIONS = 32, 3

Times = Callable[[np.ndarray], np.ndarray]


class Singular(NamedTuple):
    """The matrix is approximately `left_RD @ diag(values_D) @ right_CD.T`; values descend, all float32."""

    left_RD: np.ndarray
    values_D: np.ndarray
    right_CD: np.ndarray


class ShiftedInverse(NamedTuple):
    """(AᵀA + λ)⁻¹ of a matrix A (R, C), approximately `slope + right_CD @ diag(excess_D) @ right_CD.T`.

    Exact in the leading singular vectors. All other eigenvalues of AᵀA count as half of the smallest leading one: they
    are small against λ.
    """

    slope: float
    right_CD: np.ndarray  # float32
    excess_D: np.ndarray  # float64
    eigenvalues_D: np.ndarray  # float64: the leading ones of AᵀA


def shifted_inverse(found: Singular, strength: float) -> ShiftedInverse:
    """The inverse of AᵀA + `strength` from the leading singular vectors of A."""
    eigenvalues_D = found.values_D.astype(np.float64) ** 2
    slope = 1 / (strength + eigenvalues_D[-1] / 2)
    return ShiftedInverse(slope, found.right_CD, 1 / (eigenvalues_D + strength) - slope, eigenvalues_D)


def singular_vectors(
    times: Times,
    times_transposed: Times,
    shape: tuple[int, int],
    dimensions: int,
    seed: int,
    iterations: int = POWER_ITERATIONS,
) -> Singular:
    """The leading `dimensions` singular vectors, fewer where the matrix has fewer rows or columns.

    Args:
        times: multiplies the matrix with float32 (C, d), giving float32 (R, d).
        times_transposed: multiplies the transposed matrix with float32 (R, d), giving float32 (C, d).
        iterations: power iterations; each takes both products once more and brings the vectors nearer.
    """
    dimensions = min(dimensions, *shape)
    width = min(dimensions + OVERSAMPLING, *shape)
    right_CD = np.random.default_rng(seed).standard_normal((shape[1], width)).astype(np.float32)
    for iteration in told(range(iterations + 1), iterations + 1, "products"):
        basis_RD = _orthonormal(times(_orthonormal(right_CD) if iteration else right_CD))
        right_CD = times_transposed(basis_RD)
    right_CD, values_D, rotation_DD = np.linalg.svd(right_CD, full_matrices=False)
    left_RD = basis_RD @ rotation_DD.T
    return Singular(left_RD[:, :dimensions], values_D[:dimensions], right_CD[:, :dimensions])


def _orthonormal(matrix: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the columns' span, by torch: numpy takes several times as long where its BLAS is old.

    On one thread: with another number of threads the last bits are others, and exports would not be equal bytes.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return np.asarray(torch.linalg.qr(torch.from_numpy(np.ascontiguousarray(matrix)))[0].numpy())
    finally:
        torch.set_num_threads(threads)
