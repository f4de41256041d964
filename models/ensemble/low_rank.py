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
    """Singular values of a matrix, which descend, and its right singular vectors; float32."""

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
    right_CD = np.random.default_rng(seed).standard_normal((shape[1], width), np.float32)
    for iteration in told(range(iterations + 1), iterations + 1, "products"):
        if iteration:
            right_CD = _orthonormal(right_CD)
        basis_RD = _orthonormal(times(right_CD))
        right_CD = times_transposed(basis_RD)
        del basis_RD  # each of these is as large as all that is found
    orthonormal_CD, triangle_DD = _qr(right_CD)
    del right_CD
    rotation_DD, values_D, _ = np.linalg.svd(triangle_DD)
    return Singular(values_D[:dimensions], orthonormal_CD @ rotation_DD[:, :dimensions])


def _orthonormal(matrix: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the columns' span."""
    return _qr(matrix)[0]


def _qr(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The QR decomposition, by torch: numpy takes several times as long where its BLAS is old.

    On one thread: with another number of threads the last bits are others, and exports would not be equal bytes.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        orthonormal, triangle = torch.linalg.qr(torch.from_numpy(np.ascontiguousarray(matrix)))
        return orthonormal.numpy(), triangle.numpy()
    finally:
        torch.set_num_threads(threads)
