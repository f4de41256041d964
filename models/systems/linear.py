"""Linear models of the favorites alone: a user's favorites times one matrix of images by images.

U users, I images, W warm images (with a training favorite), N users to score, K users or warm images, n images of a
block. Cold images cannot be scored.
"""

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array, hstack

from models.community import Community
from models.devices import choose_device
from models.settings.linear import EASEConfig, ItemKNNConfig
from models.sparse import row_of_entry
from models.systems.base import System, Vectors, pack_sparse, unpack_sparse, vectors_of

BLOCK_CELLS = 1 << 24  # numbers in a dense block while fitting: 128 MiB of float64
VECTOR_DIMENSIONS = 1024  # EASE has vectors up to so many: with more, ranking takes minutes, and seconds by `score`


class ItemKNN(System[ItemKNNConfig]):
    """The sum of an image's similarities to the user's favorites, over favorites of which it is a nearest neighbour."""

    name = "itemknn"
    source = "Deshpande, Karypis: Item-based top-N recommendation algorithms, TOIS 2004, sections 4.1 to 4.3"
    grid = {
        "neighbours": (100, 500),
        "popular": (0.1, 0.25, 0.4, 0.5),
        "crowd": (0.0, 1.0),
        "shrinkage": (0.0, 10.0),
    }
    Config = ItemKNNConfig

    history_UI: csr_array
    similarity_II: csr_array  # row j: the k images most similar to j
    warm_I: np.ndarray

    def fit(self, community: Community) -> None:
        self.history_UI = community.favorites_UI
        self.warm_I = community.popularity_I > 0
        self.similarity_II = nearest(self.history_UI, self.config)

    def score(self, users_N: np.ndarray) -> np.ndarray:
        scores_NI = (self.history_UI[users_N] @ self.similarity_II).toarray()
        scores_NI[:, ~self.warm_I] = -np.inf
        return np.asarray(scores_NI, np.float32)

    def state(self) -> dict[str, np.ndarray]:
        return {
            **pack_sparse("history_UI", self.history_UI),
            **pack_sparse("similarity_II", self.similarity_II),
            "warm_I": self.warm_I,
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.history_UI = unpack_sparse("history_UI", state)
        self.similarity_II = unpack_sparse("similarity_II", state)
        self.warm_I = state["warm_I"]


def nearest(favorites_UI: csr_array, config: ItemKNNConfig) -> csr_array:
    """float32 (I, I): in row j the k images most similar to image j but itself; of equal ones the lower rows.

    A user with n favorites weighs n^-crowd. The similarity of j to i is the weight of the users of both, divided by
    (weight of j's users)^.5 · (weight of i's users)^popular + shrinkage. Images that share no user have no entry.
    """
    num_images = favorites_UI.shape[1]
    weight_U = np.maximum(np.diff(favorites_UI.indptr), 1) ** -config.crowd
    liked_UI = favorites_UI.astype(np.float64)
    liked_IU = liked_UI.T.tocsr()
    weight_I = liked_IU @ weight_U
    liked_UI.data *= weight_U[row_of_entry(liked_UI)]
    data, columns, counts_I = [np.empty(0, np.float32)], [np.empty(0, np.int64)], np.zeros(num_images, np.int64)
    step = max(1, BLOCK_CELLS // max(1, num_images))
    for first in range(0, num_images, step):
        shared_nI = (liked_IU[first : first + step] @ liked_UI).tocsr()
        shared_nI.sort_indices()
        row = row_of_entry(shared_nI)
        is_other = shared_nI.indices != row + first
        row, column, shared = row[is_other], shared_nI.indices[is_other], shared_nI.data[is_other]
        near = shared / (weight_I[first + row] ** 0.5 * weight_I[column] ** config.popular + config.shrinkage)
        # rows ascend: one key orders by row, then by similarity; the sort is stable
        order = np.argsort(2 * row - near / near.max(initial=1e-12), kind="stable")
        counts_n = np.bincount(row, minlength=shared_nI.shape[0])
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts_n) - counts_n, counts_n)
        kept = order[place < config.neighbours]
        data.append(near[kept].astype(np.float32))
        columns.append(column[kept])
        counts_I[first : first + step] = np.minimum(counts_n, config.neighbours)
    indptr = np.concatenate([[0], np.cumsum(counts_I)])
    kept_II = csr_array((np.concatenate(data), np.concatenate(columns), indptr), shape=(num_images, num_images))
    kept_II.sort_indices()
    return kept_II


