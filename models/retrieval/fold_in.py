"""New and changed users and images in a kept model's vectors, by ridge regressions that the model itself taught.

U users, I images, N at hand, d dimensions of the vectors, f columns of what is told.

Any system that ends in one inner product can be kept so. What its vectors mean is not known here: a mixture's, cut to
so many dimensions, are no factors of the favorites, and the solution of iALS from frozen images misses them (a cosine
of .46 on the demo community, where the map below comes to .88). So the map from favorites to vectors is learned from
the users that the model knows.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import linalg
from scipy.sparse import csr_array, issparse

from models.retrieval import fixed_blocks

Matrix: TypeAlias = np.ndarray | csr_array

USER_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # λ that are tried, in units of the mean squared row
CONTENT_STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0)  # of images' content, and of what is told of users
HELD_OUT = 5  # every so many-th row
BLOCK = 64  # rows that are mapped at a time
ROWS = 8192  # rows of content that are dense at a time
SHRINK = 2.0  # favorites at which a new image is as much what it shows as whom it pleases


class Maps(NamedTuple):
    """What a kept model taught: how its vectors follow from favorites and from content."""

    users_dd: np.ndarray  # the sum of favorites' vectors, over the root of their number, to the user's
    images_dd: np.ndarray  # the same of the users who favorited an image
    content_fd: np.ndarray  # an image's content to its vector
    mean_user_d: np.ndarray  # of those with favorites
    told_fd: np.ndarray  # what is told of a user to how the user's vector differs from the mean
    cold_item_scale: float  # how far content speaks for an image that nobody has favorited, as the model has it


def learn_maps(
    favorites_UI: csr_array,
    users_Ud: np.ndarray,
    images_Id: np.ndarray,
    usable_I: np.ndarray,
    content_If: csr_array,
    told_Uf: csr_array,
) -> Maps:
    """The maps of a model, on what it learned from. λ is what best reproduces vectors left out of the regression."""
    loved_IU = csr_array(favorites_UI.T)
    warm = np.flatnonzero((np.diff(loved_IU.indptr) > 0) & usable_I)
    new = np.flatnonzero((np.diff(loved_IU.indptr) == 0) & usable_I)
    active = np.flatnonzero(np.diff(favorites_UI.indptr))
    content_fd = _ridge(csr_array(content_If[warm], dtype=np.float64), images_Id[warm], CONTENT_STRENGTHS)
    told_Nd = content_If[new] @ content_fd
    energy = np.square(told_Nd).sum()
    mean_user_d = users_Ud[active].mean(axis=0)
    return Maps(
        _ridge(_summed(favorites_UI[active], images_Id), users_Ud[active], USER_STRENGTHS),
        _ridge(_summed(loved_IU[warm], users_Ud), images_Id[warm], USER_STRENGTHS),
        content_fd,
        mean_user_d,
        _ridge(csr_array(told_Uf[active], dtype=np.float64), users_Ud[active] - mean_user_d, CONTENT_STRENGTHS),
        float((told_Nd * images_Id[new]).sum() / energy) if energy > 0 else 1.0,
    )


def fold_users(maps: Maps, favorites_NI: csr_array, images_Id: np.ndarray, told_Nf: csr_array) -> np.ndarray:
    """float32 (N, d): the vectors of users with these favorites; of those without any, what else is told of them says.

    As linear cold-start recommendation from social data (Sedhain et al., AAAI 2017), onto the vectors.
    """
    folded_Nd = fixed_blocks.mapped(lambda rows_Bd: rows_Bd @ maps.users_dd, _summed(favorites_NI, images_Id), BLOCK)
    new = np.flatnonzero(np.diff(favorites_NI.indptr) == 0)
    folded_Nd[new] = maps.mean_user_d + told_Nf[new] @ maps.told_fd
    return np.asarray(folded_Nd, np.float32)


def fold_images(maps: Maps, content_Nf: csr_array, loved_NU: csr_array, users_Ud: np.ndarray) -> np.ndarray:
    """float32 (N, d): the vectors of new images, from their content and from the users who favorited them."""
    num_N1 = np.diff(loved_NU.indptr)[:, None]
    told_Nd = content_Nf @ maps.content_fd * np.where(num_N1 > 0, 1.0, maps.cold_item_scale)
    share_N1 = num_N1 / (num_N1 + SHRINK)
    loved_Nd = fixed_blocks.mapped(lambda rows_Bd: rows_Bd @ maps.images_dd, _summed(loved_NU, users_Ud), BLOCK)
    return np.asarray((1 - share_N1) * told_Nd + share_N1 * loved_Nd, np.float32)


def _summed(pairs_NM: csr_array, vectors_Md: np.ndarray) -> np.ndarray:
    """float64 (N, d): the sum of the vectors that a row names, over the root of their number.

    Row by row in the order of the columns: a row does not hang on which others are at hand.
    """
    roots_N = np.sqrt(np.maximum(np.diff(pairs_NM.indptr), 1))
    return np.asarray((pairs_NM.astype(np.float64) @ vectors_Md.astype(np.float64)) / roots_N[:, None])


def _ridge(inputs_Nf: Matrix, outputs_Nd: np.ndarray, strengths: tuple[float, ...]) -> np.ndarray:
    """float64 (f, d): the ridge regression, with the λ that best reproduces every fifth row from the others."""
    num_rows, width = inputs_Nf.shape
    if not num_rows or not width:
        return np.zeros((width, outputs_Nd.shape[1]))
    outputs_Nd = outputs_Nd.astype(np.float64)
    is_held_N = np.arange(num_rows) % HELD_OUT == HELD_OUT - 1
    rest, whole = _Regression(inputs_Nf[~is_held_N], outputs_Nd[~is_held_N]), _Regression(inputs_Nf, outputs_Nd)
    unit = max(whole.products.trace() / num_rows, 1e-12)
    held_Mf, held_Md = inputs_Nf[is_held_N], outputs_Nd[is_held_N]
    errors = [np.square(held_Mf @ rest.solve(unit * strength) - held_Md).sum() for strength in strengths]
    return whole.solve(unit * strengths[int(np.argmin(errors))])


class _Regression:
    """One regression for several λ: on the products of columns, or of rows where those are fewer."""

    def __init__(self, inputs_Nf: Matrix, outputs_Nd: np.ndarray):
        num_rows, width = inputs_Nf.shape
        self.inputs_Nf, self.outputs_Nd, self.by_rows = inputs_Nf, outputs_Nd, num_rows < width
        if self.by_rows:
            whole_Nf = _dense(inputs_Nf)
            self.products = whole_Nf @ whole_Nf.T
            return
        self.products = np.zeros((width, width))
        for first in range(0, num_rows, ROWS):
            some_nf = _dense(inputs_Nf[first : first + ROWS])
            self.products += some_nf.T @ some_nf

    def solve(self, strength: float) -> np.ndarray:
        """float64 (f, d)."""
        regular = self.products + strength * np.eye(len(self.products))
        factor = linalg.cho_factor(regular, lower=True, overwrite_a=True)
        if self.by_rows:
            return np.asarray(self.inputs_Nf.T @ linalg.cho_solve(factor, self.outputs_Nd))
        return np.asarray(linalg.cho_solve(factor, self.inputs_Nf.T @ self.outputs_Nd))


def _dense(rows: Matrix) -> np.ndarray:
    return rows.toarray() if issparse(rows) else np.asarray(rows)  # type: ignore[union-attr]
