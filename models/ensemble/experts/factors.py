"""Experts by matrix factorisation: weighted alternating least squares over favorites, contacts, tags and content.

U users, I images, R rows, C columns, d factors, n entries of a block of rows, c dimensions of content.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.sparse import csr_array, eye_array, hstack, vstack
from sklearn.utils.extmath import randomized_svd
from torch import Tensor
from torch.nn import functional

from models.community import Community
from models.devices import choose_device
from models.ensemble.experts.base import Bounded, Expert
from models.ensemble.experts.linear import Content
from models.sparse import commonest_columns, degree_normalised

# Entries of a block of rows: their factors, 4 MiB at 128, stay in the cache (3 to 4 times as fast as 64 MiB).
BLOCK_ENTRIES = 1 << 13
STEPS = 3  # of conjugate gradients in each round, which start from the last round's result; implicit takes as few


@dataclass(frozen=True, kw_only=True)
class Factors(Bounded):
    """iALS (Hu, Koren and Volinsky, ICDM 2008) on one matrix of favorites, contacts and tags.

    Rows are users, then tags; columns are images, then users as contacts. So a user's factors explain both favorites
    and contacts, an image's factors both its favorites and its tags. Every user counts as a contact of their own: that
    column is a residual of the user.
    """

    dimensions: int = 128
    confidence: float = 10.0  # α: how much more an entry counts than its absence
    strength: float = 50.0  # λ
    contacts: float = 0.0  # weight of a contact, where a favorite has 1; 0 leaves contacts out
    tags: float = 0.0  # weight of a tag, where a favorite has 1; 0 leaves tags out
    activity: float = 0.0  # exponent by which a user's favorites count less, the more favorites the user has
    models: int = 1  # factorisations from as many seeds, whose scores are added: their errors cancel
    rounds: int = 8  # in each the rows are solved, then the columns

    def fit(self, community: Community, seed: int) -> Expert | None:
        """The expert; None where no user has a favorite, or it is to use contacts or tags and there are none."""
        if not community.favorites_UI.nnz:
            return None
        if (self.contacts and not community.contacts_UU.nnz) or (self.tags and not community.image_tags_IT.nnz):
            return None
        num_users, num_images = community.favorites_UI.shape
        matrix_RC = self.discounted(community.favorites_UI)
        if self.contacts:
            following_UU = community.contacts_UU + eye_array(num_users, dtype=np.float32, format="csr")
            matrix_RC = csr_array(hstack([matrix_RC, self.contacts * following_UU], format="csr"))
        if self.tags:
            shared = commonest_columns(community.image_tags_IT, num_images, min_entries=2)
            tags_IT = community.image_tags_IT[:, shared]
            tags_TI = csr_array(tags_IT.T.astype(bool).astype(np.float32) * np.float32(self.tags))
            shape = (tags_TI.shape[0], matrix_RC.shape[1])
            tags_TC = csr_array((tags_TI.data, tags_TI.indices, tags_TI.indptr), shape)
            matrix_RC = csr_array(vstack([matrix_RC, tags_TC], format="csr"))
        users, images = [], []
        for number in range(self.models):
            rows_Rd, columns_Cd = factorise(matrix_RC, self, seed=seed * self.models + number)
            users.append(rows_Rd[:num_users])
            images.append(columns_Cd[:num_images])
        users_Ud = np.concatenate(users, axis=1)
        return Expert(users_Ud, np.ascontiguousarray(np.concatenate(images, axis=1).T))

    def discounted(self, favorites_UI: csr_array) -> csr_array:
        """The favorites divided by a power of their user's number of favorites, with a mean of 1."""
        if not self.activity:
            return favorites_UI
        discounted = degree_normalised(favorites_UI, self.activity, 0)
        return csr_array(discounted / np.float32(discounted.data.mean()))


