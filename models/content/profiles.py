"""What users care about, from tag counts: bags of clusters, and interests (CDL, section 5).

U users, I images, T tags, C clusters.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_array, vstack
from scipy.special import kl_div


@dataclass(frozen=True, kw_only=True)
class InterestConfig:
    """What counts as an interest.

    Measured by the share of all images that carry an interest (median over users) and of a fifth of the favorites,
    concealed (mean): on lastfm's 9,743 free tags `distinct` covers .11 of the images and .65 of the favorites, `all`
    .16 and .70; on movielens, where 551 of 609 users have the tags of their films, .13 and .43 against .96 and .92.
    """

    mode: Literal["distinct", "all"] = "distinct"  # tags carried more than by others; or all of them, as in the paper
    min_count: int = 1  # least uses by the user; at 2 a third of lastfm's users have no interest left
    min_lift: float = 1.5  # distinct: least ratio of the tag's share among the user's to that in the community
    max_interests: int = 20  # distinct: at most so many a user, the most surprising kept


def tag_counts(
    user_tags_UT: csr_array, favorites_UI: csr_array, image_tags_IT: csr_array
) -> tuple[csr_array, np.ndarray]:
    """How often each user uses each tag; users without tags take those of the images they favorited.

    Args:
        user_tags_UT: counts of the users' own tags.
        favorites_UI: an entry where the user favorited the image (training part only).
        image_tags_IT: an entry where the image carries the tag.
    Returns:
        float32 (U, T) counts, columns sorted; and bool (U,), True where they are the user's own tags.
    """
    own_U = user_tags_UT.sum(axis=1) > 0
    borrowed = favorites_UI[~own_U].astype(bool).astype(np.float32) @ image_tags_IT.astype(bool).astype(np.float32)
    stacked = csr_array(vstack([user_tags_UT[own_U].astype(np.float32), borrowed], format="csr"))
    row_of_user = np.empty(len(own_U), np.int64)
    row_of_user[np.concatenate([np.flatnonzero(own_U), np.flatnonzero(~own_U)])] = np.arange(len(own_U))
    counts_UT = stacked[row_of_user]
    counts_UT.sort_indices()
    return counts_UT, own_U


def bag_of_clusters(counts_UT: csr_array, labels_T: np.ndarray, num_clusters: int) -> csr_array:
    """Each user's bag of clusters: the square root of the share of their tag counts that lies in each cluster.

    Raw counts are long-tailed: a few heavy tags would drown the rest. The root damps them, gives every row unit l2
    norm, and makes the l2 distance of two users the Hellinger distance of their tastes (up to a constant factor).

    Args:
        counts_UT: counts, not negative.
        labels_T: int, the cluster of each tag; -1 for a tag out of the vocabulary, which is left out.
    Returns:
        float32 (U, C), columns sorted; the row of a user without any known tag is empty.
    """
    known = np.flatnonzero(labels_T >= 0)
    members_TC = csr_array(
        (np.ones(len(known)), (known, labels_T[known])), shape=(len(labels_T), num_clusters), dtype=np.float64
    )
    bags_UC = csr_array(counts_UT.astype(np.float64) @ members_TC)
    bags_UC.eliminate_zeros()
    bags_UC.sort_indices()
    totals_U = bags_UC.sum(axis=1)
    bags_UC.data = np.sqrt(bags_UC.data / totals_U[_row_of_entry(bags_UC)])
    return bags_UC.astype(np.float32)


def interests(counts_UT: csr_array, config: InterestConfig) -> tuple[csr_array, csr_array]:
    """Each user's tags of interest, for negatives and candidates (CDL, section 5; where we deviate: `mode`).

    The paper takes any tag of the user. Where a user's tags are those of whole images, or tags are few, nearly every
    image then carries one; so by default an interest is a tag that the user carries distinctly. Tags are ranked by how
    far their count exceeds the one expected from the community (log-likelihood ratio of a Poisson count); lift alone
    would put tags used once by one person first, count alone what everybody uses. Ties go to the lower column.

    Args:
        counts_UT: counts, columns sorted within a row and no pair twice. The columns may be clusters instead of tags.
    Returns:
        Two float32 (U, T) of one pattern, columns sorted: the user's counts, and the lifts: the tag's share of the
        user's counts over its share of the community's.
    """
    row, column, count = _row_of_entry(counts_UT), counts_UT.indices, counts_UT.data.astype(np.float64)
    num_users, num_tags = counts_UT.shape
    user_totals = np.bincount(row, weights=count, minlength=num_users)
    tag_totals = np.bincount(column, weights=count, minlength=num_tags)
    expected = user_totals[row] * tag_totals[column] / max(count.sum(), 1)
    lift = np.divide(count, expected, out=np.zeros_like(count), where=expected > 0)
    kept = count >= config.min_count
    if config.mode == "distinct":
        distinct = np.flatnonzero(kept & (lift >= config.min_lift))
        surprise = kl_div(count[distinct], expected[distinct])
        ranked = distinct[np.lexsort((column[distinct], -surprise, row[distinct]))]
        rank_in_row = np.arange(len(ranked)) - np.searchsorted(row[ranked], row[ranked])
        kept = np.zeros(len(count), bool)
        kept[ranked[rank_in_row < config.max_interests]] = True
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=num_users))])
    return (
        csr_array((count[kept].astype(np.float32), column[kept], indptr), shape=counts_UT.shape),
        csr_array((lift[kept].astype(np.float32), column[kept], indptr), shape=counts_UT.shape),
    )


def _row_of_entry(matrix: csr_array) -> np.ndarray:
    """The row number of each stored entry."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