class EASE(System[EASEConfig]):
    """The linear autoencoder X B with the least squared error to X, with the ridge λ and a zero diagonal of B.

    With P = (X'X + λ)^-1, B is -P_ij / P_jj off the diagonal (equation 8). With fewer users than warm images the same
    scores follow from M = (XX' + λ)^-1: X P = M X by Woodbury, hence for an image i that user u does not favor
    (XB)_ui = (XX'M X)_ui / (λ P_ii), with XX'M = 1 - λM and λ P_ii = 1 - x_i'M x_i: an inner product of U dimensions.
    Then the scores of a user's own favorites, which are never listed, differ from XB.

    To X a column of w is added, an image that everybody favors and that is never listed: a linear model's intercept.
    Without it all images that share no user with the user's favorites score 0, in a small community nearly all.
    """

    name = "ease"
    source = "Steck: Embarrassingly shallow autoencoders for sparse data, WWW 2019, equations 5 to 8"
    grid = {"ridge": (10.0, 60.0, 250.0, 1000.0), "intercept": (0.0, 0.5, 1.0)}
    Config = EASEConfig

    left_UK: np.ndarray | csr_array  # K users: 1 - λM, dense; K warm images and the added one: the favorites, sparse
    right_KW: np.ndarray | csr_array  # K users: x_i / λP_ii, sparse; K warm images and the added one: B, dense
    warm_I: np.ndarray

    def fit(self, community: Community) -> None:
        self.warm_I = community.popularity_I > 0
        history_UW = community.favorites_UI[:, self.warm_I].tocsr().astype(np.float64)
        self._check_size(*history_UW.shape)
        solve = _through_users if history_UW.shape[0] <= history_UW.shape[1] else _through_images
        self.left_UK, self.right_KW = solve(history_UW, self.config)

    def score(self, users_N: np.ndarray) -> np.ndarray:
        scores_NI = np.full((len(users_N), len(self.warm_I)), -np.inf, np.float32)
        scores_NI[:, self.warm_I] = self.left_UK[users_N] @ self.right_KW
        return scores_NI

    @property
    def vectors(self) -> Vectors | None:
        """Vectors of U dimensions if there are fewer users than warm images and at most 1,024, else None.

        A user's scores take U times I steps by vectors, and by `score` only as many as there are favorites.
        """
        num_users = self.left_UK.shape[0]
        if isinstance(self.right_KW, np.ndarray) or num_users > VECTOR_DIMENSIONS:
            return None
        images_IK = np.zeros((len(self.warm_I), num_users), np.float32)
        images_IK[self.warm_I] = self.right_KW.T.toarray()
        return vectors_of(self.left_UK, images_IK, self.warm_I)

    def state(self) -> dict[str, np.ndarray]:
        matrices: dict[str, np.ndarray] = {}
        for name, matrix in (("left_UK", self.left_UK), ("right_KW", self.right_KW)):
            matrices |= {name: matrix} if isinstance(matrix, np.ndarray) else pack_sparse(name, matrix)
        return {**matrices, "warm_I": self.warm_I}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.left_UK, self.right_KW = (
            state[name] if name in state else unpack_sparse(name, state) for name in ("left_UK", "right_KW")
        )
        self.warm_I = state["warm_I"]

    def _check_size(self, num_users: int, num_warm: int) -> None:
        needed_gib = 8 * min(num_users, num_warm) ** 2 / 2**30
        if needed_gib > self.config.matrix_gib:
            raise ValueError(
                f"ease inverts a matrix of users by users or of images by images, whichever is smaller: {num_users:,} "
                f"users and {num_warm:,} images with favorites need {needed_gib:.1f} GiB, more than matrix_gib "
                f"{self.config.matrix_gib:g}; raise it if twice as much memory is free, or choose als or lightgcn"
            )


def _through_users(history_UW: csr_array, config: EASEConfig) -> tuple[np.ndarray, csr_array]:
    num_users, num_warm = history_UW.shape
    M_UU = _inverse((history_UW @ history_UW.T).toarray() + config.intercept**2, config.ridge)
    history_WU = history_UW.T.tocsr()
    quadratic_W = np.empty(num_warm)  # x_i'M x_i
    step = max(1, BLOCK_CELLS // max(1, num_users))
    for first in range(0, num_warm, step):
        x_nU = history_WU[first : first + step]
        row = row_of_entry(x_nU)
        values = x_nU.data * (x_nU @ M_UU)[row, x_nU.indices]
        quadratic_W[first : first + step] = np.bincount(row, values, minlength=x_nU.shape[0])
    M_UU *= -config.ridge
    M_UU[np.diag_indices(num_users)] += 1
    return M_UU.astype(np.float32), (history_UW @ diags_array(1 / (1 - quadratic_W))).tocsr().astype(np.float32)


def _through_images(history_UW: csr_array, config: EASEConfig) -> tuple[csr_array, np.ndarray]:
    everybody_U1 = csr_array(np.full((history_UW.shape[0], 1), config.intercept))
    history_UK = csr_array(hstack([history_UW, everybody_U1], format="csr"))
    P_KK = _inverse((history_UK.T @ history_UK).toarray(), config.ridge)
    P_KK /= -np.diag(P_KK).copy()
    np.fill_diagonal(P_KK, 0)
    return history_UK.astype(np.float32), np.ascontiguousarray(P_KK[:, :-1], np.float32)


def _inverse(gram_KK: np.ndarray, ridge: float) -> np.ndarray:
    """(G + λ)^-1 in float64, in the memory of G on a CPU."""
    gram_KK[np.diag_indices(len(gram_KK))] += ridge
    matrix = torch.from_numpy(gram_KK).to(choose_device("auto"))
    torch.linalg.cholesky(matrix, out=matrix)
    torch.cholesky_inverse(matrix, out=matrix)
    return np.asarray(matrix.cpu().numpy())
