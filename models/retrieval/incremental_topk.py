"""Exact top-K lists updated incrementally: only changed images are scored, and whole lists only where they must be.

U users, I images, d dimensions, k places of a list, D >= k places that are kept, N some users, C changed images,
K places looked at.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from models.retrieval import ranking
from models.retrieval.coarse import parts
from models.retrieval.ranking import Candidates, TopK

GONE = -2  # in the place of a listed image that does not exist any longer; -1 where the list had no image
CHANGED_CHECKED = 16  # changed images that are ranked for a list that is kept, at first


class Before(NamedTuple):
    """The previous lists, and which of their users and images have changed since."""

    lists: TopK  # (U, D), image rows of now; GONE, or -1 behind the last; ordered by the scores of `best`
    is_stale_U: np.ndarray  # bool; the user is new, or has another vector, other seen images or other interests
    is_changed_I: np.ndarray  # bool; the image is new, or has another vector or other tags


class Updated(NamedTuple):
    """The lists of now, and which of them changed."""

    lists: TopK
    is_recomputed_U: np.ndarray  # bool; ranked again from all images
    is_entered_U: np.ndarray  # bool; kept, but with a changed image among the first k


def best(
    users_Ud: np.ndarray, images_Id: np.ndarray, k: int, *, seen_UI: csr_array, candidates: Candidates | None = None
) -> TopK:
    """Every user's k best images as `ranking.top_k` ranks them: no score depends on the other pairs."""
    return ranking.top_k(users_Ud, images_Id, k, seen_UI=seen_UI, candidates=candidates)


def best_of(
    users_Ud: np.ndarray,
    images_Id: np.ndarray,
    seen_UI: csr_array,
    candidates: Candidates | None,
    users: np.ndarray,
    k: int,
) -> TopK:
    """The `best` of some users, given by their rows."""
    some = _restrict(candidates, users)
    return best(users_Ud[users], images_Id, k, seen_UI=seen_UI[users], candidates=some)


def update(
    users_Ud: np.ndarray,
    images_Id: np.ndarray,
    k: int,
    before: Before,
    *,
    seen_UI: csr_array,
    candidates: Candidates | None = None,
) -> Updated:
    """Lists whose first k places are, to the byte, those of `best`, recomputed from the previous lists.

    The unchanged images that are left in a list are still the best of all unchanged ones, down to the last of them;
    which image follows that one is unknown. So a list is kept as long as k of them are left (this is why D > k are
    kept), and then ranked again. Changed images are inserted where they score above the last; a list that none of them
    can enter stays as it is.
    """
    (listed_UD, scored_UD), is_stale_U, is_changed_I = before
    depth = listed_UD.shape[1]
    is_lost_UD = (listed_UD == GONE) | ((listed_UD >= 0) & is_changed_I[np.maximum(listed_UD, 0)])
    left_UD = np.where(is_lost_UD, -1, listed_UD)
    num_left_U, is_short_U = (left_UD >= 0).sum(axis=1), is_lost_UD.any(axis=1)
    is_recomputed_U = is_stale_U | (is_short_U & (num_left_U < k))
    lists = TopK(left_UD.astype(np.int32), np.where(left_UD >= 0, scored_UD, np.float32(-np.inf)))
    _write(lists, np.flatnonzero(is_short_U), _sorted(lists.rows[is_short_U], lists.scores[is_short_U], depth))
    recomputed, kept = np.flatnonzero(is_recomputed_U), np.flatnonzero(~is_recomputed_U)
    changed = np.flatnonzero(is_changed_I)
    if recomputed.size:
        _write(lists, recomputed, best_of(users_Ud, images_Id, seen_UI, candidates, recomputed, depth))
    if kept.size and changed.size:
        # A list of fewer than k images had all there were: any changed image belongs in it.
        least_N = np.where(lists.rows[kept] >= 0, lists.scores[kept], np.inf).min(axis=1)
        least_N[num_left_U[kept] < k] = -np.inf
        entering, found = _entrants(users_Ud, images_Id, kept, changed, least_N, depth, seen_UI, candidates)
        rows_NK = np.concatenate([lists.rows[entering], found.rows], axis=1)
        merged = _sorted(rows_NK, np.concatenate([lists.scores[entering], found.scores], axis=1), depth)
        _write(lists, entering, _cut(merged, is_changed_I, num_left_U[entering], k))
    listed_Uk = lists.rows[:, :k]
    is_entered_U = ~is_recomputed_U & (is_changed_I[np.maximum(listed_Uk, 0)] & (listed_Uk >= 0)).any(axis=1)
    return Updated(lists, is_recomputed_U, is_entered_U)


