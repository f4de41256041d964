"""Rows in blocks of one size.

N rows at hand, S in a block.
"""

from collections.abc import Callable

import numpy as np


def mapped(function: Callable[[np.ndarray], np.ndarray], rows_N: np.ndarray, size: int) -> np.ndarray:
    """What a function makes of each row, (N, ...); it is given S rows at a time, the last block filled up with zeros.

    Products of different shapes differ in their last bits: in blocks of one size, no row's result hangs on how many
    others there are that night.
    """
    missing = -len(rows_N) % size or (size if not len(rows_N) else 0)
    filled = np.concatenate([rows_N, np.zeros((missing, *rows_N.shape[1:]), rows_N.dtype)]) if missing else rows_N
    parts = [function(filled[first : first + size]) for first in range(0, len(filled), size)]
    return np.concatenate(parts)[: len(rows_N)]
