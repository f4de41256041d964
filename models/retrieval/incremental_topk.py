"""Exact top-K lists kept up to date: only what changed since they were made is scored.

U users, I images, d dimensions, k places in a list that count, D >= k that are kept, N users at hand, C images that
changed.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from models.retrieval import ranking
from models.retrieval.ranking import Candidates, TopK

GONE = -2  # in the place of a listed image that is not there any longer; -1 where the list had no image
# Products of different shapes differ in their last bits. So a few more images are looked at than a list has places, and
# lists are ordered by scores that hang on the pair alone. Where the images just behind a list are as near to it as that
# error, more are looked at: of a user whose scores are all noise, every image.
SPARE, MORE = 16, 8
NEAR = 16  # changed images that are looked at for a list that is kept, at first
ERROR = 8 * 2.0**-24  # of a product's entry, over the norms of both vectors and the root of their length


class Before(NamedTuple):
    """Lists as they were, and what of their making has changed."""

    lists: TopK  # (U, D), image rows as they are now; GONE, or -1 behind the last; by the scores that `best` gives
    is_stale_U: np.ndarray  # bool; the user is new, or has another vector, other seen images or other interests
    is_changed_I: np.ndarray  # bool; the image is new, or has another vector or other tags


class Updated(NamedTuple):
    """The lists, and which of them were not merely looked through."""

    lists: TopK
    is_made_U: np.ndarray  # bool; made anew, from all images
    is_reached_U: np.ndarray  # bool; kept, but an image that changed came in


def best(
    users_Ud: np.ndarray,
    images_Id: np.ndarray,
    k: int,
    *,
    seen_UI: csr_array,
    candidates: Candidates | None = None,
    spare: int = SPARE,
) -> TopK:
    """Every user's k best images as `ranking.top_k` finds them, scored pair by pair: no score hangs on other pairs.

    Of equal scores the lower image row comes first. `spare`: how many images are looked at beyond k, at first.
    """
    num_images = len(images_Id)
    width = min(k + spare, max(k, num_images))
    found = ranking.top_k(users_Ud, images_Id, width, seen_UI=seen_UI, candidates=candidates)
    lists = _settled(users_Ud, images_Id, found.rows, k)
    if width < num_images:
        error_U = _errors(users_Ud, images_Id)
        is_near_U = found.scores[:, -1] >= lists.scores[:, -1] - 2 * error_U
        unsure = np.flatnonzero(is_near_U & (found.rows[:, -1] >= 0) & (error_U > 0))
        if unsure.size:
            asked = _asked(candidates, unsure)
            how: dict[str, Any] = {"seen_UI": seen_UI[unsure], "candidates": asked, "spare": MORE * spare}
            _enter(lists, unsure, best(users_Ud[unsure], images_Id, k, **how))
    return lists


def update(
    users_Ud: np.ndarray,
    images_Id: np.ndarray,
    k: int,
    before: Before,
    *,
    seen_UI: csr_array,
    candidates: Candidates | None = None,
) -> Updated:
    """Lists whose first k are those that `best` gives, the same bytes, made of lists from before something changed.

    A list's images that did not change and are still there are the best of their kind, down to the last of them: what
    comes behind that one is unknown. So the list goes on as long as k of them are left, which is why more are kept than
    count; then it is made anew. Changed images are added where they stand above the last; a list that none of them
    comes near stays as it is.
    """
    (listed_UD, scored_UD), is_stale_U, is_changed_I = before
    depth = listed_UD.shape[1]
    is_lost_UD = (listed_UD == GONE) | ((listed_UD >= 0) & is_changed_I[np.maximum(listed_UD, 0)])
    left_UD = np.where(is_lost_UD, -1, listed_UD)
    num_left_U, is_short_U = (left_UD >= 0).sum(axis=1), is_lost_UD.any(axis=1)
    is_made_U = is_stale_U | (is_short_U & (num_left_U < k))
    lists = TopK(left_UD.astype(np.int32), np.where(left_UD >= 0, scored_UD, np.float32(-np.inf)))
    _enter(lists, np.flatnonzero(is_short_U), _sorted(lists.rows[is_short_U], lists.scores[is_short_U], depth))
    made, kept, changed = np.flatnonzero(is_made_U), np.flatnonzero(~is_made_U), np.flatnonzero(is_changed_I)
    if made.size:
        asked = _asked(candidates, made)
        _enter(lists, made, best(users_Ud[made], images_Id, depth, seen_UI=seen_UI[made], candidates=asked))
    if kept.size and changed.size:
        # A list of fewer than k held all there were: whatever is new belongs in it.
        least_N = np.where(lists.rows[kept] >= 0, lists.scores[kept], np.inf).min(axis=1)
        least_N[num_left_U[kept] < k] = -np.inf
        entering, found = _entering(users_Ud, images_Id, kept, changed, least_N, depth, seen_UI, candidates)
        rows_NK = np.concatenate([lists.rows[entering], found.rows], axis=1)
        merged = _sorted(rows_NK, np.concatenate([lists.scores[entering], found.scores], axis=1), depth)
        _enter(lists, entering, _known(merged, is_changed_I, num_left_U[entering], k))
    listed_Uk = lists.rows[:, :k]
    is_reached_U = ~is_made_U & (is_changed_I[np.maximum(listed_Uk, 0)] & (listed_Uk >= 0)).any(axis=1)
    return Updated(lists, is_made_U, is_reached_U)


def _entering(
    users_Ud: np.ndarray,
    images_Id: np.ndarray,
    kept: np.ndarray,
    changed: np.ndarray,
    least_N: np.ndarray,
    depth: int,
    seen_UI: csr_array,
    candidates: Candidates | None,
) -> tuple[np.ndarray, TopK]:
    """The users of `kept` of whom a changed image may score `least_N` or more, and these images, at most `depth`.

    Only pairs that the product leaves in doubt are scored again; of a user with many of them, as many as `best` does.
    """
    kept_Nd, images_Cd, seen_UC = users_Ud[kept], images_Id[changed], seen_UI[:, changed]

    def restricted(users: np.ndarray) -> dict[str, Any]:
        return {"seen_UI": seen_UC[users], "candidates": _asked(candidates, users, changed)}

    found = ranking.top_k(kept_Nd, images_Cd, min(NEAR, len(changed)), **restricted(kept))
    floor_N = least_N - 2 * _errors(kept_Nd, images_Cd)
    may_NK = (found.rows >= 0) & (found.scores >= floor_N[:, None])
    may_be = np.flatnonzero(may_NK[:, 0])  # the scores fall from left to right
    entering, may_NK = kept[may_be], may_NK[may_be]
    more = np.flatnonzero(may_NK.all(axis=1)) if len(changed) > NEAR else may_be[:0]
    some_NK = np.where(may_NK, found.rows[may_be], -1)[:, : may_NK.sum(axis=1).max(initial=0)]
    width = min(depth, len(changed)) if more.size else some_NK.shape[1]
    near = empty(len(entering), width)
    _enter(near, np.arange(len(entering)), _settled(kept_Nd[may_be], images_Cd, some_NK, width))
    if more.size:
        users = entering[more]
        _enter(near, more, best(users_Ud[users], images_Cd, width, **restricted(users)))
    return entering, TopK(np.append(changed, -1)[near.rows], near.scores)


def _errors(users_Nd: np.ndarray, images_Id: np.ndarray) -> np.ndarray:
    """float32 (N,): how far an entry of the product may lie from the score of the pair."""
    longest = np.linalg.norm(images_Id, axis=1).max()
    return np.asarray(ERROR * np.sqrt(images_Id.shape[1]) * longest * np.linalg.norm(users_Nd, axis=1))


def _known(lists: TopK, is_changed_I: np.ndarray, num_left_N: np.ndarray, k: int) -> TopK:
    """The lists cut behind the last image that was left of the earlier one.

    They are known to their end where changed images have pushed that one out, or where the earlier list, of fewer than
    k images, held all there were.
    """
    is_old_ND = (lists.rows >= 0) & ~is_changed_I[np.maximum(lists.rows, 0)]
    is_whole_N = (is_old_ND.sum(axis=1) < num_left_N) | (num_left_N < k)
    num_known_N = np.where(is_whole_N, lists.rows.shape[1], _last(is_old_ND) + 1)
    is_known_ND = np.arange(lists.rows.shape[1]) < num_known_N[:, None]
    return TopK(np.where(is_known_ND, lists.rows, -1), np.where(is_known_ND, lists.scores, np.float32(-np.inf)))


def _last(is_it_ND: np.ndarray) -> np.ndarray:
    """int (N,): the last column that is true, -1 where none is."""
    width = is_it_ND.shape[1]
    return np.where(is_it_ND.any(axis=1), width - 1 - is_it_ND[:, ::-1].argmax(axis=1), -1)


def unit(vectors_Id: np.ndarray) -> np.ndarray:
    """float32 (I, d): of unit length, so that inner products are cosines. A vector of zeros stays one."""
    norms_I1 = np.linalg.norm(vectors_Id, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors_Id, norms_I1, out=np.zeros_like(vectors_Id), where=norms_I1 > 0))


def changed_rows(now: csr_array, before: csr_array) -> np.ndarray:
    """bool: rows in which two matrices of one shape differ."""
    difference = csr_array(now - before)
    difference.eliminate_zeros()
    return np.asarray(np.diff(difference.indptr) > 0)


def _settled(users_Nd: np.ndarray, images_Id: np.ndarray, rows_NK: np.ndarray, k: int) -> TopK:
    """The k best of the images in each row, -1 where there is none, by pairwise score and then by row."""
    if not len(images_Id):
        return empty(len(users_Nd), k)
    scores_NK = ranking.score_pairs(users_Nd, images_Id, np.maximum(rows_NK, 0)) + np.float32(0)  # no -0.0
    scores_NK[rows_NK < 0] = -np.inf
    return _sorted(rows_NK, scores_NK, k)


def _sorted(rows_NK: np.ndarray, scores_NK: np.ndarray, k: int) -> TopK:
    """The k best of each row by these scores, of equal ones the lower image; where there is no image, -1 and -inf."""
    order_Nk = np.lexsort((rows_NK, -scores_NK), axis=1)[:, :k]
    rows_Nk, scores_Nk = (np.take_along_axis(values, order_Nk, axis=1) for values in (rows_NK, scores_NK))
    return TopK(np.where(rows_Nk < 0, -1, rows_Nk).astype(np.int32), scores_Nk)


def _asked(candidates: Candidates | None, users: np.ndarray, images: np.ndarray | None = None) -> Candidates | None:
    """The filter for these users, and for these images alone; None where there is no filter."""
    if candidates is None:
        return None
    tags = candidates.image_tags
    return Candidates(candidates.interests[users], tags if images is None else tags[images])


def empty(num_users: int, k: int) -> TopK:
    """Lists without an image: rows -1, scores -inf."""
    return TopK(np.full((num_users, k), -1, np.int32), np.full((num_users, k), -np.inf, np.float32))


def _enter(lists: TopK, users: np.ndarray, some: TopK) -> None:
    lists.rows[users, : some.rows.shape[1]] = some.rows
    lists.scores[users, : some.scores.shape[1]] = some.scores
