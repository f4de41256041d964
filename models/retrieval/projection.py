"""A map: vectors in two dimensions, so that what is near on it is alike.

I rows, L landmarks, d dimensions.
"""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

LANDMARKS = 2000  # rows that t-SNE places; its cost grows with them, that of the others is one product
WIDTH = 50  # dimensions before t-SNE, by principal components
NEAREST, SHARPNESS = 5, 10.0  # landmarks among which another row is placed; how much more the nearest of them counts
ITERATIONS, PERPLEXITY = 500, 25.0
BLOCK = 4096


def project(vectors_Id: np.ndarray, seed: int = 0) -> np.ndarray:
    """float32 (I, 2), each from 0 to 1: t-SNE (van der Maaten and Hinton, 2008) of landmarks, and the others near them.

    A row that is no landmark lies at the mean of its nearest landmarks, weighted by their cosine. The same vectors and
    seed give the same map on one machine.
    """
    if not (num_rows := len(vectors_Id)):
        return np.zeros((0, 2), np.float32)
    centred_Id = np.asarray(vectors_Id - vectors_Id.mean(axis=0), np.float32)
    unit_Id = centred_Id / np.maximum(np.linalg.norm(centred_Id, axis=1, keepdims=True), 1e-12)
    width = min(WIDTH, num_rows, unit_Id.shape[1])
    if num_rows < 8 or width < 2:
        return _to_unit_square(np.pad(unit_Id[:, :2], ((0, 0), (0, max(0, 2 - unit_Id.shape[1])))))
    landmarks = np.sort(np.random.default_rng(seed).choice(num_rows, min(LANDMARKS, num_rows), replace=False))
    reduced_Lw = PCA(width, svd_solver="randomized", random_state=seed).fit_transform(unit_Id[landmarks])
    perplexity = min(PERPLEXITY, (len(landmarks) - 1) / 4)
    placed_L2 = TSNE(2, perplexity=perplexity, max_iter=ITERATIONS, init="pca", random_state=seed).fit_transform(
        reduced_Lw
    )
    placed_I2 = np.empty((num_rows, 2), np.float32)
    for first in range(0, num_rows, BLOCK):
        cosines_BL = unit_Id[first : first + BLOCK] @ unit_Id[landmarks].T
        nearest_Bn = np.argpartition(-cosines_BL, min(NEAREST, len(landmarks) - 1), axis=1)[:, :NEAREST]
        cosines_Bn = np.take_along_axis(cosines_BL, nearest_Bn, axis=1)
        weights_Bn = np.exp(SHARPNESS * (cosines_Bn - cosines_Bn.max(axis=1, keepdims=True)))
        weights_Bn /= weights_Bn.sum(axis=1, keepdims=True)
        placed_I2[first : first + BLOCK] = np.einsum("bn,bnt->bt", weights_Bn, placed_L2[nearest_Bn])
    placed_I2[landmarks] = placed_L2
    return _to_unit_square(placed_I2)


def _to_unit_square(points_I2: np.ndarray) -> np.ndarray:
    low, high = points_I2.min(axis=0), points_I2.max(axis=0)
    return np.asarray((points_I2 - low) / np.maximum(high - low, 1e-12), np.float32)