def _entrants(
    users_Ud: np.ndarray,
    images_Id: np.ndarray,
    kept: np.ndarray,
    changed: np.ndarray,
    least_N: np.ndarray,
    depth: int,
    seen_UI: csr_array,
    candidates: Candidates | None,
) -> tuple[np.ndarray, TopK]:
    """The users of `kept` for whom a changed image scores `least_N` or more, and lists of these images, at most D."""
    kept_Nd, images_Cd, seen_UC = users_Ud[kept], images_Id[changed], seen_UI[:, changed]

    def ranked(users: np.ndarray, width: int) -> TopK:
        some = _restrict(candidates, kept[users], changed)
        return best(kept_Nd[users], images_Cd, width, seen_UI=seen_UC[kept[users]], candidates=some)

    found = ranked(np.arange(len(kept)), min(CHANGED_CHECKED, len(changed)))
    is_in_NK = (found.rows >= 0) & (found.scores >= least_N[:, None])
    entering = np.flatnonzero(is_in_NK[:, 0])  # the scores fall from left to right
    near = TopK(found.rows[entering], found.scores[entering])
    more = np.flatnonzero(is_in_NK[entering].all(axis=1))
    if more.size and len(changed) > CHANGED_CHECKED:
        wider = empty(len(entering), min(depth, len(changed)))
        _write(wider, np.arange(len(entering)), TopK(*(part[:, : wider.rows.shape[1]] for part in near)))
        _write(wider, more, ranked(entering[more], wider.rows.shape[1]))
        near = wider
    return kept[entering], TopK(np.append(changed, -1)[near.rows], near.scores)


def _cut(lists: TopK, is_changed_I: np.ndarray, num_left_N: np.ndarray, k: int) -> TopK:
    """The lists, cut behind the last image that is left of the previous list: what follows it is unknown.

    They are certain to their end where changed images have pushed that one out, or where the previous list, of fewer
    than k images, had all there were.
    """
    is_old_ND = (lists.rows >= 0) & ~is_changed_I[np.maximum(lists.rows, 0)]
    is_whole_N = (is_old_ND.sum(axis=1) < num_left_N) | (num_left_N < k)
    num_certain_N = np.where(is_whole_N, lists.rows.shape[1], _last(is_old_ND) + 1)
    is_certain_ND = np.arange(lists.rows.shape[1]) < num_certain_N[:, None]
    return TopK(np.where(is_certain_ND, lists.rows, -1), np.where(is_certain_ND, lists.scores, np.float32(-np.inf)))


def _last(marks_ND: np.ndarray) -> np.ndarray:
    """int (N,): the last column that is true, -1 where none is."""
    width = marks_ND.shape[1]
    return np.where(marks_ND.any(axis=1), width - 1 - marks_ND[:, ::-1].argmax(axis=1), -1)


def unit(vectors_Id: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """float32 (I, d): vectors of unit length, so that inner products are cosines. A vector of zeros stays one.

    Args:
        out: where to write them, which may be the vectors themselves; None: new memory.
    """
    unit_Id = np.empty_like(vectors_Id) if out is None else out
    for part in parts(len(vectors_Id)):  # NumPy squares all that it is given before it sums
        norms_n1 = np.linalg.norm(vectors_Id[part], axis=1, keepdims=True)
        np.divide(vectors_Id[part], np.where(norms_n1 > 0, norms_n1, 1), out=unit_Id[part])
    return unit_Id


def _sorted(rows_NK: np.ndarray, scores_NK: np.ndarray, k: int) -> TopK:
    """The k best of each row by these scores, of equal ones the lower image; where there is no image, -1 and -inf."""
    order_Nk = np.lexsort((rows_NK, -scores_NK), axis=1)[:, :k]
    rows_Nk, scores_Nk = (np.take_along_axis(values, order_Nk, axis=1) for values in (rows_NK, scores_NK))
    return TopK(np.where(rows_Nk < 0, -1, rows_Nk).astype(np.int32), scores_Nk)


def _restrict(candidates: Candidates | None, users: np.ndarray, images: np.ndarray | None = None) -> Candidates | None:
    """The filter of candidates for only these users and images; None where there is no filter."""
    if candidates is None:
        return None
    tags = candidates.image_tags
    return Candidates(candidates.interests[users], tags if images is None else tags[images])


def empty(num_users: int, k: int) -> TopK:
    """Lists without images: rows -1, scores -inf."""
    return TopK(np.full((num_users, k), -1, np.int32), np.full((num_users, k), -np.inf, np.float32))


def _write(lists: TopK, users: np.ndarray, some: TopK) -> None:
    lists.rows[users, : some.rows.shape[1]] = some.rows
    lists.scores[users, : some.scores.shape[1]] = some.scores
