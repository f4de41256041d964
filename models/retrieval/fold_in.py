"""Fold new and changed users and images into a kept model: ridge maps from favorites and side information to vectors.

U users, I images, N users or images to fold in, M images or users of their favorites, d dimensions of the vectors,
f columns of content or of side information.

This works for any system whose score is one inner product, whatever its vectors mean. The vectors of an ensemble, cut
to d dimensions, are no factors of the favorites, and solving iALS for frozen images misses them (a cosine of .46 on the
demo community, where the map below reaches .88). So the map from favorites to vectors is learned from the model's own
users.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import linalg
from scipy.sparse import csr_array, issparse

from models.retrieval import fixed_blocks
from models.sparse import has_entries

Matrix: TypeAlias = np.ndarray | csr_array

USER_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # λ that are tried, in units of the mean squared row
CONTENT_STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0)  # for images' content, and for users' side information
HELDOUT_EVERY = 5  # every fifth row is held out to choose λ
BLOCK = 64  # rows that are mapped at a time
ROWS = 8192  # rows of content that are dense at a time
SHRINK = 2.0  # favorites at which a new image's content and favorites count the same


class Maps(NamedTuple):
    """Linear maps to a model's vectors, learned from the users and images that it was fitted on."""

    users_dd: np.ndarray  # from the sum of the favorites' vectors, over the root of their number, to a user's vector
    images_dd: np.ndarray  # from the sum of the vectors of the users who favor it, over the root, to an image's vector
    content_fd: np.ndarray  # from an image's content to its vector
    mean_user_d: np.ndarray  # the mean vector of users with favorites
    side_information_fd: np.ndarray  # from a user's side information to the difference of the vector from the mean
    cold_item_scale: float  # multiplies the vectors from content of images without favorites, as the model scales them


def learn_maps(
    favorites_UI: csr_array,
    users_Ud: np.ndarray,
    images_Id: np.ndarray,
    usable_I: np.ndarray,
    content_If: csr_array,
    side_information_Uf: csr_array,
) -> Maps:
    """The maps to a model's vectors, from what it was fitted on; each λ best predicts vectors that are held out.

    Args:
        favorites_UI: the training favorites.
        users_Ud: float32, the model's vectors of users.
        images_Id: float32, the model's vectors of images.
        usable_I: bool; images that the model can score.
        content_If: tags, title words, features and so on of every image.
        side_information_Uf: tags, contacts and groups of every user.
    """
    favorites_IU = csr_array(favorites_UI.T)
    warm = np.flatnonzero(has_entries(favorites_IU) & usable_I)
    cold = np.flatnonzero(~has_entries(favorites_IU) & usable_I)
    active = np.flatnonzero(np.diff(favorites_UI.indptr))
    content_fd = _ridge(csr_array(content_If[warm], dtype=np.float64), images_Id[warm], CONTENT_STRENGTHS)
    cold_Nd = content_If[cold] @ content_fd
    energy = np.square(cold_Nd).sum()
    mean_user_d = users_Ud[active].mean(axis=0)
    active_Nf = csr_array(side_information_Uf[active], dtype=np.float64)
    return Maps(
        _ridge(_root_mean(favorites_UI[active], images_Id), users_Ud[active], USER_STRENGTHS),
        _ridge(_root_mean(favorites_IU[warm], users_Ud), images_Id[warm], USER_STRENGTHS),
        content_fd,
        mean_user_d,
        _ridge(active_Nf, users_Ud[active] - mean_user_d, CONTENT_STRENGTHS),
        float((cold_Nd * images_Id[cold]).sum() / energy) if energy > 0 else 1.0,
    )


def fold_users(
    maps: Maps, favorites_NI: csr_array, images_Id: np.ndarray, side_information_Nf: csr_array
) -> np.ndarray:
    """float32 (N, d): the vectors of users from their favorites; of cold users from their side information.

    The latter as linear cold-start recommendation from social data (Sedhain et al., AAAI 2017), but onto vectors.
    """
    sums_Nd = _root_mean(favorites_NI, images_Id)
    folded_Nd = fixed_blocks.map_rows(lambda rows_Bd: rows_Bd @ maps.users_dd, sums_Nd, BLOCK)
    cold = np.flatnonzero(~has_entries(favorites_NI))
    folded_Nd[cold] = maps.mean_user_d + side_information_Nf[cold] @ maps.side_information_fd
    return np.asarray(folded_Nd, np.float32)


