"""Functions of rows, applied in blocks of one size.

N rows, S rows of a block.
"""

from collections.abc import Callable

import numpy as np


def map_rows(function: Callable[[np.ndarray], np.ndarray], rows_N: np.ndarray, size: int) -> np.ndarray:
    """The function's result for each row, (N, ...); it gets S rows at a time, the last block padded with zeros.

    Products of different shapes differ in their last bits: with blocks of one size, no row's result depends on how many
    rows there are.
    """
    missing = -len(rows_N) % size or (size if not len(rows_N) else 0)
    padded = np.concatenate([rows_N, np.zeros((missing, *rows_N.shape[1:]), rows_N.dtype)]) if missing else rows_N
    parts = [function(padded[first : first + size]) for first in range(0, len(padded), size)]
    return np.concatenate(parts)[: len(rows_N)]
