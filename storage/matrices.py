"""Tables to sparse matrices and back: outside ids at the edge, row numbers inside the models."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

Ids = np.ndarray  # object array of id strings, sorted: the row numbers' meaning


def ids_of(*columns: pa.ChunkedArray | pa.Array) -> Ids:
    """The sorted distinct ids of one or more columns."""
    chunks = [pc.unique(column) for column in columns]
    ids = pc.unique(pa.concat_arrays([chunk.cast(pa.string()) for chunk in chunks]))
    # Sorted by Arrow, which takes half as long as numpy: the order of UTF-8's bytes is that of the characters.
    return np.asarray(ids.take(pc.sort_indices(ids)).to_numpy(zero_copy_only=False))


def rows_of(column: pa.ChunkedArray | pa.Array, ids: Ids) -> np.ndarray:
    """int64 row numbers of a column's ids; -1 for an id that is not among `ids`."""
    found = pc.index_in(column, value_set=pa.array(ids, pa.string()))
    return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64))


def incidence(
    rows: pa.ChunkedArray,
    columns: pa.ChunkedArray,
    row_ids: Ids,
    column_ids: Ids,
    values: pa.ChunkedArray | None = None,
) -> csr_array:
    """CSR matrix with an entry for every pair: 1, or the pair's value. Pairs with an unknown id are left out.

    Returns float32 (len(row_ids), len(column_ids)), columns sorted within a row, repeated pairs summed.
    """
    row, column = rows_of(rows, row_ids), rows_of(columns, column_ids)
    data = np.ones(len(row), np.float32) if values is None else values.to_numpy().astype(np.float32)
    known = (row >= 0) & (column >= 0)
    matrix = csr_array(
        (data[known], (row[known], column[known])), shape=(len(row_ids), len(column_ids)), dtype=np.float32
    )
    matrix.sum_duplicates()
    return matrix


def seconds_of(favorites: pa.Table, users: Ids, images: Ids) -> csr_array | None:
    """CSR float64 (users, images) of favorited_at in seconds since 1970, at least 1.

    None where there is no favorite, or one whose time is missing: half a history tells no order.
    """
    if not len(favorites) or favorites["favorited_at"].null_count:
        return None
    row, column = rows_of(favorites["user_id"], users), rows_of(favorites["image_id"], images)
    seconds = np.maximum(favorites["favorited_at"].cast(pa.int64()).to_numpy(), 1).astype(np.float64)
    matrix = csr_array((seconds, (row, column)), shape=(len(users), len(images)))
    matrix.sort_indices()
    return matrix


def vectors_of(column: pa.ChunkedArray) -> np.ndarray:
    """A column of equally long lists of float32 as an array, float32 (rows, length)."""
    lists = column.combine_chunks()
    return np.asarray(lists.flatten().to_numpy()).reshape(len(lists), -1)


def lists_of(vectors: np.ndarray) -> pa.FixedSizeListArray:
    """Vectors (rows, length) as a column of lists of float32."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), vectors.shape[1])