def factorise(matrix_RC: csr_array, config: Factors, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column factors, float32 (R, d) and (C, d), that minimise the weighted squared error.

    The target of a stored entry of weight w is 1 with confidence α w, that of any other entry 0 with confidence 1
    (implicit's convention: α w is an entry's whole confidence, and λ is not multiplied by the number of entries).
    """
    rows, columns, by_row, by_column = _started(matrix_RC, config, seed)
    for _ in range(config.rounds):
        _solve(rows, columns, by_row, config.strength)
        _solve(columns, rows, by_column, config.strength)
    return rows.cpu().numpy(), columns.cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class CodedFactors(Bounded):
    """iALS whose images are pulled to a linear code of their content, which alone places an image without favorites.

    Collaborative deep learning (Wang et al., KDD 2015) with a linear encoder: the factors, and the ridge regression of
    the images' factors on their content, are solved in turns. Content is that of the expert `content`, in its leading
    singular vectors. An image weighs as much in the regression as it has favorites.
    """

    factors: Factors
    content_dimensions: int = 256
    ridge: float = 10.0  # λ of the regression, where the mean squared length of an image's content is 1

    def fit(self, community: Community, seed: int) -> Expert | None:
        """The expert; None where images have no content, or no user has a favorite."""
        content_If = Content().matrix(community)
        if content_If is None or not community.favorites_UI.nnz:
            return None
        images_Uc, lengths_c, _ = randomized_svd(
            content_If,
            min(self.within(self.content_dimensions, community.num_images), *content_If.shape),
            random_state=seed,
        )
        favorites_UI = self.factors.discounted(community.favorites_UI)
        rows, columns, by_row, by_column = _started(favorites_UI, self.factors, seed)
        content_Ic = torch.from_numpy(np.ascontiguousarray(images_Uc * lengths_c, np.float32)).to(rows.device)
        content_Ic = content_Ic / content_Ic.square().sum(1).mean().sqrt()
        weights_I1 = torch.from_numpy(community.popularity_I.astype(np.float32)).to(rows.device)[:, None]
        gram_cc = content_Ic.T @ (weights_I1 * content_Ic)
        gram_cc.diagonal().add_(self.ridge)
        cholesky_cc = torch.linalg.cholesky(gram_cc)
        codes_Id = torch.zeros_like(columns)
        for _ in range(self.factors.rounds):
            _solve(rows, columns, by_row, self.factors.strength)
            _solve(columns, rows, by_column, self.factors.strength, codes_Id)
            codes_Id = content_Ic @ torch.cholesky_solve(content_Ic.T @ (weights_I1 * columns), cholesky_cc)
        images_Id = torch.where(weights_I1 > 0, columns, codes_Id)
        return Expert(rows.cpu().numpy(), np.ascontiguousarray(images_Id.cpu().numpy().T))


def _started(matrix_RC: csr_array, config: Factors, seed: int) -> tuple[Tensor, Tensor, "_Entries", "_Entries"]:
    """Random small factors of rows and columns, and the matrix's entries by row and by column, on the device."""
    device = choose_device("auto")
    generator = torch.Generator().manual_seed(seed)
    dimensions = config.within(config.dimensions, *matrix_RC.shape)
    rows, columns = ((0.01 * torch.randn(size, dimensions, generator=generator)).to(device) for size in matrix_RC.shape)
    by_row, by_column = (_Entries.of(csr_array(each), config, device) for each in (matrix_RC, matrix_RC.T.tocsr()))
    return rows, columns, by_row, by_column


@dataclass(frozen=True)
class _Entries:
    """A matrix's entries by row, on the device."""

    starts: np.ndarray  # int64 (R + 1,)
    indices: Tensor  # int64: columns
    weights: Tensor  # float32: confidences

    @classmethod
    def of(cls, matrix: csr_array, config: Factors, device: torch.device) -> "_Entries":
        weights = torch.from_numpy(np.maximum(matrix.data * config.confidence, 1).astype(np.float32))
        indices = torch.from_numpy(matrix.indices.astype(np.int64))
        return cls(matrix.indptr.astype(np.int64), indices.to(device), weights.to(device))

    def blocks(self) -> list[tuple[int, int]]:
        """Consecutive rows with about BLOCK_ENTRIES entries."""
        part = np.cumsum(np.diff(self.starts) + 1) // BLOCK_ENTRIES  # + 1: a row without entries takes time too
        bounds = [*np.flatnonzero(np.diff(part, prepend=-1)).tolist(), len(part)]
        return list(pairwise(bounds))


def _solve(
    unknown_Rd: Tensor, fixed_Cd: Tensor, entries: _Entries, strength: float, means_Rd: Tensor | None = None
) -> None:
    """Improve `unknown_Rd` in place: for each row, (VᵀV + Σ (w − 1) vvᵀ + λ) x = Σ w v + λ m, by conjugate gradients.

    Args:
        means_Rd: m, to which each row is pulled; None: zero.
    """
    gram_dd = fixed_Cd.T @ fixed_Cd
    gram_dd.diagonal().add_(strength)
    for first, last in entries.blocks():
        begin, end = entries.starts[first], entries.starts[last]
        starts = torch.from_numpy(entries.starts[first:last] - begin).to(fixed_Cd.device)
        lengths = torch.from_numpy(np.diff(entries.starts[first : last + 1])).to(fixed_Cd.device)
        indices, weights = entries.indices[begin:end], entries.weights[begin:end]
        near_nd = fixed_Cd[indices]
        row_of_entry = torch.repeat_interleave(torch.arange(last - first, device=fixed_Cd.device), lengths)

        def added(values_n: Tensor, indices: Tensor = indices, starts: Tensor = starts) -> Tensor:
            if not len(indices):
                return torch.zeros(len(starts), fixed_Cd.shape[1], device=fixed_Cd.device)
            return functional.embedding_bag(indices, fixed_Cd, starts, mode="sum", per_sample_weights=values_n)

        def times(x: Tensor, near: Tensor = near_nd, row: Tensor = row_of_entry, weights: Tensor = weights) -> Tensor:
            return x @ gram_dd + added((near * x[row]).sum(1) * (weights - 1))

        x = unknown_Rd[first:last]
        wanted = added(weights) if means_Rd is None else added(weights) + strength * means_Rd[first:last]
        residual = wanted - times(x)
        direction, norm = residual.clone(), residual.square().sum(1)
        for _ in range(STEPS):
            moved = times(direction)
            step = norm / (direction * moved).sum(1).clamp_min(1e-20)
            x = x + step[:, None] * direction
            residual = residual - step[:, None] * moved
            last_norm, norm = norm, residual.square().sum(1)
            direction = residual + (norm / last_norm.clamp_min(1e-20))[:, None] * direction
        unknown_Rd[first:last] = x
