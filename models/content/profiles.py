"""Profiles of users from their tag counts: bags of tag clusters, and interests (CDL, section 5).

U users, I images, T tags, C clusters.
"""

import numpy as np
from scipy.sparse import csr_array, vstack
from scipy.special import kl_div

from models.settings.profiles import InterestConfig
from models.sparse import row_of_entry


def tag_counts(
    user_tags_UT: csr_array, favorites_UI: csr_array, image_tags_IT: csr_array
) -> tuple[csr_array, np.ndarray]:
    """How often each user uses each tag; users without tags get those of the images they favor.

    Args:
        user_tags_UT: counts of the users' own tags.
        favorites_UI: an entry where the user favors the image (training part only).
        image_tags_IT: an entry where the image has the tag.
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
    """Each user's bag of clusters: the square root of each cluster's share of the user's tag counts.

    Raw counts are long-tailed: a few heavy tags would dominate. The root damps them, gives every row unit l2 norm, and
    makes the l2 distance of two users the Hellinger distance of their tastes (up to a constant factor).

    Args:
        counts_UT: counts, not negative.
        labels_T: int, the cluster of each tag; -1 for a tag outside the vocabulary, which is ignored.
    Returns:
        float32 (U, C), columns sorted; the row of a user without any tag of the vocabulary is empty.
    """
    vocabulary = np.flatnonzero(labels_T >= 0)
    members_TC = csr_array(
        (np.ones(len(vocabulary)), (vocabulary, labels_T[vocabulary])),
        shape=(len(labels_T), num_clusters),
        dtype=np.float64,
    )
    bags_UC = csr_array(counts_UT.astype(np.float64) @ members_TC)
    bags_UC.eliminate_zeros()
    bags_UC.sort_indices()
    totals_U = bags_UC.sum(axis=1)
    bags_UC.data = np.sqrt(bags_UC.data / totals_U[row_of_entry(bags_UC)])
    return bags_UC.astype(np.float32)


def interests(counts_UT: csr_array, config: InterestConfig) -> tuple[csr_array, csr_array]:
    """Each user's tags of interest, for negatives and candidates (CDL, section 5; where we deviate: `mode`).

    The paper takes all tags of the user. If a user's tags are those of whole images, or there are few tags, nearly
    every image then has one; so by default an interest is a tag that the user has distinctly more than others. Tags are
    ranked by how far their count exceeds the one expected from the community (log-likelihood ratio of a Poisson count);
    lift alone would rank tags that one user used once first, count alone those that everybody uses. Ties go to the
    lower column.

    Args:
        counts_UT: counts, columns sorted within a row and no pair twice. The columns may be clusters instead of tags.
    Returns:
        Two float32 (U, T) of one pattern, columns sorted: the user's counts, and the lifts: the tag's share of the
        user's counts over its share of the community's.
    """
    row, column, count = row_of_entry(counts_UT), counts_UT.indices, counts_UT.data.astype(np.float64)
    num_users, num_tags = counts_UT.shape
    user_totals = np.bincount(row, weights=count, minlength=num_users)
    tag_totals = np.bincount(column, weights=count, minlength=num_tags)
    expected = user_totals[row] * tag_totals[column] / max(count.sum(), 1)
    lift = np.divide(count, expected, out=np.zeros_like(count), where=expected > 0)
    is_kept = count >= config.min_count
    if config.mode == "distinct":
        distinct = np.flatnonzero(is_kept & (lift >= config.min_lift))
        surprise = kl_div(count[distinct], expected[distinct])
        ranked = distinct[np.lexsort((column[distinct], -surprise, row[distinct]))]
        rank_in_row = np.arange(len(ranked)) - np.searchsorted(row[ranked], row[ranked])
        is_kept = np.zeros(len(count), bool)
        is_kept[ranked[rank_in_row < config.max_interests]] = True
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row[is_kept], minlength=num_users))])
    return (
        csr_array((count[is_kept].astype(np.float32), column[is_kept], indptr), shape=counts_UT.shape),
        csr_array((lift[is_kept].astype(np.float32), column[is_kept], indptr), shape=counts_UT.shape),
    )
