"""Sparse matrices: entries by row, scaled rows and columns, chosen entries and columns."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from models import sparse

ROWS = csr_array(np.array([[0, 3, 4], [0, 0, 0], [1, 0, 0]], np.float32))


def test_entries_are_numbered_by_row_and_by_their_place_in_it() -> None:
    assert sparse.row_of_entry(ROWS).tolist() == [0, 0, 2]
    assert sparse.place_in_row(ROWS).tolist() == [0, 1, 0]
    assert sparse.has_entries(ROWS).tolist() == [True, False, True]


def test_entries_that_are_not_kept_are_not_stored() -> None:
    kept = sparse.keep(ROWS, np.array([False, True, True]))
    assert kept.nnz == 2
    assert kept.toarray().tolist() == [[0, 0, 4], [0, 0, 0], [1, 0, 0]]


def test_rows_that_differ_are_found_whatever_zeros_are_stored() -> None:
    now = csr_array(np.array([[1, 0], [0, 2], [0, 0]]))
    before = csr_array(([1, 0, 3], ([0, 0, 1], [0, 1, 1])), shape=(3, 2))
    assert sparse.changed_rows(now, before).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("scaled", "expected"), [(sparse.unit_rows, [0.6, 0.8, 1]), (sparse.unit_row_sums, [3 / 7, 4 / 7, 1])]
)
def test_rows_are_scaled_to_length_or_sum_1_and_empty_ones_stay_empty(scaled, expected: list[float]) -> None:
    rows = scaled(ROWS)
    np.testing.assert_allclose(rows.data, expected, rtol=1e-6)
    assert rows.indptr.tolist() == ROWS.indptr.tolist()
    assert ROWS.data.tolist() == [3, 4, 1]  # not in place


def test_degrees_are_sums_of_absolute_values_and_1_where_there_is_no_entry() -> None:
    signed = csr_array(np.array([[-2, 0], [3, 0]]))
    assert sparse.degrees(signed, 0).tolist() == [5, 1]
    assert sparse.degrees(signed, 1).tolist() == [2, 3]


def test_entries_are_divided_by_powers_of_both_degrees() -> None:
    scaled = sparse.degree_normalised(ROWS, rows=1, columns=0.5)
    np.testing.assert_allclose(scaled.toarray()[0], [0, 3 / 7 / 3**0.5, 4 / 7 / 4**0.5], rtol=1e-6)
    assert scaled.dtype == np.float32


def test_the_energy_of_a_matrix_is_the_sum_of_its_squares() -> None:
    assert (sparse.with_energy(ROWS, 104).data ** 2).sum() == pytest.approx(104)
    assert sparse.with_energy(csr_array((2, 2), dtype=np.float32), 5).nnz == 0


def test_the_commonest_columns_have_most_entries_and_ties_go_to_the_lower_column() -> None:
    matrix = csr_array(np.array([[1, 1, 0, 1], [0, 1, 1, 0], [0, 1, 0, 0]]))
    assert sparse.commonest_columns(matrix, 2).tolist() == [0, 1]
    assert sparse.commonest_columns(matrix, 4, min_entries=2).tolist() == [1]
