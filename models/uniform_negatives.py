"""Negatives for whoever takes any image that is no favorite.

U users, I images, P users asked for, S draws of each.
"""

import numpy as np
from scipy.sparse import csr_array


class UniformNegatives:
    """Images that are no favorite of a user, all equally likely, drawn without a rejection.

    The r-th of them follows as many favorites as have at most r others before them: one search each. The columns of
    each row of the favorites must be sorted.
    """

    def __init__(self, favorites_UI: csr_array):
        self.num_images = favorites_UI.shape[1]
        self.start_U, self.size_U = favorites_UI.indptr[:-1], np.diff(favorites_UI.indptr)
        user = np.repeat(np.arange(len(self.size_U)), self.size_U)
        # Before a user's j-th favorite, counted from 0, lie as many others as its row number less j.
        num_before = favorites_UI.indices - (np.arange(favorites_UI.nnz) - self.start_U[user])
        self.key = user * (self.num_images + 1) + num_before

    def draw(self, users_P: np.ndarray, num_draws: int, rng: np.random.Generator) -> np.ndarray:
        """int64 (P, S): row numbers. Who favored every image gets favorites, since there is nothing else."""
        num_others_P = np.maximum(self.num_images - self.size_U[users_P], 1)
        which_PS = rng.integers(0, num_others_P[:, None], (len(users_P), num_draws))
        passed_PS = np.searchsorted(self.key, users_P[:, None] * (self.num_images + 1) + which_PS, side="right")
        return np.asarray(np.minimum(which_PS + passed_PS - self.start_U[users_P][:, None], self.num_images - 1))
