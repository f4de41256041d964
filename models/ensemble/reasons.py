"""Why a score is what it is: the share of each signal, and what stands behind it.

N pairs of a user and an image, U users, I images, d dimensions, S signals, F things that users and images have in
common: tags, contacts, groups.
"""

from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array

from models.sparse import row_of_entry

LEAST = 0.01  # of a pair's shares, by size
CHUNK = 1 << 16  # pairs in memory at a time


def shares(
    users_by_signal: dict[str, np.ndarray], user_N: np.ndarray, images_Nd: np.ndarray, scores_N: np.ndarray
) -> np.ndarray:
    """float32 (N, S): what each signal adds to the score, in the order of the dict; the shares of a pair sum to it.

    What is less than a hundredth of all is counted as part of the largest share.

    Args:
        users_by_signal: what each signal adds to the users' vectors, (U, d) each, of any precision.
        user_N: rows of users.
    """
    parts = [
        np.einsum("nd,nd->n", users_Ud[user_N].astype(np.float32), images_Nd) for users_Ud in users_by_signal.values()
    ]
    shares_NS = np.stack(parts, axis=1).astype(np.float64)
    sizes_NS = np.abs(shares_NS)
    shares_NS[sizes_NS < LEAST * sizes_NS.sum(axis=1, keepdims=True)] = 0
    largest_N = np.abs(shares_NS).argmax(axis=1)
    shares_NS[np.arange(len(user_N)), largest_N] += scores_N - shares_NS.sum(axis=1)
    return shares_NS.astype(np.float32)


def nearest_favorite(
    user_N: np.ndarray, image_N: np.ndarray, favorites_UI: csr_array, images_Id: np.ndarray
) -> np.ndarray:
    """int64 (N,): of the user's favorites, the one whose vector has the largest cosine with the image's; -1: none."""
    nearest_N = np.full(len(user_N), -1, np.int64)
    order = np.argsort(user_N, kind="stable")
    bounds = np.flatnonzero(np.diff(user_N[order], prepend=-1, append=-1))
    for first, last in pairwise(bounds.tolist()):
        pairs = order[first:last]
        user = user_N[pairs[0]]
        liked = favorites_UI.indices[favorites_UI.indptr[user] : favorites_UI.indptr[user + 1]]
        lengths = np.linalg.norm(images_Id[liked], axis=1)
        liked, lengths = liked[lengths > 0], lengths[lengths > 0]
        if len(liked):  # the length of the image itself changes no order; a copy of all vectors would be large
            nearest_N[pairs] = liked[(images_Id[image_N[pairs]] @ images_Id[liked].T / lengths).argmax(axis=1)]
    return nearest_N


def strongest(user_N: np.ndarray, image_N: np.ndarray, users_UF: csr_array, images_IF: csr_array) -> np.ndarray:
    """int64 (N,): the thing with the largest product of the user's and the image's value; -1: none in common."""
    found_N = np.full(len(user_N), -1, np.int64)
    for first in range(0, len(user_N), CHUNK):
        chunk = slice(first, first + CHUNK)
        common_nF = csr_array(users_UF[user_N[chunk]].multiply(images_IF[image_N[chunk]]))
        row = row_of_entry(common_nF)
        # The last of a row in this order is the largest; of equal ones, the first column.
        order = np.lexsort((-common_nF.indices, common_nF.data, row))
        order = order[common_nF.data[order] > 0]
        found_N[first + row[order]] = common_nF.indices[order]
    return found_N
