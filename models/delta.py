"""Exact top-K lists kept up to date: only what changed since they were made is scored.

U users, I images, d dimensions, k places in a list, N users at hand, C images that changed.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from models import ranking
from models.ranking import Candidates, TopK

GONE = -2  # in the place of a listed image that is not there any longer; -1 where the list had no image
# Products of different shapes differ in their last bits. So a few more images are looked at than a list has places, and
# lists are ordered by scores that hang on the pair alone. Where the images just behind a list are as near to it as that
# error, more are looked at: of a user whose scores are all noise, every image.
SPARE, MORE = 16, 8
ERROR = 8 * 2.0**-24  # of a product's entry, over the norms of both vectors and the root of their length


class Before(NamedTuple):
    """Lists as they were, and what of their making has changed."""

    rows_Uk: np.ndarray  # int, image rows as they are now; GONE, or -1
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
        longest = np.linalg.norm(images_Id, axis=1).max()
        error_U = ERROR * np.sqrt(images_Id.shape[1]) * longest * np.linalg.norm(users_Ud, axis=1)
        is_near_U = found.scores[:, -1] >= lists.scores[:, -1] - 2 * error_U
        unsure = np.flatnonzero(is_near_U & (found.rows[:, -1] >= 0) & (error_U > 0))
        if unsure.size:
            asked = candidates and Candidates(candidates.interests[unsure], candidates.image_tags)
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
    """The lists that `best` gives, the same bytes, made of lists that `best` gave before something changed.

    A list stays the k best of the images that did not change unless one of its own images did, or left: then the image
    that comes up behind it is unknown, and the list is made anew. To any other list only changed images can be added.
    """
    listed_Uk, is_stale_U, is_changed_I = before
    is_lost_Uk = (listed_Uk == GONE) | ((listed_Uk >= 0) & is_changed_I[np.maximum(listed_Uk, 0)])
    is_made_U = is_stale_U | is_lost_Uk.any(axis=1)
    lists = TopK(np.full((len(users_Ud), k), -1, np.int32), np.full((len(users_Ud), k), -np.inf, np.float32))
    made, kept, changed = np.flatnonzero(is_made_U), np.flatnonzero(~is_made_U), np.flatnonzero(is_changed_I)
    if made.size:
        asked = candidates and Candidates(candidates.interests[made], candidates.image_tags)
        _enter(lists, made, best(users_Ud[made], images_Id, k, seen_UI=seen_UI[made], candidates=asked))
    if kept.size:
        rows_NK = listed_Uk[kept]
        if changed.size:
            asked = candidates and Candidates(candidates.interests[kept], candidates.image_tags[changed])
            few = min(k, len(changed))
            found = best(users_Ud[kept], images_Id[changed], few, seen_UI=seen_UI[kept][:, changed], candidates=asked)
            rows_NK = np.concatenate([rows_NK, np.append(changed, -1)[found.rows]], axis=1)
        _enter(lists, kept, _settled(users_Ud[kept], images_Id, rows_NK, k))
    is_reached_U = ~is_made_U & (is_changed_I[np.maximum(lists.rows, 0)] & (lists.rows >= 0)).any(axis=1)
    return Updated(lists, is_made_U, is_reached_U)


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
        return TopK(np.full((len(users_Nd), k), -1, np.int32), np.full((len(users_Nd), k), -np.inf, np.float32))
    scores_NK = ranking.score_pairs(users_Nd, images_Id, np.maximum(rows_NK, 0)) + np.float32(0)  # no -0.0
    scores_NK[rows_NK < 0] = -np.inf
    order_Nk = np.lexsort((rows_NK, -scores_NK), axis=1)[:, :k]
    rows_Nk, scores_Nk = (np.take_along_axis(values, order_Nk, axis=1) for values in (rows_NK, scores_NK))
    return TopK(np.where(rows_Nk < 0, -1, rows_Nk).astype(np.int32), scores_Nk)


def _enter(lists: TopK, users: np.ndarray, some: TopK) -> None:
    lists.rows[users, : some.rows.shape[1]] = some.rows
    lists.scores[users, : some.scores.shape[1]] = some.scores
