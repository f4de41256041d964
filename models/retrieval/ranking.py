"""Exact top-K by inner product, blocks of users against blocks of images, in bounded memory on CPU or GPU.

U users, I images, T tags, d dimensions, k places in a list, N users to score, C images to score for each of them; b
users and n images of a block, t tags that its users are interested in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csc_array, csr_array

# Users and images in one block: 128 MiB of scores on a CPU, 512 on a GPU. With few users and many images the fewest
# scores are compared (see `_merge`); with too few users the threads of a CPU spend their time waiting for each other.
BLOCKS = {"cpu": (512, 65_536), "cuda": (2048, 65_536)}
LOW_BITS = (1 << 32) - 1  # of a key: they hold the image row


class Candidates(NamedTuple):
    """The candidate filter: images with at least one of the user's interests as a tag; all for users without interests.

    An entry counts whatever its value.
    """

    interests: csr_array  # (U, T)
    image_tags: csr_array  # (I, T)

    def of(self, users: np.ndarray) -> "Candidates":
        """The filter for some of the users."""
        return Candidates(self.interests[users], self.image_tags)


class TopK(NamedTuple):
    """Lists of images, best first; row -1 and score -inf where a user has fewer than k images left."""

    rows: np.ndarray  # int32 (U, k), image rows
    scores: np.ndarray  # float32 (U, k)


class Block(NamedTuple):
    """The lists of consecutive users, beginning with row `first_user`."""

    first_user: int
    rows: np.ndarray  # int32 (b, k)
    scores: np.ndarray  # float32 (b, k)


def top_k(
    users_Ud: np.ndarray,
    images_Id: np.ndarray,
    k: int,
    *,
    seen_UI: csr_array | None = None,
    candidates: Candidates | None = None,
    device: str | torch.device | None = None,
    block_shape: tuple[int, int] | None = None,
) -> TopK:
    """Every user's k best images, of all users at once; see `top_k_blocks`."""
    blocks = top_k_blocks(
        users_Ud, images_Id, k, seen_UI=seen_UI, candidates=candidates, device=device, block_shape=block_shape
    )
    return _whole(blocks, k)


def top_k_blocks(
    users_Ud: np.ndarray,
    images_Id: np.ndarray,
    k: int,
    *,
    seen_UI: csr_array | None = None,
    candidates: Candidates | None = None,
    device: str | torch.device | None = None,
    block_shape: tuple[int, int] | None = None,
) -> Iterator[Block]:
    """Every user's k best images by float32 inner product, block of users by block of users, in user order.

    Exact: no image outside a list has a higher score than one in it, and of equal scores the lower image row comes
    first. Equal inputs give equal bytes. Other block sizes may change the last bit of a float32 product, nothing else.

    Args:
        users_Ud: float32 (U, d).
        images_Id: float32 (I, d).
        k: length of a list, at least 1.
        seen_UI: images never to be listed for the user; an entry counts whatever its value.
        candidates: which images may be listed for a user; all images where it is None.
        device: where to compute; a GPU if there is one, else the CPU.
        block_shape: how many users and images at once; memory is about 6 bytes for each pair of them.
    Raises:
        ValueError: shapes do not match, or vectors are not finite.
    """
    _check(users_Ud, images_Id, k, seen_UI, candidates)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    block_users, block_images = block_shape or BLOCKS[place.type]
    num_users, num_images = len(users_Ud), len(images_Id)
    chunk = _chunk_size(min(block_images, num_images), k)
    users, images = _tensor(users_Ud, np.float32), _tensor(images_Id, np.float32).to(place)
    buffer = torch.empty((min(block_images, num_images) + chunk + 8) * min(block_users, num_users), device=place)
    tagged_TI = candidates.image_tags.T.tocsr() if candidates else None

    for first_user in range(0, num_users, block_users):
        block = slice(first_user, first_user + block_users)
        users_bd = users[block].to(place)
        seen_bI = seen_UI[block].tocsc() if seen_UI is not None else None
        interests = _Interests(candidates.interests[block], tagged_TI, place) if candidates else None
        best = _keys(torch.full((len(users_bd), k), -torch.inf, device=place), LOW_BITS)
        for first_image in range(0, num_images, block_images):
            scores_nb = _product(images[first_image : first_image + block_images], users_bd, buffer, max(chunk, 8))
            if seen_bI is not None:
                _hide_seen(scores_nb, seen_bI, first_image)
            if interests is not None:
                interests.hide_non_candidates(scores_nb, first_image)
            best = _merge(best, scores_nb, first_image, chunk)
        scores, rows = _decode(best)
        rows = rows.masked_fill(scores == -torch.inf, -1)
        yield Block(first_user, rows.to(torch.int32).cpu().numpy(), scores.cpu().numpy())


