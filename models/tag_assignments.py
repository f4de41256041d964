"""Tag counts without what held-out favorites would betray: who tagged an image usually favors it.

U users, I images, T tags, N assignments, F favorites.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csr_array


class TagAssignments(NamedTuple):
    """Who put which tag on which image, in the row numbers of a community's users, images and tags."""

    user_N: np.ndarray  # int64
    image_N: np.ndarray  # int64
    tag_N: np.ndarray  # int64
    at_N: np.ndarray  # float64 epoch seconds; nan where unknown

    def where(self, chosen_N: np.ndarray) -> "TagAssignments":
        """Only some of the assignments."""
        return TagAssignments(*(column[chosen_N] for column in self))


class TagCounts(NamedTuple):
    """Tags of users and of images, and the assignments that explain some of them."""

    user_tags_UT: csr_array  # float32: how often
    image_tags_IT: csr_array  # float32: 1 where the image has the tag
    assignments: TagAssignments


# Shares of favorites were 15 and 150 times the base rate where tags were sums of what users put on their favorites, 1.3
# times once that was withheld: a user favors more images of a tag that they use.
TELLING = 3.0


@dataclass(frozen=True)
class TagLeak:
    """How far tags tell of favorites: of pairs of a tag's only user and an image with it, the share of favorites."""

    pairs: int
    share: float  # 0 without a pair
    base_rate: float  # the share of favorites among all pairs of those users and any image; 0 without a pair

    @property
    def tells(self) -> bool:
        """Whether the tags tell more than a taste for the tag explains."""
        return self.share > TELLING * self.base_rate


def withhold(counts: TagCounts, heldout_UI: csr_array, last_U: np.ndarray | None = None) -> TagCounts:
    """The tag counts as they were before anything was known of the held-out favorites.

    An assignment goes where its user's favorite of its image is held out, or where it is later than what is learned
    from. A user's count falls by the assignments that go, and ends at 0; a tag leaves an image when none of its
    assignments is left. Counts that no assignment explains stay (genres, for example, have no author). A count that is
    lower than the number of its assignments, as where the source does not count, stays while so many are left.

    Args:
        heldout_UI: any type, True where a favorite is held out.
        last_U: float64 epoch seconds, after which nothing of the user is known; inf or None: no such moment.
    """
    given = counts.assignments
    keys = np.ravel_multi_index(heldout_UI.nonzero(), heldout_UI.shape)
    goes_N = np.isin(given.user_N * heldout_UI.shape[1] + given.image_N, keys)
    if last_U is not None:
        goes_N |= given.at_N > last_U[given.user_N]  # False for an unknown time
    if not goes_N.any():
        return counts
    gone, left = given.where(goes_N), given.where(~goes_N)
    fewer_UT, assigned_UT = (
        _counted(some.user_N, some.tag_N, counts.user_tags_UT.shape) for some in (gone, counts.assignments)
    )
    unassigned_UT = (counts.user_tags_UT - assigned_UT).maximum(0)
    possible_UT = unassigned_UT + assigned_UT - fewer_UT
    user_tags_UT = csr_array(counts.user_tags_UT.minimum(possible_UT), dtype=np.float32)
    left_IT = _counted(left.image_N, left.tag_N, counts.image_tags_IT.shape)
    lost_IT = _counted(gone.image_N, gone.tag_N, counts.image_tags_IT.shape)
    unexplained_IT = lost_IT - lost_IT.multiply(left_IT > 0)  # lost an assignment, and has no other
    image_tags_IT = csr_array(counts.image_tags_IT - counts.image_tags_IT.multiply(unexplained_IT > 0))
    for matrix in (user_tags_UT, image_tags_IT):
        matrix.eliminate_zeros()
        matrix.sort_indices()
    return TagCounts(user_tags_UT, image_tags_IT, left)


def last_known(user_F: np.ndarray, at_F: np.ndarray, is_tested_U: np.ndarray, without_any: float) -> np.ndarray:
    """float64 (U,): when a tested user's last favorite to learn from was; inf for other users.

    Args:
        user_F: the user row of each favorite to learn from.
        at_F: its time, epoch seconds.
        without_any: for tested users without a favorite to learn from.
    """
    last_U = np.full(len(is_tested_U), -np.inf)
    np.maximum.at(last_U, user_F, at_F)
    return np.where(is_tested_U, np.where(np.isfinite(last_U), last_U, without_any), np.inf)


def leak_of(
    user_tags_UT: csr_array, image_tags_IT: csr_array, favorites_UI: csr_array, known_UI: csr_array | None = None
) -> TagLeak:
    """How often an image with a tag of one user only is a favorite of that user, beside those users' base rate.

    Far above the base rate: the tag tables are sums of what users put on images they know, and tell of favorites.

    Args:
        favorites_UI: any type; the favorites that tags may tell of, and none of `known_UI`.
        known_UI: any type; pairs that are left out, as they are known anyway. None: no pair is.
    """
    only_T = np.flatnonzero(np.bincount(user_tags_UT.indices, minlength=user_tags_UT.shape[1]) == 1)
    known_UI = csr_array(favorites_UI.shape, dtype=np.float32) if known_UI is None else _pattern(known_UI)
    pairs_UI = _pattern(_pattern(user_tags_UT[:, only_T]) @ _pattern(image_tags_IT[:, only_T]).T)
    pairs_UI = _pattern(pairs_UI - pairs_UI.multiply(known_UI))
    users = np.flatnonzero(np.diff(pairs_UI.indptr))
    if not len(users):
        return TagLeak(0, 0.0, 0.0)
    is_favorite_UI = _pattern(favorites_UI)
    num_possible = len(users) * favorites_UI.shape[1] - known_UI[users].nnz
    share = float(pairs_UI.multiply(is_favorite_UI).sum()) / pairs_UI.nnz
    return TagLeak(pairs_UI.nnz, share, is_favorite_UI[users].nnz / num_possible)


def _pattern(matrix: csr_array) -> csr_array:
    """float32, 1 for each entry that is not 0."""
    pattern = csr_array(matrix.astype(bool), dtype=np.float32)
    pattern.eliminate_zeros()
    return pattern


def _counted(row_N: np.ndarray, column_N: np.ndarray, shape: tuple[int, int]) -> csr_array:
    return csr_array(coo_array((np.ones(len(row_N), np.float32), (row_N, column_N)), shape=shape))
