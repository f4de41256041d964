"""Tables as sparse matrices, and ids as row numbers."""

import numpy as np
import pyarrow as pa
import pytest

from storage import matrices


def column(*values) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values)])


def test_ids_are_distinct_and_sorted_over_all_columns():
    assert matrices.ids_of(column("b", "a", "b"), column("é", "c")).tolist() == ["a", "b", "c", "é"]


def test_an_id_that_is_not_listed_has_row_minus_one():
    rows = matrices.rows_of(column("b", "x", "a"), np.array(["a", "b"], object))

    assert rows.dtype == np.int64
    assert rows.tolist() == [1, -1, 0]


def test_repeated_pairs_are_summed_and_pairs_with_unlisted_ids_dropped():
    users, images = np.array(["u", "v"], object), np.array(["i", "j", "k"], object)
    matrix = matrices.incidence(column("v", "v", "u", "u", "x"), column("k", "k", "i", "y", "i"), users, images)

    assert matrix.dtype == np.float32
    assert matrix.has_sorted_indices
    np.testing.assert_array_equal(matrix.toarray(), [[1, 0, 0], [0, 0, 2]])


def test_values_stand_at_their_pairs():
    ids = np.array(["a", "b"], object)
    matrix = matrices.incidence(column("a", "b"), column("b", "a"), ids, ids, column(3, 5))

    np.testing.assert_array_equal(matrix.toarray(), [[0, 3], [5, 0]])


def favorites(*seconds: int | None) -> pa.Table:
    times = pa.array(seconds, pa.timestamp("s", "UTC"))
    return pa.table({"user_id": ["u"] * len(seconds), "image_id": ["i", "j"][: len(seconds)], "favorited_at": times})


def test_times_are_seconds_since_1970_and_at_least_1():
    matrix = matrices.seconds_of(favorites(1_700_000_000, 0), np.array(["u"], object), np.array(["i", "j"], object))

    np.testing.assert_array_equal(matrix.toarray(), [[1_700_000_000, 1]])


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_times_are_seconds_in_whatever_unit_they_were_read(unit):
    times = pa.chunked_array(
        [pa.array([1_700_000_000, None], pa.timestamp("s", "UTC")).cast(pa.timestamp(unit, "UTC"))]
    )

    np.testing.assert_array_equal(matrices.seconds(times), [1_700_000_000, np.nan])


def test_there_is_no_matrix_of_times_without_a_favorite_or_with_a_missing_time():
    users, images = np.array(["u"], object), np.array(["i", "j"], object)

    assert matrices.seconds_of(favorites(), users, images) is None
    assert matrices.seconds_of(favorites(5, None), users, images) is None


def test_vectors_survive_as_a_column_of_lists():
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    lists = matrices.lists_of(vectors)

    assert lists.type == pa.list_(pa.float32(), 2)
    np.testing.assert_array_equal(matrices.vectors_of(pa.chunked_array([lists[:1], lists[1:]])), vectors)
