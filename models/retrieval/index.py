"""Most of each user's best images by an index: only the images of the cells nearest to the user are scored.

Images lie in cells by their direction (an inverted file). A user's cells are ordered by how high an image of theirs is
likely to score: by the inner product with the cell's mean image, and by how far its images spread.

U users, I images, d dimensions, L cells, P cells looked into, k places of a list, N sampled users; b users of a block,
n images of a cell, m users who look into it, q scores of a block, p pairs of a user and an image.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array

from models.retrieval import ranking
from models.retrieval.coarse import Way, fastest, parts, rounding_errors
from models.retrieval.incremental_topk import empty, unit
from models.retrieval.ranking import Candidates, TopK, best_of_pairs

CELLS = 4.0  # times the square root of the number of images
SAMPLE_PER_CELL, ROUNDS = 16, 3  # of k-means; 32 and 5 took 1.8 times as long, for 7 % fewer images to look at
SPREAD = 0.1  # standard deviations of a cell's images by which its mean counts higher
SCORES = 1 << 25  # of a block: 128 MiB
PROBES = 1 << 22  # users times cells to look into, at once: about as much
MANY = (8, 1024)  # times k, and more: so many images near a user's k-th are scored at once, and not kept
LOWEST = np.finfo(np.float32).min  # below it: hidden


class Index(NamedTuple):
    """Where images lie, and how many cells to look into."""

    cells_Lf: np.ndarray  # float32 (L, d + 1): the mean of a cell's images, and SPREAD of their standard deviation
    cell_I: np.ndarray  # int32: the cell of each image
    num_probed: int  # P


def fit(
    users_Nd: np.ndarray,
    images_Id: np.ndarray,
    k: int,
    recall: float,
    *,
    seen_NI: csr_array,
    candidates: Candidates | None = None,
) -> Index:
    """An index whose lists hold about this share, 0 to 1, of the images of exact ones, as measured on these users."""
    exact = ranking.top_k(users_Nd, images_Id, k, seen_UI=seen_NI, candidates=candidates)
    return tuned(build(images_Id), users_Nd, exact, recall)


def build(images_Id: np.ndarray, seed: int = 0) -> Index:
    """An index of images, all of whose cells are looked into; equal vectors give equal bytes.

    Spherical k-means on a sample, then every image in the cell of the nearest centroid. Raises ValueError for vectors
    that are not finite.
    """
    rng, num_images = np.random.default_rng(seed), len(images_Id)
    if not num_images:
        return Index(np.empty((0, images_Id.shape[1] + 1), np.float32), np.empty(0, np.int32), 0)
    num_cells = min(num_images, int(np.ceil(CELLS * num_images**0.5)))
    size = min(num_images, SAMPLE_PER_CELL * num_cells)
    sample_Nd = unit(images_Id[np.sort(rng.choice(num_images, size, replace=False))])
    centroids_Ld = sample_Nd[np.sort(rng.choice(size, num_cells, replace=False))]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    way = fastest(device, images_Id.shape[1], (ROUNDS * size + num_images) * centroids_Ld.size)
    for _ in range(ROUNDS):
        sums_Ld = _members(_nearest(sample_Nd, centroids_Ld, way), num_cells) @ sample_Nd
        is_empty_L = ~sums_Ld.any(axis=1)
        sums_Ld[is_empty_L] = centroids_Ld[is_empty_L]
        centroids_Ld = unit(sums_Ld)
    cell_I = _nearest(images_Id, centroids_Ld, way)
    members_LI = _members(cell_I, num_cells)
    sizes_L = np.maximum(1, np.bincount(cell_I, minlength=num_cells)).astype(np.float32)
    means_Ld = (members_LI @ images_Id) / sizes_L[:, None]
    variance_L = (members_LI @ _squares(images_Id)) / sizes_L - _squares(means_Ld)
    spread_L = np.sqrt(np.maximum(variance_L, 0))
    return Index(np.column_stack([means_Ld, SPREAD * spread_L]).astype(np.float32), cell_I, num_cells)


def tuned(index: Index, users_Nd: np.ndarray, exact: TopK, recall: float) -> Index:
    """The index that looks into as few cells as have this share of the exact lists' images.

    Args:
        exact: the lists of the same users.
        recall: 0 to 1.
    """
    user, place = np.nonzero(exact.rows >= 0)
    if not len(user):
        return index
    num_cells = len(index.cells_Lf)
    order_NL = _nearest_cells(index, users_Nd, num_cells)
    place_NL = np.empty_like(order_NL)
    np.put_along_axis(place_NL, order_NL, np.arange(num_cells, dtype=order_NL.dtype)[None], axis=1)
    places = np.sort(place_NL[user, index.cell_I[exact.rows[user, place]]])
    last = max(0, int(np.ceil(recall * len(places))) - 1)
    return index._replace(num_probed=int(places[last]) + 1)


def search(
    users_Ud: np.ndarray,
    images_Id: np.ndarray,
    k: int,
    index: Index,
    *,
    seen_UI: csr_array,
    candidates: Candidates | None = None,
) -> TopK:
    """Every user's k best of the images in the cells that are looked into; all images where these have fewer than k.

    Scores and order are those of `ranking.top_k`. Neither other users nor the number of threads change a byte.

    Args:
        users_Ud: float32 (U, d).
        images_Id: float32 (I, d), those that the index was built of.
        seen_UI: images never to be listed for the user; an entry counts whatever its value.
        candidates: which images may be listed for a user; all images where it is None.
    """
    if not len(images_Id):
        return empty(len(users_Ud), k)
    users_Ud = np.require(users_Ud, np.float32, ["C", "W"])
    cells = _Cells(index, np.require(images_Id, np.float32, ["C", "W"]))
    found = empty(len(users_Ud), k)
    for block, nearest_bP in _blocks_with_cells(index, users_Ud, cells.sizes_L):
        seen, some = seen_UI[block], candidates and candidates.of(np.arange(len(users_Ud))[block])
        found.rows[block], found.scores[block] = _best_of_cells(
            users_Ud[block], nearest_bP, cells, k, csr_array(seen), some
        )
    short = np.flatnonzero(found.rows[:, -1] < 0)
    if short.size and index.num_probed < len(index.cells_Lf):
        some = candidates and candidates.of(short)
        found.rows[short], found.scores[short] = ranking.top_k(
            users_Ud[short], images_Id, k, seen_UI=seen_UI[short], candidates=some
        )
    return found


class _Cells:
    """The images, cell by cell."""

    def __init__(self, index: Index, images_Id: np.ndarray) -> None:
        self.images_Id, self.cell_I = images_Id, index.cell_I
        self.sizes_L = np.bincount(index.cell_I, minlength=len(index.cells_Lf))
        self.starts_L = np.cumsum(self.sizes_L) - self.sizes_L
        self.order_I = np.argsort(index.cell_I, kind="stable")
        self.place_I = np.empty_like(self.order_I)  # of an image in its cell
        self.place_I[self.order_I] = np.arange(len(images_Id)) - self.starts_L[index.cell_I[self.order_I]]
        self.longest = float(np.sqrt(_squares(images_Id).max(initial=0)))

    def members(self, cell: int) -> np.ndarray:
        """Image rows of a cell."""
        return self.order_I[self.starts_L[cell] : self.starts_L[cell] + self.sizes_L[cell]]


def _best_of_cells(
    users_bd: np.ndarray,
    nearest_bP: np.ndarray,
    cells: _Cells,
    k: int,
    seen_bI: csr_array,
    candidates: Candidates | None,
) -> TopK:
    """The lists of a block of users: products of all images in their cells, and exact scores of those that come near.

    The scores of a user's cells lie one behind the other.
    """
    num_users, num_probed = nearest_bP.shape
    sizes_r = cells.sizes_L[nearest_bP].ravel()
    starts_r = np.cumsum(sizes_r) - sizes_r
    ends_b = sizes_r.reshape(num_users, num_probed).sum(axis=1).cumsum()
    products_q = np.empty(int(ends_b[-1]), np.float32)
    _multiply(products_q, users_bd, nearest_bP, starts_r, cells, candidates)
    hidden_q = _places_of(seen_bI, nearest_bP, starts_r, cells)
    products_q[hidden_q] = -np.inf

    norms_b = torch.from_numpy(np.sqrt(_squares(users_bd))).double()
    errors_b = rounding_errors(users_bd.shape[1], norms_b, cells.longest).numpy()
    starts_bP, first = starts_r.reshape(num_users, num_probed), 0
    near: list[np.ndarray] = []
    for user, end in enumerate(ends_b.tolist()):
        own_q, start, first = products_q[first:end], first, end
        floor = -np.inf
        if len(own_q) > k:
            floor = float(np.partition(own_q, len(own_q) - k)[len(own_q) - k]) - 2 * float(errors_b[user])
        places = np.flatnonzero((own_q >= np.nextafter(np.float32(floor), LOWEST)) & (own_q >= LOWEST)) + start
        probe = np.searchsorted(starts_bP[user], places, side="right") - 1
        rows = cells.order_I[cells.starts_L[nearest_bP[user, probe]] + places - starts_bP[user, probe]]
        if len(rows) > MANY[0] * k + MANY[1]:
            scores = ranking.score_pairs(users_bd[user : user + 1], cells.images_Id, rows[None])[0]
            rows = rows[np.lexsort((rows, -scores))[:k]]
        near.append(rows)
    user_p, row_p = np.repeat(np.arange(num_users), list(map(len, near))), np.concatenate(near)
    users, images, owner, row = map(torch.from_numpy, (users_bd, cells.images_Id, user_p, row_p))
    return best_of_pairs(users, images, owner, row, k)


def _multiply(
    products_q: np.ndarray,
    users_bd: np.ndarray,
    nearest_bP: np.ndarray,
    starts_r: np.ndarray,
    cells: _Cells,
    candidates: Candidates | None,
) -> None:
    """Write the products of all users with the images of their cells, cell by cell; -inf where it is no candidate."""
    order_r = np.argsort(nearest_bP.ravel(), kind="stable")
    looked_into, firsts = np.unique(nearest_bP.ravel()[order_r], return_index=True)
    for cell, probes in zip(looked_into.tolist(), np.split(order_r, firsts[1:]), strict=True):
        members = cells.members(cell)
        if not len(members):
            continue
        users = probes // nearest_bP.shape[1]
        products_mn = users_bd[users] @ cells.images_Id[members].T
        if candidates:
            products_mn[~_allowed(candidates, users, members)] = -np.inf
        products_q[starts_r[probes][:, None] + np.arange(len(members))] = products_mn


def _allowed(candidates: Candidates, users: np.ndarray, images: np.ndarray) -> np.ndarray:
    """bool (m, n): candidates; all images for users without interests."""
    interests_mT, tags_nT = (_marks(matrix) for matrix in (candidates.interests[users], candidates.image_tags[images]))
    return np.asarray((interests_mT @ tags_nT.T).toarray() | (np.diff(interests_mT.indptr) == 0)[:, None])


def _marks(matrix: csr_array) -> csr_array:
    """bool: True at each entry, whatever its value."""
    return csr_array((np.ones(matrix.nnz, bool), matrix.indices, matrix.indptr), shape=matrix.shape)


def _places_of(seen_bI: csr_array, nearest_bP: np.ndarray, starts_r: np.ndarray, cells: _Cells) -> np.ndarray:
    """int64: where the products of seen images lie, of those that are in a cell which the user looks into."""
    num_cells = len(cells.sizes_L)
    user_s = np.repeat(np.arange(len(nearest_bP)), np.diff(seen_bI.indptr))
    image_s = seen_bI.indices
    probe_r = (np.arange(len(nearest_bP))[:, None] * num_cells + nearest_bP).ravel()
    order_r = np.argsort(probe_r)
    wanted_s = user_s * num_cells + cells.cell_I[image_s]
    found_s = np.minimum(np.searchsorted(probe_r[order_r], wanted_s), len(probe_r) - 1)
    is_in_s = probe_r[order_r][found_s] == wanted_s
    return np.asarray(starts_r[order_r[found_s[is_in_s]]] + cells.place_I[image_s[is_in_s]])


def _blocks_with_cells(index: Index, users_Ud: np.ndarray, sizes_L: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of users as `_blocks` makes them, and int32 (b, P), the cells to look into; of few users at once."""
    for part in parts(len(users_Ud), max(1, PROBES // index.num_probed)):
        nearest_NP = _nearest_cells(index, users_Ud[part], index.num_probed)
        for block in _blocks(sizes_L[nearest_NP].sum(axis=1)):
            yield slice(part.start + block.start, part.start + block.stop), nearest_NP[block]


def _blocks(widths_U: np.ndarray) -> Iterator[slice]:
    """Slices of consecutive users with at most SCORES scores, or of one user."""
    first, ends_U = 0, np.cumsum(widths_U)
    while first < len(widths_U):
        before = ends_U[first] - widths_U[first]
        last = max(first + 1, int(np.searchsorted(ends_U, before + SCORES, side="right")))
        yield slice(first, last)
        first = last


def _nearest_cells(index: Index, users_Nd: np.ndarray, number: int) -> np.ndarray:
    """int32 (N, P): the cells to look into, the likeliest first."""
    users_Nf = np.column_stack([users_Nd, np.sqrt(_squares(users_Nd))])
    return ranking.top_k(users_Nf, index.cells_Lf, number).rows


def _nearest(vectors_Nd: np.ndarray, centroids_Ld: np.ndarray, way: Way) -> np.ndarray:
    """int32 (N,): the centroid of the highest inner product."""
    return ranking.top_k(vectors_Nd, centroids_Ld, 1, way=way).rows[:, 0]


def _members(cell_N: np.ndarray, num_cells: int) -> csr_array:
    """float32 (L, N): 1 where the vector is in the cell."""
    ones, columns = np.ones(len(cell_N), np.float32), np.arange(len(cell_N))
    return csr_array((ones, (cell_N, columns)), shape=(num_cells, len(cell_N)))


def _squares(vectors_Nd: np.ndarray) -> np.ndarray:
    """float32 (N,): squared norms."""
    squares_N = np.empty(len(vectors_Nd), np.float32)
    for part in parts(len(vectors_Nd)):
        squares_N[part] = np.einsum("nd,nd->n", vectors_Nd[part], vectors_Nd[part])
    return squares_N
