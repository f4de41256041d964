"""Exact top-K by inner product, blocks of users against blocks of images, in bounded memory on CPU or GPU.

A coarse product with a bounded error finds the few images that can be in a list; only these are scored exactly.

U users, I images, T tags, d dimensions, k places in a list, N users to score, C images to score for each of them; b
users and n images of a block, padded to a multiple of 64; t tags that the block's users are interested in, p pairs of a
user and an image that can be in the user's list. Bit i % 8 of byte i // 8 stands for image i of a block.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csc_array, csr_array

from models.retrieval.coarse import FLOAT32, Coarse, Way, fastest, parts

# Users and images in one block: on a CPU 64 MiB of coarse products in bfloat16, 128 in float32.
BLOCKS = {"cpu": (512, 65_536), "cuda": (2048, 65_536)}
WIDE = (8, 1024)  # times k, and more: a user for whom so many images of a block come close is looked at more precisely
BITMAP_BYTES = 1 << 26  # bitmaps of all tags are kept if they fit; else those of a block of users are made for it
LARGEST = 1e38  # a third of float32's largest number
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
    way: Way | None = None,
) -> TopK:
    """Every user's k best images, of all users at once; see `top_k_blocks`."""
    blocks = top_k_blocks(
        users_Ud, images_Id, k, seen_UI=seen_UI, candidates=candidates, device=device, block_shape=block_shape, way=way
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
    way: Way | None = None,
) -> Iterator[Block]:
    """Every user's k best images by inner product, block of users by block of users, in user order.

    Exact: no image outside a list has a higher score than one in it, and of equal scores the lower image row comes
    first. Scores are those of `score_pairs`, each of which depends on the pair alone (on a GPU, the same sum in another
    order). So neither the size of blocks nor the way to multiply changes a byte.

    Args:
        users_Ud: float32 (U, d).
        images_Id: float32 (I, d).
        k: length of a list, at least 1.
        seen_UI: images never to be listed for the user; an entry counts whatever its value.
        candidates: which images may be listed for a user; all images where it is None.
        device: where to compute; a GPU if there is one, else the CPU.
        block_shape: how many users and images at once; memory is about 6 bytes for each pair of them.
        way: how to multiply; None for the fastest.
    Raises:
        ValueError: shapes do not match, or vectors or their products are not finite.
    """
    norms_U, longest = _check(users_Ud, images_Id, k, seen_UI, candidates)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    shape = block_shape or BLOCKS[place.type]
    users, images = _tensor(users_Ud, np.float32), _tensor(images_Id, np.float32).to(place)
    way = way or fastest(place.type, images.shape[1], len(users) * images.numel())
    coarse = Coarse(images, longest, way, shape)
    tags = _TagBitmaps(candidates.image_tags, place) if candidates else None

    for first_user in range(0, len(users), shape[0]):
        block = slice(first_user, first_user + shape[0])
        seen_bI = seen_UI[block].tocsc() if seen_UI is not None else None
        interests = _Interests(candidates.interests[block], tags) if candidates and tags else None
        norms_b = torch.from_numpy(norms_U[block]).to(place)
        found = _lists(coarse, users[block].to(place), norms_b, _Filters(seen_bI, interests), k)
        yield Block(first_user, found.rows, found.scores)


