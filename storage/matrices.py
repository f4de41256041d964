"""Tables to sparse matrices and back: ids in tables, row numbers in models."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

Ids = np.ndarray  # object array of id strings, sorted; an id's position is its row number


def ids_of(*columns: pa.ChunkedArray | pa.Array) -> Ids:
    """The sorted distinct ids in one or more columns."""
    chunks = [pc.unique(column) for column in columns]
    ids = pc.unique(pa.concat_arrays([chunk.cast(pa.string()) for chunk in chunks]))
    # Sorted by Arrow, in half of numpy's time: UTF-8 bytes sort in the order of the characters.
    return np.asarray(ids.take(pc.sort_indices(ids)).to_numpy(zero_copy_only=False))


def rows_of(column: pa.ChunkedArray | pa.Array, ids: Ids) -> np.ndarray:
    """int64 row numbers of a column's ids; -1 for an id that is not among `ids`."""
    found = pc.index_in(column, value_set=pa.array(ids, pa.string()))
    return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64))


def are_in(ids: Ids, column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """bool (len(ids),): which ids a column has."""
    found = pc.is_in(pa.array(ids, pa.string()), value_set=column.cast(pa.string()))
    return np.asarray(found.to_numpy(zero_copy_only=False))


def incidence(
    rows: pa.ChunkedArray,
    columns: pa.ChunkedArray,
    row_ids: Ids,
    column_ids: Ids,
    values: pa.ChunkedArray | None = None,
) -> csr_array:
    """CSR matrix with an entry for every pair: 1, or the pair's value. Pairs with an id not in the lists are dropped.

    Returns float32 (len(row_ids), len(column_ids)), columns sorted within a row, repeated pairs summed.
    """
    row, column = rows_of(rows, row_ids), rows_of(columns, column_ids)
    data = np.ones(len(row), np.float32) if values is None else values.to_numpy().astype(np.float32)
    is_listed = (row >= 0) & (column >= 0)
    matrix = csr_array(
        (data[is_listed], (row[is_listed], column[is_listed])), shape=(len(row_ids), len(column_ids)), dtype=np.float32
    )
    matrix.sum_duplicates()
    return matrix


def seconds(times: pa.ChunkedArray) -> np.ndarray:
    """float64 seconds since 1970 of a column of times, nan where one is missing.

    Parquet has no seconds: a column that was written as seconds is read as milliseconds.
    """
    whole = times.cast(pa.timestamp("s", "UTC"), safe=False).cast(pa.int64())
    return np.asarray(whole.cast(pa.float64()).to_numpy(), np.float64)


def seconds_of(favorites: pa.Table, users: Ids, images: Ids) -> csr_array | None:
    """CSR float64 (users, images) of favorited_at in seconds since 1970, at least 1.

    None if there is no favorite, or if any time is missing: a partial history gives no order.
    """
    if not len(favorites) or favorites["favorited_at"].null_count:
        return None
    row, column = rows_of(favorites["user_id"], users), rows_of(favorites["image_id"], images)
    at = np.maximum(seconds(favorites["favorited_at"]), 1)
    matrix = csr_array((at, (row, column)), shape=(len(users), len(images)))
    matrix.sort_indices()
    return matrix


def vectors_of(column: pa.ChunkedArray) -> np.ndarray:
    """float32 (rows, length) from a column of float32 lists of one length."""
    lists = column.combine_chunks()
    return np.asarray(lists.flatten().to_numpy()).reshape(len(lists), -1)


def lists_of(vectors: np.ndarray) -> pa.FixedSizeListArray:
    """A column of float32 lists from vectors (rows, length)."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), vectors.shape[1])
