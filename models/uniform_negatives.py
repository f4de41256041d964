"""Negatives sampled uniformly from all images that are no favorites of the user.

U users, I images, P users to sample for, S samples of each.
"""

import numpy as np
from scipy.sparse import csr_array

from models.sparse import place_in_row, row_of_entry


class UniformNegatives:
    """Samples images that are no favorites of a user, all equally likely, without rejection.

    The r-th of them comes after all favorites that have at most r non-favorites before them: one search each. The
    columns of each row of the favorites must be sorted.
    """

    def __init__(self, favorites_UI: csr_array):
        self.num_images = favorites_UI.shape[1]
        self.start_U, self.size_U = favorites_UI.indptr[:-1], np.diff(favorites_UI.indptr)
        # Before a user's j-th favorite, counted from 0, there are as many non-favorites as its row number less j.
        num_before = favorites_UI.indices - place_in_row(favorites_UI)
        self.key = row_of_entry(favorites_UI) * (self.num_images + 1) + num_before

    def draw(self, users_P: np.ndarray, num_draws: int, rng: np.random.Generator) -> np.ndarray:
        """int64 (P, S): image rows. A user who favors every image gets favorites, as there is no other image."""
        num_left_P = np.maximum(self.num_images - self.size_U[users_P], 1)
        which_PS = rng.integers(0, num_left_P[:, None], (len(users_P), num_draws))
        passed_PS = np.searchsorted(self.key, users_P[:, None] * (self.num_images + 1) + which_PS, side="right")
        return np.asarray(np.minimum(which_PS + passed_PS - self.start_U[users_P][:, None], self.num_images - 1))