def top_k_of_scores(scores_UI: np.ndarray, k: int, seen_UI: csr_array) -> TopK:
    """Every user's k best images by these scores, in the order of `top_k_blocks`; -inf is never listed."""
    num_users, num_images = scores_UI.shape
    lists = [np.empty((0, k), np.int32)], [np.empty((0, k), np.float32)]
    for block in parts(num_users, max(1, (1 << 24) // max(1, num_images))):
        scores_bn = torch.from_numpy(np.array(scores_UI[block], np.float32))
        _Filters(seen_UI[block].tocsc(), None).hide_seen(scores_bn, 0)
        nothing = torch.full((len(scores_bn), k), -torch.inf)
        keys = _keys(torch.cat([scores_bn, nothing], dim=1), torch.arange(num_images + k))
        found = _of_keys(_largest(keys, k).sort(descending=True).values)
        lists[0].append(found.rows)
        lists[1].append(found.scores)
    return TopK(np.concatenate(lists[0]), np.concatenate(lists[1]))


def score_pairs(users_Nd: np.ndarray, images_Id: np.ndarray, rows_NC: np.ndarray) -> np.ndarray:
    """float32 (N, C): the inner product of user n with each of the images in row n of `rows_NC`."""
    scores_NC = np.empty(rows_NC.shape, np.float32)
    step = max(1, (1 << 24) // max(1, rows_NC.shape[1] * images_Id.shape[1]))  # 64 MiB of gathered vectors
    for first in range(0, len(rows_NC), step):
        block = slice(first, first + step)
        scores_NC[block] = np.einsum("ncd,nd->nc", images_Id[rows_NC[block]], users_Nd[block])
    return scores_NC


def best_of_pairs(
    users_bd: torch.Tensor, images_Id: torch.Tensor, user_p: torch.Tensor, row_p: torch.Tensor, k: int
) -> TopK:
    """Every user's k best images of these pairs, int64 (p,) each, which are in the order of users."""
    counts_b = torch.bincount(user_p, minlength=len(users_bd))
    score_p = _pair_scores(users_bd, images_Id, counts_b, user_p, row_p)
    width = max(k, int(counts_b.max()))
    keys = _keys(torch.full((len(users_bd), width), -torch.inf, device=users_bd.device), LOW_BITS)
    keys[user_p, _places(user_p, counts_b)] = _keys(score_p, row_p)
    return _of_keys(_largest(keys, k).sort(descending=True).values)


def _lists(coarse: Coarse, users_bd: torch.Tensor, norms_b: torch.Tensor, filters: "_Filters", k: int) -> TopK:
    """The lists of a block of users. Those for whom too many images come close are looked at more precisely."""
    user_p, row_p, is_wide_b = _shortlist(coarse, users_bd, norms_b, filters, k)
    found = best_of_pairs(users_bd, coarse.images, user_p, row_p, k)
    wide = is_wide_b.nonzero()[:, 0]
    if len(wide):
        of_wide = (users_bd[wide], norms_b[wide], filters.of(wide.cpu().numpy()), k)
        if coarse.way.dtype != torch.float32:
            exact = _lists(Coarse(coarse.images, coarse.longest, FLOAT32, (0, coarse.step)), *of_wide)
        else:
            exact = _lists_of_all_pairs(coarse, *of_wide)
        found.rows[wide.cpu().numpy()], found.scores[wide.cpu().numpy()] = exact
    return found


def _shortlist(
    coarse: Coarse, users_bd: torch.Tensor, norms_b: torch.Tensor, filters: "_Filters", k: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """int64 (p,) user and image of each pair that can be in a list, by user; bool (b,) users with too many, left out.

    What an image must reach follows from the k best products so far, of images that the filters leave.
    """
    num_users, device = len(users_bd), users_bd.device
    errors_b = coarse.errors(users_bd, norms_b)
    is_wide_b = torch.zeros(num_users, dtype=torch.bool, device=device)
    best_bk = torch.full((num_users, k), -torch.inf, device=device)
    nothing = torch.empty(0, dtype=torch.int64, device=device)
    near = [(nothing, nothing, nothing.float())]
    for first_image, products_bn in coarse.blocks(users_bd):
        filters.hide_seen(products_bn, first_image)
        allowed = filters.candidates(products_bn, first_image)
        if first_image == 0:
            best_bk = _largest(torch.cat([best_bk, _group_maxima(products_bn, allowed, k)], dim=1), k)
        floors_b = coarse.floors(best_bk.amin(1), errors_b).masked_fill_(is_wide_b, torch.inf)
        marks = _bits_at_least(products_bn, floors_b)
        user_p, row_p, counts_b = _places_of_bits(marks if allowed is None else marks.bitwise_and_(allowed))
        too_many_b = counts_b > WIDE[0] * k + WIDE[1]
        if too_many_b.any():
            is_wide_b |= too_many_b
            narrow = ~is_wide_b[user_p]
            user_p, row_p = user_p[narrow], row_p[narrow]
            counts_b = counts_b.masked_fill(is_wide_b, 0)
        product_p = products_bn[user_p, row_p].float()
        near.append((user_p, first_image + row_p, product_p))
        if first_image > 0:
            found = torch.full((num_users, int(counts_b.max())), -torch.inf, device=device)
            found[user_p, _places(user_p, counts_b)] = product_p
            best_bk = _largest(torch.cat([best_bk, found], dim=1), k)
    floors_b = coarse.floors(best_bk.amin(1), errors_b).masked_fill_(is_wide_b, torch.inf)
    user_p, row_p, product_p = (torch.cat(values) for values in zip(*near, strict=True))
    is_near_p = product_p >= floors_b.float()[user_p]
    user_p, row_p = user_p[is_near_p], row_p[is_near_p]
    order = user_p.to(torch.int32).argsort(stable=True)
    return user_p[order], row_p[order], is_wide_b


def _group_maxima(products_bn: torch.Tensor, allowed: torch.Tensor | None, k: int) -> torch.Tensor:
    """float32 (b, groups): the largest product of each group of images. Of 4 k groups, the k best hold the k best."""
    hidden_bn = products_bn.float()
    if allowed is not None:
        hidden_bn.masked_fill_(~_from_bits(allowed), -torch.inf)
    size = next(size for size in (8, 4, 2, 1) if size == 1 or hidden_bn.shape[1] >= 4 * k * size)
    return hidden_bn.view(len(hidden_bn), size, -1).amax(1)


def _places(user_p: torch.Tensor, counts_b: torch.Tensor) -> torch.Tensor:
    """int64 (p,): the place of each pair among those of its user, of whom there are so many, one user after another."""
    starts_b = counts_b.cumsum(0) - counts_b
    return torch.arange(len(user_p), device=user_p.device) - starts_b[user_p]


def _bits_at_least(products_bn: torch.Tensor, floors_b: torch.Tensor) -> torch.Tensor:
    """uint8 (b, n / 8): bits of the products that are at least the user's floor."""
    if products_bn.device.type != "cpu":
        return _to_bits(products_bn >= floors_b[:, None])
    bits = np.empty((len(products_bn), products_bn.shape[1] // 8), np.uint8)
    if products_bn.dtype == torch.float32:
        for row, (products_n, floor) in enumerate(zip(products_bn.numpy(), floors_b.numpy(), strict=True)):
            bits[row] = np.packbits(products_n >= floor, bitorder="little")
        return torch.from_numpy(bits)
    # numpy has no bfloat16, and torch compares its numbers slowly. As integers they are in order, the negative ones in
    # reverse; a floor of 0 is -0, as that is at least 0 too.
    floors_b = torch.where(floors_b == 0, -0.0, floors_b)
    words_bn, floors = products_bn.view(torch.int16).numpy(), floors_b.view(torch.int16).numpy()
    for row, (words_n, floor) in enumerate(zip(words_bn, floors, strict=True)):
        is_near_n = words_n >= floor if floor >= 0 else words_n.view(np.uint16) <= floor.view(np.uint16)
        bits[row] = np.packbits(is_near_n, bitorder="little")
    return torch.from_numpy(bits)


def _to_bits(marks_bn: torch.Tensor) -> torch.Tensor:
    """uint8 (b, n / 8): a bit for each mark."""
    powers = (1 << torch.arange(8, device=marks_bn.device)).to(torch.uint8)
    return (marks_bn.view(len(marks_bn), -1, 8) * powers).sum(2, dtype=torch.uint8)


def _from_bits(bits: torch.Tensor) -> torch.Tensor:
    """bool (b, n): a mark for each bit."""
    powers = (1 << torch.arange(8, device=bits.device)).to(torch.uint8)
    return (bits[:, :, None] & powers).ne(0).flatten(1)


def _places_of_bits(bits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """int64 (p,) row and place in it of each bit that is set, in order; (b,) how many are set in each row."""
    num_rows, width = len(bits), 8 * bits.shape[1]
    if bits.device.type == "cpu":  # numpy finds them several times faster: words of 64 bits, their bytes, their bits
        words = bits.numpy().view(np.uint64).ravel()
        in_words = np.flatnonzero(words)
        found = np.flatnonzero(words[in_words].view(np.uint8))
        in_bytes = in_words[found >> 3] * 8 + (found & 7)
        found = np.flatnonzero(np.unpackbits(bits.numpy().ravel()[in_bytes], bitorder="little"))
        places = torch.from_numpy(in_bytes[found >> 3] * 8 + (found & 7))
    else:
        places = _from_bits(bits).flatten().nonzero()[:, 0]
    ends_b = torch.searchsorted(places, torch.arange(1, num_rows + 1, device=bits.device) * width)
    counts_b = ends_b.diff(prepend=ends_b.new_zeros(1))
    row_p = torch.arange(num_rows, device=bits.device).repeat_interleave(counts_b)
    return row_p, places - row_p * width, counts_b


def _largest(values_bx: torch.Tensor, k: int) -> torch.Tensor:
    """(b, k): the k largest of each row, in any order."""
    if values_bx.device.type == "cpu":  # several times faster than torch's topk
        return torch.from_numpy(np.partition(values_bx.numpy(), values_bx.shape[1] - k, axis=1)[:, -k:])
    return values_bx.topk(k).values


def _pair_scores(
    users_bd: torch.Tensor, images_Id: torch.Tensor, counts_b: torch.Tensor, user_p: torch.Tensor, row_p: torch.Tensor
) -> torch.Tensor:
    """float32 (p,): the scores of pairs in the order of users."""
    if images_Id.device.type != "cpu":
        step = max(1, (1 << 26) // images_Id.shape[1])
        some = [(users_bd[user_p[part]] * images_Id[row_p[part]]).sum(1) for part in parts(len(row_p), step)]
        return torch.cat([*some, torch.empty(0, device=images_Id.device)])
    scores, users, images, rows = np.empty(len(row_p), np.float32), users_bd.numpy(), images_Id.numpy(), row_p.numpy()
    gathered = np.empty((int(counts_b.max()), images.shape[1]), np.float32)
    last = 0
    for user, count in enumerate(counts_b.tolist()):  # one user's images fit into the cache
        first, last = last, last + count
        np.take(images, rows[first:last], axis=0, out=gathered[:count], mode="clip")
        scores[first:last] = _score(gathered[:count], users[user])
    return torch.from_numpy(scores)


def _scores(images_nd: torch.Tensor, user_d: torch.Tensor) -> torch.Tensor:
    """float32 (n,): the scores of a user with these images."""
    if images_nd.device.type != "cpu":
        return (images_nd * user_d).sum(1)
    return torch.from_numpy(_score(images_nd.numpy(), user_d.numpy()))


def _score(images_nd: np.ndarray, user_d: np.ndarray) -> np.ndarray:
    """float32 (n,): inner products, each of which is summed in an order that depends on d alone."""
    return np.asarray(np.einsum("nd,d->n", images_nd, user_d))


def _lists_of_all_pairs(
    coarse: Coarse, users_bd: torch.Tensor, norms_b: torch.Tensor, filters: "_Filters", k: int
) -> TopK:
    """Lists by the scores of all pairs: slow, and for users with whom most images score the same."""
    best = _keys(torch.full((len(users_bd), k), -torch.inf, device=users_bd.device), LOW_BITS)
    scored = norms_b.nonzero()[:, 0].tolist()
    for first_image, scores_bn in coarse.blocks(users_bd):
        images_nd = coarse.images[first_image : first_image + scores_bn.shape[1]]
        for user in scored:  # the product of a vector of zeros is exact
            scores_bn[user, : len(images_nd)] = _scores(images_nd, users_bd[user])
        filters.hide_seen(scores_bn, first_image)
        allowed = filters.candidates(scores_bn, first_image)
        if allowed is not None:
            scores_bn.masked_fill_(~_from_bits(allowed), -torch.inf)
        rows = torch.arange(first_image, first_image + scores_bn.shape[1], device=users_bd.device)
        best = _largest(torch.cat([best, _keys(scores_bn, rows)], dim=1), k)
    return _of_keys(best.sort(descending=True).values)


class _Filters(NamedTuple):
    """What is hidden from a block of users."""

    seen_bI: csc_array | None
    interests: "_Interests | None"

    def of(self, users: np.ndarray) -> "_Filters":
        """The same for some of the block's users."""
        seen_bI = self.seen_bI.tocsr()[users].tocsc() if self.seen_bI is not None else None
        return _Filters(seen_bI, self.interests and self.interests.of(users))

    def hide_seen(self, scores_bn: torch.Tensor, first_image: int) -> None:
        """Set the scores of seen images to -inf."""
        if self.seen_bI is not None:
            images, users = _entries(self.seen_bI, first_image, scores_bn.shape[1], scores_bn.device)
            scores_bn[users, images] = -torch.inf

    def candidates(self, scores_bn: torch.Tensor, first_image: int) -> torch.Tensor | None:
        """uint8 (b, n / 8): bits of the users' candidates, None if all images are."""
        return self.interests.candidates(first_image, scores_bn.shape[1]) if self.interests else None


class _TagBitmaps:
    """Bitmaps of tags over the images of a block."""

    def __init__(self, image_tags: csr_array, device: torch.device) -> None:
        num_images, num_tags = image_tags.shape
        self.device = device
        self.tagged_TI = image_tags.T.tocsr()
        self.kept: dict[int, torch.Tensor] | None = {} if num_images * num_tags // 8 <= BITMAP_BYTES else None

    def of(self, tags: np.ndarray, first_image: int, num_images: int) -> torch.Tensor:
        """uint8 (t, n / 8): the bitmaps of these tags, or of all tags if they are kept."""
        if self.kept is None:
            return self._made(self.tagged_TI[tags], first_image, num_images)
        if first_image not in self.kept:
            self.kept[first_image] = self._made(self.tagged_TI, first_image, num_images)
        return self.kept[first_image]

    def _made(self, tagged_tI: csr_array, first_image: int, num_images: int) -> torch.Tensor:
        some = tagged_tI[:, first_image : first_image + num_images]
        some.sum_duplicates()  # a bit added twice would be another bit
        tags = np.repeat(np.arange(some.shape[0]), np.diff(some.indptr))
        image_p, tag_p = (_tensor(places, np.int64).to(self.device) for places in (some.indices, tags))
        bitmaps = torch.zeros(some.shape[0], num_images // 8, dtype=torch.uint8, device=self.device)
        bits = (1 << image_p % 8).to(torch.uint8)  # distinct powers of two: their sum is their bitwise or
        bitmaps.view(-1).scatter_add_(0, tag_p * bitmaps.shape[1] + image_p // 8, bits)
        return bitmaps


class _Interests:
    """The candidate filter for a block of users, each of whom is interested in a few tags.

    A user's candidates are the bitwise or of the tags' bitmaps, at an eighth of the memory traffic of a mask of bytes.
    """

    def __init__(self, interests_bT: csr_array, tags: _TagBitmaps) -> None:
        self.interests_bT, self.tags = interests_bT, tags
        self.used, self.columns = np.unique(interests_bT.indices, return_inverse=True)
        if tags.kept is not None:
            self.columns = interests_bT.indices

    def of(self, users: np.ndarray) -> "_Interests":
        """The same for some of the block's users."""
        return _Interests(self.interests_bT[users], self.tags)

    def candidates(self, first_image: int, num_images: int) -> torch.Tensor:
        """uint8 (b, n / 8): bits of the users' candidates; all images for users without interests."""
        bitmaps = self.tags.of(self.used, first_image, num_images)
        starts = self.interests_bT.indptr
        if bitmaps.device.type == "cpu":
            some = bitmaps.numpy()
            allowed_bn = np.full((len(starts) - 1, some.shape[1]), 255, np.uint8)
            for user in np.flatnonzero(np.diff(starts)):  # one user's bitmaps fit into the cache
                np.bitwise_or.reduce(some[self.columns[starts[user] : starts[user + 1]]], out=allowed_bn[user])
            return torch.from_numpy(allowed_bn)
        counts = np.diff(starts)
        allowed = torch.zeros(len(counts), bitmaps.shape[1], dtype=torch.uint8, device=bitmaps.device)
        allowed[_tensor(counts == 0, np.bool_)] = 255
        for place in range(counts.max(initial=0)):
            users = np.flatnonzero(counts > place)
            columns = _tensor(self.columns[starts[users] + place], np.int64).to(bitmaps.device)
            allowed[_tensor(users, np.int64).to(bitmaps.device)] |= bitmaps[columns]
        return allowed


def _entries(
    matrix_xI: csc_array, first_image: int, num_images: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The entries of a matrix for a block's images: images counted from the block's first one, and matrix rows."""
    indptr = matrix_xI.indptr[first_image : first_image + num_images + 1]
    images = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    rows = matrix_xI.indices[indptr[0] : indptr[-1]]
    return _tensor(images, np.int64).to(device), _tensor(rows, np.int64).to(device)


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


def _of_keys(keys_bk: torch.Tensor) -> TopK:
    """The lists that sorted keys stand for."""
    scores, rows = _decode(keys_bk)
    return TopK(rows.masked_fill(scores == -torch.inf, -1).to(torch.int32).cpu().numpy(), scores.cpu().numpy())


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
) -> tuple[np.ndarray, float]:
    """float64 (U,) norms of users, and that of the longest image."""
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
    norms = {"users": _norms(users_Ud), "images": _norms(images_Id)}
    for name, norms_N in norms.items():
        if not np.isfinite(norms_N).all():
            row = int(np.argmin(np.isfinite(norms_N)))
            raise ValueError(f"{name}: the vector of row {row} is not finite; did the training diverge?")
    longest_user, longest = (float(norms_N.max(initial=0)) for norms_N in norms.values())
    if max(longest_user, longest, longest_user * longest) > LARGEST:
        raise ValueError(
            f"products of vectors as long as {longest_user:.3g} (users) and {longest:.3g} (images) may be larger than "
            f"float32 holds; did the training diverge?"
        )
    return norms["users"], longest


def _norms(vectors_Nd: np.ndarray) -> np.ndarray:
    """float64 (N,), to four digits; finite exactly where the vectors are."""
    squares_N = np.empty(len(vectors_Nd))
    for part in parts(len(vectors_Nd)):
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            squares = np.einsum("nd,nd->n", vectors_Nd[part], vectors_Nd[part], dtype=vectors_Nd.dtype).astype(
                np.float64
            )
        extreme = np.flatnonzero(~((squares > 1e-30) & (squares < 1e30)))  # float32 does not hold their squares
        squares[extreme] = (vectors_Nd[part][extreme].astype(np.float64) ** 2).sum(axis=1)
        squares_N[part] = squares
    return np.sqrt(squares_N)
