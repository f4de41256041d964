"""How models read images' inputs: by row numbers, from memory or from mapped shards."""

from collections.abc import Callable

import numpy as np

Gather = Callable[[np.ndarray], np.ndarray]  # row numbers (B,) -> the images' inputs (B, ...)