def fold_images(maps: Maps, content_Nf: csr_array, favorites_NU: csr_array, users_Ud: np.ndarray) -> np.ndarray:
    """float32 (N, d): the vectors of images from their content and from the users who favor them.

    Without favorites content alone counts; with more of them it counts less (`SHRINK`).
    """
    counts_N1 = np.diff(favorites_NU.indptr)[:, None]
    by_content_Nd = content_Nf @ maps.content_fd * np.where(counts_N1 > 0, 1.0, maps.cold_item_scale)
    share_N1 = counts_N1 / (counts_N1 + SHRINK)
    sums_Nd = _root_mean(favorites_NU, users_Ud)
    by_favorites_Nd = fixed_blocks.map_rows(lambda rows_Bd: rows_Bd @ maps.images_dd, sums_Nd, BLOCK)
    return np.asarray((1 - share_N1) * by_content_Nd + share_N1 * by_favorites_Nd, np.float32)


def _root_mean(pairs_NM: csr_array, vectors_Md: np.ndarray) -> np.ndarray:
    """float64 (N, d): the sum of the vectors of a row's entries, over the root of their number.

    Row by row in the order of the columns: a row's result does not depend on the other rows.
    """
    roots_N = np.sqrt(np.maximum(np.diff(pairs_NM.indptr), 1))
    return np.asarray((pairs_NM.astype(np.float64) @ vectors_Md.astype(np.float64)) / roots_N[:, None])


def _ridge(inputs_Nf: Matrix, outputs_Nd: np.ndarray, strengths: tuple[float, ...]) -> np.ndarray:
    """float64 (f, d): the ridge regression, with the λ that best predicts every fifth row from the others."""
    num_rows, width = inputs_Nf.shape
    if not num_rows or not width:
        return np.zeros((width, outputs_Nd.shape[1]))
    outputs_Nd = outputs_Nd.astype(np.float64)
    is_heldout_N = np.arange(num_rows) % HELDOUT_EVERY == HELDOUT_EVERY - 1
    rest, whole = _Regression(inputs_Nf[~is_heldout_N], outputs_Nd[~is_heldout_N]), _Regression(inputs_Nf, outputs_Nd)
    unit = max(whole.products.trace() / num_rows, 1e-12)
    heldout_nf, heldout_nd = inputs_Nf[is_heldout_N], outputs_Nd[is_heldout_N]
    errors = [np.square(heldout_nf @ rest.solve(unit * strength) - heldout_nd).sum() for strength in strengths]
    return whole.solve(unit * strengths[int(np.argmin(errors))])


class _Regression:
    """A regression to be solved for several λ: by the Gram matrix of the columns, or of the rows if they are fewer."""

    def __init__(self, inputs_Nf: Matrix, outputs_Nd: np.ndarray):
        num_rows, width = inputs_Nf.shape
        self.inputs_Nf, self.outputs_Nd, self.by_rows = inputs_Nf, outputs_Nd, num_rows < width
        if self.by_rows:
            whole_Nf = _dense(inputs_Nf)
            self.products = whole_Nf @ whole_Nf.T
            return
        self.products = np.zeros((width, width))
        for first in range(0, num_rows, ROWS):
            block_nf = _dense(inputs_Nf[first : first + ROWS])
            self.products += block_nf.T @ block_nf

    def solve(self, strength: float) -> np.ndarray:
        """float64 (f, d): the weights for this λ."""
        regular = self.products + strength * np.eye(len(self.products))
        factor = linalg.cho_factor(regular, lower=True, overwrite_a=True)
        if self.by_rows:
            return np.asarray(self.inputs_Nf.T @ linalg.cho_solve(factor, self.outputs_Nd))
        return np.asarray(linalg.cho_solve(factor, self.inputs_Nf.T @ self.outputs_Nd))


def _dense(rows: Matrix) -> np.ndarray:
    return rows.toarray() if issparse(rows) else np.asarray(rows)  # type: ignore[union-attr]
