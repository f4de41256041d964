"""What every expert is: two matrices whose product holds its scores, and how many rows or floats it may take.

U users, I images, R the expert's own dimensions, N users asked about.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array, diags_array, issparse

Matrix = Any  # np.ndarray or csr_array: both multiply by @, and scipy has no types to say so
MAX_ROWS = 12_000  # of a dense symmetric matrix that is solved: 1.1 GiB in float64
MAX_FLOATS = 4 * 10**8  # of one dense matrix: 1.5 GiB in float32


@dataclass(frozen=True)
class Expert:
    """Scores are `users_UR @ images_RI`, and those of `beside` added; any of the matrices may be sparse.

    An image without an entry is one it knows nothing of.
    """

    users_UR: Matrix
    images_RI: Matrix
    beside: "Expert | None" = None  # one product of sparse matrices and one of dense are faster than both in one

    @property
    def products(self) -> "list[Expert]":
        """The products that are added up, each as an expert of its own."""
        return [Expert(self.users_UR, self.images_RI), *(self.beside.products if self.beside else [])]

    def scores(self, users_N: np.ndarray) -> np.ndarray:
        """float32 (N, I)."""
        product = self.users_UR[users_N] @ self.images_RI
        scores_NI = np.asarray(product.toarray() if issparse(product) else product, np.float32)
        return scores_NI + self.beside.scores(users_N) if self.beside else scores_NI

    def of(self, images_M: np.ndarray) -> "Expert":
        """The expert on only these images."""
        return Expert(self.users_UR, self.images_RI[:, images_M], self.beside and self.beside.of(images_M))

    def asked_about(self, users: "np.ndarray | slice") -> "Expert":
        """The expert on only these users."""
        return Expert(self.users_UR[users], self.images_RI, self.beside and self.beside.asked_about(users))

    def scaled(self, factors_U: np.ndarray) -> "Expert":
        """The expert with each user's scores multiplied."""
        return Expert(
            diags_array(factors_U) @ self.users_UR, self.images_RI, self.beside and self.beside.scaled(factors_U)
        )

    def times(self, vectors_ID: np.ndarray) -> np.ndarray:
        """Everybody's scores, as a matrix, times vectors of images: float32 (U, D)."""
        return np.asarray(sum(part.users_UR @ (part.images_RI @ vectors_ID) for part in self.products), np.float32)

    def times_transposed(self, vectors_UD: np.ndarray) -> np.ndarray:
        """The transposed scores times vectors of users: float32 (I, D)."""
        return np.asarray(sum(part.images_RI.T @ (part.users_UR.T @ vectors_UD) for part in self.products), np.float32)


def degrees(matrix: csr_array, axis: int) -> np.ndarray:
    """float64: the sums of rows (axis 1) or columns (axis 0), 1 where there is no entry."""
    sums = np.asarray(abs(matrix).sum(axis=axis), np.float64).ravel()
    return np.where(sums > 0, sums, 1.0)


def normalised(matrix: csr_array, rows: float, columns: float) -> csr_array:
    """D_row^-rows · matrix · D_column^-columns, degrees being sums: float32."""
    left, right = degrees(matrix, 1) ** -rows, degrees(matrix, 0) ** -columns
    return csr_array(diags_array(left) @ matrix @ diags_array(right), dtype=np.float32)


def with_energy(matrix: csr_array, energy: float) -> csr_array:
    """The matrix scaled so that the sum of its squared entries is `energy`."""
    total = float((matrix.data.astype(np.float64) ** 2).sum())
    return csr_array(matrix * np.float32(np.sqrt(energy / total))) if total else matrix


def commonest(matrix: csr_array, most: int, least: int = 1) -> np.ndarray:
    """Column numbers, ascending: those with the most entries, at most `most`, with at least `least` entries."""
    counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
    chosen = np.argsort(-counts, kind="stable")[:most]
    return np.sort(chosen[counts[chosen] >= least])
