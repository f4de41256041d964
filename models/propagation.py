"""Products of embeddings with constant sparse matrices, with gradients: graphs of favorites, and bags of signals.

R rows, C columns, d dimensions, n entries, P pieces of rows, U users, W images, V = U + W nodes of a graph.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import block_array, csr_array
from torch import Tensor
from torch.nn import functional

PIECE = 64  # entries of a row that one group of a GPU's threads adds one after the other


class Fixed:
    """A constant sparse matrix; `fixed @ x` passes gradients to x.

    On one core and with a million entries a weighted sum of bags takes a third of the time of a sparse product in torch
    or scipy, and it always adds in the same order.
    """

    def __init__(self, matrix_RC: csr_array, device: torch.device, is_symmetric: bool = False):
        self.rows = _Bags.of(matrix_RC, device)
        self.columns = self.rows if is_symmetric else _Bags.of(csr_array(matrix_RC.T), device)

    def __matmul__(self, dense_Cd: Tensor) -> Tensor:
        """float32 (R, d): the product."""
        product: Tensor = _Product.apply(dense_Cd, self)  # type: ignore[no-untyped-call]
        return product


class _Bags(NamedTuple):
    """A CSR matrix as bags of entries, one for each row.

    On a GPU one group of threads adds a bag, and all others would wait for the bag of a popular image: there rows are
    cut into pieces, and the sums of the pieces are a second set of bags.
    """

    indices: Tensor  # int64 (n,)
    starts: Tensor  # int64 (P,): where each piece begins; on a CPU a row is one piece
    weights: Tensor  # float32 (n,)
    first_pieces: Tensor | None  # int64 (R,): the first piece of each row; None: a row is one piece

    @classmethod
    def of(cls, matrix: csr_array, device: torch.device) -> "_Bags":
        starts, first = matrix.indptr[:-1].astype(np.int64), None
        if device.type == "cuda":
            starts, first = cut(matrix.indptr.astype(np.int64), PIECE)
        parts = (matrix.indices.astype(np.int64), starts, matrix.data.astype(np.float32))
        indices, starts_P, weights = (torch.from_numpy(part).to(device) for part in parts)
        return cls(indices, starts_P, weights, None if first is None else torch.from_numpy(first).to(device))

    def times(self, dense: Tensor) -> Tensor:
        num_rows = len(self.starts if self.first_pieces is None else self.first_pieces)
        if not len(self.indices):
            return dense.new_zeros(num_rows, dense.shape[1])
        sums = functional.embedding_bag(
            self.indices, dense, self.starts, mode="sum", per_sample_weights=self.weights.to(dense.dtype)
        )
        if self.first_pieces is None:
            return sums
        pieces = torch.arange(len(sums), device=sums.device)
        return functional.embedding_bag(pieces, sums, self.first_pieces, mode="sum")


def cut(indptr: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a CSR matrix cut into pieces of at most `size` entries: int64 (P,) where each begins, int64 (R,) the
    first piece of each row. An empty row is an empty piece.
    """
    lengths_R = np.diff(indptr)
    pieces_R = np.maximum(1, -(-lengths_R // size))
    first_R = np.cumsum(pieces_R) - pieces_R
    place_P = np.arange(pieces_R.sum()) - np.repeat(first_R, pieces_R)
    return np.repeat(indptr[:-1], pieces_R) + size * place_P, first_R


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense_Cd: Tensor, matrix: Fixed) -> Tensor:
        ctx.matrix = matrix
        return matrix.rows.times(dense_Cd)

    @staticmethod
    def backward(ctx: Any, grad_Rd: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix.columns.times(grad_Rd.contiguous()), None


class Graph:
    """The graph of users and images with an edge for each favorite, weighted by 1 / sqrt(both nodes' degrees).

    He et al.: LightGCN, SIGIR 2020, equations 3, 4 and 8. A node without favorites keeps a share of its own embedding.
    """

    def __init__(self, favorites_UW: csr_array, layers: int, device: torch.device):
        self.num_users, self.layers = favorites_UW.shape[0], layers
        favorites_UW = favorites_UW.astype(np.float64)
        edges_VV = block_array([[None, favorites_UW], [favorites_UW.T, None]], format="csr")
        counts_V = np.diff(edges_VV.indptr)
        weights = 1 / np.sqrt(np.repeat(counts_V, counts_V) * counts_V[edges_VV.indices])
        edges_VV = csr_array((weights, edges_VV.indices, edges_VV.indptr), shape=edges_VV.shape)
        self.edges = Fixed(edges_VV, device, is_symmetric=True)

    def propagate(self, ego_Vd: Tensor) -> Tensor:
        """float (V, d): the mean of the layers: the embeddings, and what is propagated 1 to `layers` times."""
        layer_Vd, sum_Vd = ego_Vd, ego_Vd
        for _ in range(self.layers):
            layer_Vd = self.edges @ layer_Vd
            sum_Vd = sum_Vd + layer_Vd
        return sum_Vd / (self.layers + 1)
