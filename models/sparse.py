"""Sparse matrices: entries by row, rows and columns scaled, entries and columns chosen.

R rows, C columns, n stored entries. All functions take CSR matrices and return new ones.
"""

import numpy as np
from scipy.sparse import csr_array, diags_array


def row_of_entry(matrix: csr_array) -> np.ndarray:
    """int64 (n,): the row number of each stored entry, in the order of `matrix.indices`."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def place_in_row(matrix: csr_array) -> np.ndarray:
    """int64 (n,): how many entries of the same row are stored before each entry."""
    return np.asarray(np.arange(matrix.nnz) - matrix.indptr[row_of_entry(matrix)])


def has_entries(matrix: csr_array) -> np.ndarray:
    """bool (R,): which rows have a stored entry."""
    return np.asarray(np.diff(matrix.indptr) > 0)


def keep(matrix: csr_array, is_kept_n: np.ndarray) -> csr_array:
    """The matrix with only some of its stored entries, given as bool in the order of `matrix.indices`."""
    indptr = np.concatenate([[0], np.cumsum(is_kept_n)])[matrix.indptr]
    return csr_array((matrix.data[is_kept_n], matrix.indices[is_kept_n], indptr), shape=matrix.shape)


def changed_rows(now: csr_array, before: csr_array) -> np.ndarray:
    """bool (R,): rows in which two matrices of one shape differ; a stored zero equals an entry that is not stored."""
    difference = csr_array(now - before)
    difference.eliminate_zeros()
    return has_entries(difference)


def unit_rows(matrix: csr_array) -> csr_array:
    """float32: each row divided by its Euclidean norm; empty rows stay empty."""
    norms_R = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scaled = csr_array(matrix, dtype=np.float32, copy=True)
    scaled.data /= np.repeat(norms_R, np.diff(matrix.indptr)).astype(np.float32)
    return scaled


def unit_row_sums(matrix: csr_array) -> csr_array:
    """Each row divided by its sum; empty rows stay empty. The type stays."""
    scaled = csr_array(matrix, copy=True)
    sums_n = np.repeat(np.asarray(matrix.sum(axis=1)), np.diff(matrix.indptr))
    scaled.data = matrix.data / sums_n.astype(matrix.dtype)
    return scaled


def degrees(matrix: csr_array, axis: int) -> np.ndarray:
    """float64: the sums of absolute values of rows (axis 1) or columns (axis 0); 1 where there is no entry."""
    sums = np.asarray(abs(matrix).sum(axis=axis), np.float64).ravel()
    return np.where(sums > 0, sums, 1.0)


def degree_normalised(matrix: csr_array, rows: float, columns: float) -> csr_array:
    """float32: D_row^-rows · matrix · D_column^-columns, where D are the diagonal matrices of `degrees`."""
    left_R, right_C = degrees(matrix, 1) ** -rows, degrees(matrix, 0) ** -columns
    return csr_array(diags_array(left_R) @ matrix @ diags_array(right_C), dtype=np.float32)


def with_energy(matrix: csr_array, energy: float) -> csr_array:
    """The matrix scaled so that its squared entries sum to `energy`; unchanged if it has no entry but zeros."""
    total = float((matrix.data.astype(np.float64) ** 2).sum())
    return csr_array(matrix * np.float32(np.sqrt(energy / total))) if total else matrix


def commonest_columns(matrix: csr_array, max_columns: int, min_entries: int = 1) -> np.ndarray:
    """int64, ascending: the columns with the most entries, at most `max_columns`, each with at least `min_entries`."""
    counts_C = np.bincount(matrix.indices, minlength=matrix.shape[1])
    chosen = np.argsort(-counts_C, kind="stable")[:max_columns]
    return np.sort(chosen[counts_C[chosen] >= min_entries])
