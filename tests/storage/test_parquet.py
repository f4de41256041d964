"""Tables as Parquet files."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import parquet
from storage.parquet import SchemaError
from storage.refs import Ref
from storage.roots import DamagedError, Root
from storage.tables.community import FAVORITES
from storage.tables.schema import SCHEMA_VERSION, VECTOR, Table
from tests.storage.damage import flip

ROWS = {"user_id": ["b", "a"], "image_id": ["1", "2"], "favorited_at": [1_700_000_000, None]}
THINGS = Table(
    "things",
    ("thing_id",),
    "A table of every kind of column.",
    pa.schema(
        [
            pa.field("thing_id", pa.string(), nullable=False),
            pa.field("at", pa.timestamp("s", "UTC")),
            pa.field("words", pa.list_(pa.string())),
            pa.field("embedding", VECTOR, nullable=False),
            pa.field("count", pa.int32()),
        ]
    ),
)
CELLS = {
    "thing_id": ["x", "y", "z"],
    "at": [1_700_000_000, None, 0],
    "words": [["a"], [], None],
    "embedding": [[1.0, 2.0], [0.0, 0.5], [3.0, -1.0]],
    "count": [1, 2, None],
}


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def rows_of(cells: dict[str, list], types: pa.Schema) -> pa.Table:
    return pa.table({name: pa.array(values, types.field(name).type) for name, values in cells.items()})


def test_rows_come_back_sorted_by_their_key_and_equal_rows_are_one_file(root):
    ref = parquet.write(FAVORITES, rows_of(ROWS, FAVORITES.schema), root)
    turned = {name: values[::-1] for name, values in ROWS.items()}

    assert parquet.read(ref, root, ["user_id", "image_id"]).to_pydict() == {
        "user_id": ["a", "b"],
        "image_id": ["2", "1"],
    }
    assert parquet.write(FAVORITES, rows_of(turned, FAVORITES.schema), root) == ref


def test_a_file_names_its_table_and_the_version_of_its_schema(root):
    ref = parquet.write(FAVORITES, rows_of(ROWS, FAVORITES.schema), root)
    metadata = pq.read_metadata(ref.local(root)).metadata

    assert metadata[b"tastegraph.table"] == b"favorites"
    assert metadata[b"tastegraph.schema_version"] == SCHEMA_VERSION.encode()


def test_a_missing_column_a_wrong_type_and_a_missing_value_are_refused_by_name(root):
    with pytest.raises(SchemaError, match=r"favorites: no column favorited_at, image_id \(got user_id\)"):
        parquet.write(FAVORITES, {"user_id": ["a"]}, root)
    with pytest.raises(SchemaError, match=r"favorites: .*yesterday"):
        parquet.write(FAVORITES, {**ROWS, "favorited_at": ["yesterday", None]}, root)
    with pytest.raises(SchemaError, match=r"favorites.*user_id"):
        parquet.write(FAVORITES, rows_of({**ROWS, "user_id": ["a", None]}, FAVORITES.schema), root)


def test_rewritten_with_equal_rows_a_table_of_every_kind_of_column_is_the_same_file(root):
    table = THINGS.with_dimensions(2)
    ref = parquet.write(table, rows_of(CELLS, table.schema), root)

    assert parquet.rewrite(ref, pl.DataFrame(parquet.read(ref, root)), root) == ref


def test_rewritten_with_fewer_rows_a_table_keeps_columns_types_and_version_of_its_file(root):
    table = THINGS.with_dimensions(2)
    place = Path(root.address) / "older.parquet"
    parquet.write_file(parquet.conform(table, rows_of(CELLS, table.schema)), place, "things", version="0.9")
    ref = Ref("things", "older.parquet", "", 3, place.stat().st_size)
    left = pl.DataFrame(parquet.read(ref, root)).filter(pl.col("thing_id") != "y")
    rewritten = parquet.rewrite(ref, left, root)

    assert parquet.read(rewritten, root).schema.equals(parquet.read(ref, root).schema)
    assert parquet.read(rewritten, root)["thing_id"].to_pylist() == ["x", "z"]
    assert pq.read_metadata(rewritten.local(root)).metadata[b"tastegraph.schema_version"] == b"0.9"


@pytest.mark.parametrize("use", [parquet.read, parquet.scan])
def test_a_table_with_a_flipped_bit_is_not_read(root, use):
    ref = parquet.write(FAVORITES, ROWS, root)
    use(ref, root)
    flip(root, ref.path)
    with pytest.raises(DamagedError, match=rf"{ref.path}: damaged"):
        use(ref, root)


@pytest.mark.parametrize("swapped", [(), (0, 1), (2, 3), (4, 5)])
def test_a_frame_that_is_written_in_slices_gives_the_file_of_the_whole(root, monkeypatch, swapped):
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 3)
    order = list(range(8))
    if swapped:
        order[swapped[0]], order[swapped[1]] = swapped[1], swapped[0]
    rows = pl.DataFrame({"user_id": list("aaabbbcc"), "image_id": list("12345678"), "favorited_at": [None, *range(7)]})
    whole = parquet.write(FAVORITES, rows.to_arrow(), root)

    assert parquet.write(FAVORITES, rows[order], root) == whole
