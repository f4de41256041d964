"""Random draws of the demo: items by weight, counts with a long tail, and a random stream for each purpose."""

import zlib

import numpy as np
from scipy.special import ndtr, ndtri


class Choices:
    """R distributions over N items; a draw is one binary search, so millions of draws are cheap."""

    def __init__(self, weights_RN: np.ndarray) -> None:
        self.num_items = weights_RN.shape[1]
        cumulative = weights_RN.cumsum(axis=1)
        self._cumulative = (cumulative / cumulative[:, -1:] + np.arange(len(weights_RN))[:, None]).ravel()

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """int64 item for each row number in `rows`, with replacement."""
        found = np.searchsorted(self._cumulative, rows + rng.random(len(rows)), side="right") - rows * self.num_items
        return np.asarray(np.minimum(found, self.num_items - 1))  # rounding may move a draw past its row's end


def stream(seed: int, purpose: str) -> np.random.Generator:
    """An independent random stream per purpose: the length of one table never changes the draws of another."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def long_tail(normal: np.ndarray, median: float, spread: float, most: int) -> np.ndarray:
    """int64 counts from 0 to `most` from standard normals: log-normal, the tail beyond `most` folded back below it."""
    limit = np.log((most + 1) / median) / spread
    counts = median * np.exp(spread * ndtri(ndtr(normal) * ndtr(limit)))
    return np.asarray(np.minimum(counts.astype(np.int64), most))
