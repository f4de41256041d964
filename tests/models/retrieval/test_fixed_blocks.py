"""Functions of rows, applied in blocks of one size."""

import numpy as np
import pytest

from models.retrieval import fixed_blocks


@pytest.mark.parametrize("num_rows", [0, 1, 4, 9])
def test_every_row_is_mapped_in_blocks_of_one_size(num_rows: int) -> None:
    rows = np.random.default_rng(0).random((num_rows, 3))
    sizes = []

    def doubled(block: np.ndarray) -> np.ndarray:
        sizes.append(len(block))
        return 2 * block

    np.testing.assert_array_equal(fixed_blocks.map_rows(doubled, rows, 4), 2 * rows)
    assert set(sizes) == {4}


def test_a_row_does_not_depend_on_how_many_rows_there_are() -> None:
    rng = np.random.default_rng(1)
    rows, weights = rng.random((70, 300), np.float32), rng.random((300, 50), np.float32)
    together = fixed_blocks.map_rows(lambda block: block @ weights, rows, 32)
    np.testing.assert_array_equal(fixed_blocks.map_rows(lambda block: block @ weights, rows[[40]], 32)[0], together[40])
