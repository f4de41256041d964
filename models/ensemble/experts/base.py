"""What every expert is: matrices of users and of images whose product holds its scores; and limits of their size.

A dense matrix of an expert has at most `max_floats` entries, whatever the community: where users or images are many,
vectors have fewer dimensions. Of a fitted expert, large matrices lie in temporary files that are mapped to memory, so
that only those are in memory which are used at the moment.

U users, I images, R the expert's own dimensions, N users to score, M images to score, D vectors.
"""

import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import diags_array, issparse

Matrix = Any  # np.ndarray or csr_array: both multiply by @, and scipy has no types to say so
MAX_FLOATS = 4 * 10**8  # of one dense matrix: 1.5 GiB in float32
MAPPED_SHARE = 6  # a matrix of an expert lies in a file where it has more than this part of `max_floats`


@dataclass(frozen=True, kw_only=True)
class Bounded:
    """How large an expert's matrices may be."""

    max_floats: int = MAX_FLOATS  # of one dense matrix

    def within(self, dimensions: int, *rows: int) -> int:
        """So many dimensions, or fewer, so that a matrix with the most of these rows is within bounds; at least 1."""
        return max(1, min(dimensions, self.max_floats // max(1, *rows)))


@dataclass(frozen=True)
class Expert:
    """A fitted expert. Scores are `users_UR @ images_RI` plus those of `addend`; any of the matrices may be sparse.

    An image whose column has no entry but zeros is one that the expert cannot score.
    """

    users_UR: Matrix
    images_RI: Matrix
    addend: "Expert | None" = None  # one product of sparse matrices and one of dense are faster than both in one

    @property
    def products(self) -> "list[Expert]":
        """The products that are added, each as an expert of its own."""
        return [Expert(self.users_UR, self.images_RI), *(self.addend.products if self.addend else [])]

    def scores(self, users_N: np.ndarray) -> np.ndarray:
        """float32 (N, I)."""
        product = self.users_UR[users_N] @ self.images_RI
        scores_NI = np.asarray(product.toarray() if issparse(product) else product, np.float32)
        return scores_NI + self.addend.scores(users_N) if self.addend else scores_NI

    def for_images(self, images_M: np.ndarray) -> "Expert":
        """The expert of only these images."""
        return Expert(self.users_UR, self.images_RI[:, images_M], self.addend and self.addend.for_images(images_M))

    def for_users(self, users: "np.ndarray | slice") -> "Expert":
        """The expert of only these users."""
        return Expert(self.users_UR[users], self.images_RI, self.addend and self.addend.for_users(users))

    def scaled(self, factors_U: np.ndarray) -> "Expert":
        """The expert with each user's scores multiplied by the user's factor."""
        return Expert(
            diags_array(factors_U) @ self.users_UR, self.images_RI, self.addend and self.addend.scaled(factors_U)
        )

    def mapped(self, max_floats: int) -> "Expert":
        """The same expert, its dense matrices with more entries in temporary files that vanish with it."""
        users_UR, images_RI = (mapped(matrix, max_floats) for matrix in (self.users_UR, self.images_RI))
        return Expert(users_UR, images_RI, self.addend and self.addend.mapped(max_floats))

    def times(self, vectors_ID: np.ndarray) -> np.ndarray:
        """float32 (U, D): the matrix of all scores times vectors of images."""
        return np.asarray(sum(part.users_UR @ (part.images_RI @ vectors_ID) for part in self.products), np.float32)

    def times_transposed(self, vectors_UD: np.ndarray) -> np.ndarray:
        """float32 (I, D): the transposed matrix of all scores times vectors of users."""
        return np.asarray(sum(part.images_RI.T @ (part.users_UR.T @ vectors_UD) for part in self.products), np.float32)


def mapped(matrix: Matrix, max_floats: int) -> Matrix:
    """The matrix; a dense one with more entries lies in a temporary file that vanishes with it."""
    if issparse(matrix) or matrix.size <= max_floats:
        return matrix
    with tempfile.TemporaryFile() as file:
        in_file = np.memmap(file, matrix.dtype, "w+", shape=matrix.shape)
    in_file[:] = matrix
    return in_file
