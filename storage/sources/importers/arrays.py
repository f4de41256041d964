"""Features in .npy files: read as numbers only, never as objects, and checked before a row of them is used."""

from pathlib import Path

import numpy as np

from storage.sources.importers.reading import LayoutError


def features(file: Path, num_rows: int | None = None, of: str = "") -> np.ndarray:
    """(N, D): the numbers of a file, as a memory map; where `num_rows` is given, it needs one row for each `of` them.

    Raises LayoutError for a file that is no array of that form.
    """
    try:
        numbers = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a broken header may raise anything
        raise LayoutError(f"{file}: no .npy file of numbers: {error}; fetch the file from its origin again") from error
    if not isinstance(numbers, np.ndarray) or numbers.dtype.kind not in "fiu":
        found = numbers.dtype if isinstance(numbers, np.ndarray) else type(numbers).__name__
        raise LayoutError(f"{file}: it holds {found}, not numbers")
    if numbers.ndim != 2 or not numbers.shape[1]:
        raise LayoutError(f"{file}: an array of shape {numbers.shape}, not of rows of numbers")
    if num_rows is not None and len(numbers) != num_rows:
        raise LayoutError(f"{file}: {len(numbers)} rows of {numbers.shape[1]} numbers, but {num_rows} {of}")
    return numbers
