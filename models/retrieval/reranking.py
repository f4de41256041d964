"""Lists chosen from longer ones: at most so many images of one owner, and images that are unlike each other.

N users, I images, d dimensions, P places of the longer lists, k places of a list, b users of a block.
"""

from collections.abc import Callable

import numpy as np

from models.retrieval.incremental_topk import empty, unit
from models.retrieval.ranking import TopK

BLOCK_BYTES = 1 << 27  # of what is compared at once: vectors of all places of a block's users, and their cosines
DEEPER = 4  # times as many images are ranked where an owner's limit leaves too few

Ranked = Callable[[np.ndarray, int], TopK]  # the best images of some users, given by their rows, to a depth


def choose(
    lists: TopK,
    k: int,
    owner_I: np.ndarray,
    ranked: Ranked,
    *,
    max_of_owner: int = 0,
    diversity: float = 0.0,
    images_Id: np.ndarray | None = None,
) -> TopK:
    """Each user's k images: the best, one after the other, of those that the rules still let in.

    With `diversity` λ the next image is the one of the longer list with the highest (1 - λ) s - λ c, where s is its
    score, scaled to 0 to 1 within that list, and c its highest cosine with an image chosen before (maximal marginal
    relevance: Carbonell and Goldstein, SIGIR 1998). Where the limit of an owner leaves fewer than k images of the
    longer list, `ranked` brings more; with diversity these follow by score alone. With diversity 0 lists are as exact
    as those of `ranked`: where these are, no list within the limit has a higher sum of scores.

    Args:
        lists: (N, P), best first, without images that may not be listed.
        owner_I: int; -1 where the owner is unknown: such images are not limited.
        max_of_owner: 0: no limit.
        images_Id: for `diversity`.
    """
    num_users, depth = lists.rows.shape
    chosen = empty(num_users, k)
    width = (images_Id.shape[1] if diversity and images_Id is not None else 0) + depth
    step = max(1, BLOCK_BYTES // (4 * depth * width))
    for first in range(0, num_users, step):
        block = slice(first, first + step)
        some = TopK(lists.rows[block], lists.scores[block])
        if diversity:
            assert images_Id is not None, "images are compared by their vectors"
            picked = _diverse(some, k, owner_I, max_of_owner, diversity, images_Id)
        else:
            picked = _limited(some, k, owner_I, max_of_owner)
        chosen.rows[block], chosen.scores[block] = picked
    short = np.flatnonzero((chosen.rows[:, -1] < 0) & (lists.rows[:, -1] >= 0)) if max_of_owner else np.empty(0, int)
    while short.size:
        depth = min(depth * DEEPER, len(owner_I))
        step = max(1, BLOCK_BYTES // (8 * depth))
        for first in range(0, len(short), step):
            users = short[first : first + step]
            more = ranked(users, depth)
            if diversity:
                filled = _filled(TopK(chosen.rows[users], chosen.scores[users]), more, owner_I, max_of_owner)
            else:  # anew: of an index, longer lists may begin with better images, of cells not looked into before
                filled = _limited(more, k, owner_I, max_of_owner)
            chosen.rows[users], chosen.scores[users] = filled
        short = short[chosen.rows[short, -1] < 0] if depth < len(owner_I) else short[:0]
    return chosen


def _limited(lists: TopK, k: int, owner_I: np.ndarray, limit: int) -> TopK:
    """The first k images of each list of which at most `limit` are one owner's."""
    if not limit:
        return _first(lists, lists.rows >= 0, k)
    owner_bP = np.where(lists.rows >= 0, owner_I[np.maximum(lists.rows, 0)], -1)
    return _first(lists, (lists.rows >= 0) & ((owner_bP < 0) | (_place_among_equals(owner_bP) < limit)), k)


def _place_among_equals(values_bP: np.ndarray) -> np.ndarray:
    """int (b, P): how many earlier places of the row hold the same value."""
    order_bP = np.argsort(values_bP, axis=1, kind="stable")
    sorted_bP = np.take_along_axis(values_bP, order_bP, axis=1)
    place_P = np.arange(values_bP.shape[1])
    is_new_bP = np.ones(values_bP.shape, bool)
    is_new_bP[:, 1:] = sorted_bP[:, 1:] != sorted_bP[:, :-1]
    start_bP = np.maximum.accumulate(np.where(is_new_bP, place_P, 0), axis=1)
    found_bP = np.empty_like(order_bP)
    np.put_along_axis(found_bP, order_bP, place_P - start_bP, axis=1)
    return found_bP


def _first(lists: TopK, is_kept_bP: np.ndarray, k: int) -> TopK:
    """The first k of the kept images of each list; rows -1 and scores -inf behind the last."""
    order = np.argsort(~is_kept_bP, axis=1, kind="stable")[:, :k]
    is_kept_bk = np.take_along_axis(is_kept_bP, order, axis=1)
    rows, scores = (np.take_along_axis(values, order, axis=1) for values in (lists.rows, lists.scores))
    chosen = empty(len(rows), k)
    chosen.rows[:, : rows.shape[1]] = np.where(is_kept_bk, rows, -1)
    chosen.scores[:, : rows.shape[1]] = np.where(is_kept_bk, scores, -np.inf)
    return chosen


def _filled(chosen: TopK, more: TopK, owner_I: np.ndarray, limit: int) -> TopK:
    """The chosen images, and behind them those of longer lists that were not chosen, within the limit."""
    k = chosen.rows.shape[1]
    first_of_user = np.arange(len(more.rows))[:, None] * len(owner_I)
    is_chosen = np.isin(first_of_user + more.rows, (first_of_user + chosen.rows)[chosen.rows >= 0])
    others = np.where(is_chosen, -1, more.rows)
    joined = TopK(np.concatenate([chosen.rows, others], axis=1), np.concatenate([chosen.scores, more.scores], axis=1))
    return _limited(joined, k, owner_I, limit)


def _diverse(lists: TopK, k: int, owner_I: np.ndarray, limit: int, diversity: float, images_Id: np.ndarray) -> TopK:
    num_users, depth = lists.rows.shape
    is_left_bP, users = lists.rows >= 0, np.arange(num_users)
    image_bP = np.maximum(lists.rows, 0)
    owner_bP = np.where(is_left_bP, owner_I[image_bP], -1)
    vectors_bPd = unit(images_Id[image_bP].reshape(num_users * depth, -1)).reshape(num_users, depth, -1)
    cosines_bPP = vectors_bPd @ vectors_bPd.transpose(0, 2, 1)
    high = np.where(is_left_bP, lists.scores, -np.inf).max(axis=1, keepdims=True)
    low = np.where(is_left_bP, lists.scores, np.inf).min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        scaled_bP = np.where(is_left_bP & (high > low), (lists.scores - low) / (high - low), 0)
    nearest_bP = np.zeros((num_users, depth), np.float32)
    num_of_owner_bP = np.zeros((num_users, depth), np.int32)
    chosen = empty(num_users, k)
    for place in range(min(k, depth)):
        worth_bP = np.where(is_left_bP, (1 - diversity) * scaled_bP - diversity * nearest_bP, -np.inf)
        best_b = worth_bP.argmax(axis=1)
        found = is_left_bP[users, best_b]
        chosen.rows[:, place] = np.where(found, lists.rows[users, best_b], -1)
        chosen.scores[:, place] = np.where(found, lists.scores[users, best_b], -np.inf)
        cosines_bP = cosines_bPP[users, best_b]
        nearest_bP = cosines_bP if place == 0 else np.maximum(nearest_bP, cosines_bP)
        is_left_bP[users, best_b] = False
        if limit:
            owner_b1 = owner_bP[users, best_b][:, None]
            num_of_owner_bP += (owner_bP == owner_b1) & found[:, None]
            is_left_bP &= (owner_bP < 0) | (num_of_owner_bP < limit)
    return chosen