def top_k_of_scores(scores_UI: np.ndarray, k: int, seen_UI: csr_array) -> TopK:
    """Every user's k best images by these scores, in the order of `top_k_blocks`; -inf is never listed."""
    num_images = scores_UI.shape[1]
    chunk = _chunk_size(num_images, k)
    padded = -(-num_images // chunk) * chunk
    scores_nb = torch.full((padded, len(scores_UI)), -torch.inf)
    scores_nb[:num_images] = torch.from_numpy(np.require(scores_UI, np.float32, "W")).T
    _hide_seen(scores_nb[:num_images], seen_UI.tocsc(), 0)
    best = _merge(_keys(torch.full((len(scores_UI), k), -torch.inf), LOW_BITS), scores_nb, 0, chunk)
    scores, rows = _decode(best)
    return TopK(rows.masked_fill(scores == -torch.inf, -1).to(torch.int32).numpy(), scores.numpy())


def score_pairs(users_Nd: np.ndarray, images_Id: np.ndarray, rows_NC: np.ndarray) -> np.ndarray:
    """float32 (N, C): the inner product of user n with each of the images in row n of `rows_NC`."""
    scores_NC = np.empty(rows_NC.shape, np.float32)
    step = max(1, (1 << 24) // max(1, rows_NC.shape[1] * images_Id.shape[1]))  # 64 MiB of gathered vectors
    for first in range(0, len(rows_NC), step):
        block = slice(first, first + step)
        scores_NC[block] = np.einsum("ncd,nd->nc", images_Id[rows_NC[block]], users_Nd[block])
    return scores_NC


class _Interests:
    """The candidate filter for a block of users.

    Each tag that one of them is interested in has a bitmap over the images of a block, eight images in a byte; a user's
    candidates are the bitwise or of a few bitmaps, at an eighth of the memory traffic of a mask of bytes.
    """

    def __init__(self, interests_bT: csr_array, tagged_TI: csr_array, device: torch.device) -> None:
        counts = np.diff(interests_bT.indptr)
        order = np.argsort(-counts, kind="stable")  # most interests first: round r concerns the first users alone
        tags, tag_rows = np.unique(interests_bT.indices, return_inverse=True)
        self.tagged_tI: csc_array = tagged_TI[tags].tocsc()
        self.tagged_tI.sum_duplicates()  # a bit added twice would be another bit
        self.num_interested = int(np.count_nonzero(counts))
        self.place_of_user = _tensor(np.argsort(order, kind="stable"), np.int64).to(device)
        starts, counts = interests_bT.indptr[:-1][order], counts[order]
        self.rounds = [
            _tensor(tag_rows[starts[: np.searchsorted(-counts, -r)] + r], np.int64).to(device)
            for r in range(counts.max(initial=0))
        ]

    def hide_non_candidates(self, scores_nb: torch.Tensor, first_image: int) -> None:
        """Set the scores of images without a tag of the user's interests to -inf."""
        images, tags = _entries(self.tagged_tI, first_image, scores_nb)
        bitmaps = torch.zeros(self.tagged_tI.shape[0], len(scores_nb) // 8, dtype=torch.uint8, device=scores_nb.device)
        bits = (1 << torch.arange(8, device=scores_nb.device)).to(torch.uint8)
        # distinct powers of two: their sum is their bitwise or
        bitmaps.view(-1).scatter_add_(0, tags * bitmaps.shape[1] + images // 8, bits[images % 8])
        allowed = torch.zeros(scores_nb.shape[1], bitmaps.shape[1], dtype=torch.uint8, device=scores_nb.device)
        allowed[self.num_interested :] = 255
        for tags in self.rounds:
            allowed[: len(tags)] |= bitmaps.index_select(0, tags)  # copies whole rows; indexing goes byte by byte
        allowed_8b = allowed[self.place_of_user].T.contiguous()
        # On a CPU, masked_fill and where take several times as long as the minimum of the scores and -inf or inf.
        for first in range(0, len(allowed_8b), 1024):
            part_nb = scores_nb[8 * first : 8 * (first + 1024)]
            part_8b = allowed_8b[first : first + 1024, None, :] & bits[:, None]
            limit_nb = part_8b.reshape(part_nb.shape).float().sub_(0.5).mul_(torch.inf)
            torch.minimum(part_nb, limit_nb, out=part_nb)


def _hide_seen(scores_nb: torch.Tensor, seen_bI: csc_array, first_image: int) -> None:
    scores_nb[_entries(seen_bI, first_image, scores_nb)] = -torch.inf


def _entries(matrix_xI: csc_array, first_image: int, scores_nb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The entries of a matrix for the block's images: images counted from the block's first one, and matrix rows."""
    indptr = matrix_xI.indptr[first_image : first_image + len(scores_nb) + 1]
    images = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    rows = matrix_xI.indices[indptr[0] : indptr[-1]]
    return _tensor(images, np.int64).to(scores_nb.device), _tensor(rows, np.int64).to(scores_nb.device)


def _product(images_nd: torch.Tensor, users_bd: torch.Tensor, buffer: torch.Tensor, multiple: int) -> torch.Tensor:
    """Inner products in the buffer, images by users, padded with rows of -inf to a multiple of `multiple`.

    Allocating memory for each block would take as long as the product, as the operating system hands out its pages.
    """
    padded = -(-len(images_nd) // multiple) * multiple
    scores_nb = buffer[: padded * len(users_bd)].view(padded, len(users_bd))
    with _full_precision():
        torch.mm(images_nd, users_bd.T, out=scores_nb[: len(images_nd)])
    scores_nb[len(images_nd) :] = -torch.inf
    return scores_nb


def _merge(best_bk: torch.Tensor, scores_nb: torch.Tensor, first_image: int, chunk: int) -> torch.Tensor:
    """The best keys so far, merged with a block's scores.

    Only the k best chunks of consecutive images are compared image by image: an image in any other chunk ranks behind
    the best images of k chunks. Chunk maxima are several times cheaper than a top-k over all scores, which took as long
    as the product itself.
    """
    k = best_bk.shape[1]
    chunks = scores_nb.view(-1, chunk, scores_nb.shape[1])
    chunk_row = torch.arange(len(chunks), device=scores_nb.device)
    _, chunk_bk = _decode(_keys(chunks.amax(1).T, chunk_row).topk(min(k, len(chunks))).values)
    near = chunks[chunk_bk, :, torch.arange(len(best_bk), device=scores_nb.device)[:, None]]
    rows = first_image + chunk_bk[:, :, None] * chunk + torch.arange(chunk, device=scores_nb.device)
    return torch.cat([best_bk, _keys(near, rows).flatten(1)], dim=1).topk(k).values


def _chunk_size(num_images: int, k: int) -> int:
    """A power of two near sqrt(num_images / k), with which there are about as many chunks as images in k chunks."""
    return int(1 << (max(1, num_images // k).bit_length() - 1) // 2)


def _keys(scores: torch.Tensor, rows: torch.Tensor | int) -> torch.Tensor:
    """int64 keys in the order of the lists: a higher score is a higher key, and of equal scores the lower row.

    A float's bits, read as an integer, are in order once the lower bits of negative ones are flipped.
    """
    bits = (scores + 0.0).view(torch.int32).long()  # -0.0 + 0.0 is 0.0: the two are equal scores
    return ((bits ^ ((bits >> 31) & 0x7FFFFFFF)) << 32) | (LOW_BITS - rows)


def _decode(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores and rows of keys."""
    bits = keys >> 32
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(torch.int32).view(torch.float32), LOW_BITS - (keys & LOW_BITS)


@contextmanager
def _full_precision() -> Iterator[None]:
    """True float32 products, whatever precision training has set for this process."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _tensor(array: np.ndarray, dtype: type[np.generic]) -> torch.Tensor:
    """A tensor on the array's memory, or on a copy if the array has another type or is read-only."""
    return torch.from_numpy(np.require(array, dtype, ["C", "W"]))


def _whole(blocks: Iterator[Block], k: int) -> TopK:
    rows, scores = [np.empty((0, k), np.int32)], [np.empty((0, k), np.float32)]
    for block in blocks:
        rows.append(block.rows)
        scores.append(block.scores)
    return TopK(np.concatenate(rows), np.concatenate(scores))


def _check(
    users_Ud: np.ndarray, images_Id: np.ndarray, k: int, seen_UI: csr_array | None, candidates: Candidates | None
) -> None:
    if k < 1:
        raise ValueError(f"k is {k}; a list has at least one place")
    if users_Ud.shape[1] != images_Id.shape[1]:
        raise ValueError(
            f"users have {users_Ud.shape[1]} dimensions, images {images_Id.shape[1]}; embed both with the same model"
        )
    pairs = (len(users_Ud), len(images_Id))
    if seen_UI is not None and seen_UI.shape != pairs:
        raise ValueError(f"seen_UI is {seen_UI.shape}, but there are {pairs[0]} users and {pairs[1]} images")
    if candidates and (candidates.interests.shape[0], candidates.image_tags.shape[0]) != pairs:
        raise ValueError(
            f"interests of {candidates.interests.shape[0]} users and tags of {candidates.image_tags.shape[0]} "
            f"images, but there are {pairs[0]} users and {pairs[1]} images"
        )
    for name, vectors in (("users", users_Ud), ("images", images_Id)):
        if not np.isfinite(vectors).all():
            row = int(np.argmin(np.isfinite(vectors).all(axis=1)))
            raise ValueError(f"{name}: the vector of row {row} is not finite; did the training diverge?")
