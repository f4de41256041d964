"""Write and read tables as Parquet: immutable files, sorted by key; equal rows give equal bytes."""

from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.refs import Ref, store
from storage.roots import Root
from storage.tables.schema import SCHEMA_VERSION, Table

ROW_GROUP_ROWS = 131_072
NAME_KEY, VERSION_KEY = b"tastegraph.table", b"tastegraph.schema_version"  # in a file's metadata

Columns: TypeAlias = pa.Table | pl.DataFrame | Mapping[str, Any]


class SchemaError(ValueError):
    """Rows that do not match their table's schema."""


def conform(table: Table, columns: Columns) -> pa.Table:
    """The rows as an Arrow table with the table's columns and types, sorted by its key.

    Raises SchemaError for a missing column, a null in a column that needs a value, or a value of another type.
    """
    return in_order(_typed(table, columns), table.key).combine_chunks()


def _typed(table: Table, columns: Columns) -> pa.Table:
    rows = columns.to_arrow() if isinstance(columns, pl.DataFrame) else columns
    if not isinstance(rows, pa.Table):
        rows = pa.table(dict(rows))
    names = table.schema.names
    if missing := sorted(set(names) - set(rows.column_names)):
        raise SchemaError(
            f"{table.name}: no column {', '.join(missing)} (got {', '.join(rows.column_names)}); "
            f"docs/tables.md says what each column holds"
        )
    plain = pa.schema([pa.field(field.name, field.type, field.nullable) for field in table.schema])
    try:
        rows = rows.select(names).cast(plain)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise SchemaError(f"{table.name}: {error}; docs/tables.md says what each column holds") from error
    for field in plain:
        if not field.nullable and rows[field.name].null_count:
            raise SchemaError(
                f"{table.name}.{field.name}: {rows[field.name].null_count} of {len(rows)} values are missing"
            )
    return rows


def in_order(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """The rows sorted by their key; rows that are sorted already are not sorted again."""
    if is_sorted(rows, key):
        return rows
    return rows.take(pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in key]))


def is_sorted(rows: pa.Table, key: Sequence[str]) -> bool:
    """Whether rows are already sorted by their key: seven times as fast as sorting them again.

    Rows with equal keys count as unsorted; sorting keeps their order.
    """
    is_before: Any = None
    for name in reversed(key):
        current, following = rows[name][:-1], rows[name][1:]
        is_less = pc.less(current, following)
        is_before = is_less if is_before is None else pc.or_(is_less, pc.and_(pc.equal(current, following), is_before))
    return len(rows) < 2 or is_before is None or pc.all(is_before, skip_nulls=False).as_py() is True


def write(table: Table, columns: Columns, root: Root) -> Ref:
    """The ref of one immutable Parquet file with the rows. Equal rows give the same file, hence the same ref."""
    with root.workspace() as folder:
        file = folder / f"{table.name}.parquet"
        if isinstance(columns, pl.DataFrame) and len(columns) > ROW_GROUP_ROWS and _write_slices(table, columns, file):
            num_rows = len(columns)
        else:
            rows = conform(table, columns)
            num_rows = len(rows)
            write_file(rows, file, table.name)
        return store(file, f"tables/{table.name}", table.name, num_rows, root)


def _write_slices(table: Table, rows: pl.DataFrame, file: Path) -> bool:
    """Whether the rows, in order already, could be written without a second copy of them in memory."""
    with ExitStack() as stack:
        writer = None
        for first in range(0, len(rows), ROW_GROUP_ROWS):
            typed = _typed(table, rows[first : first + ROW_GROUP_ROWS + 1])
            if not is_sorted(typed, table.key):
                return False
            writer = writer or stack.enter_context(_writer(typed.schema, file, table.name))
            writer.write_table(typed[:ROW_GROUP_ROWS].combine_chunks(), ROW_GROUP_ROWS)
    return True


def rewrite(ref: Ref, rows: pl.DataFrame, root: Root) -> Ref:
    """The ref of a file with other rows in a table's schema.

    Columns, types and schema version are those of the file that `ref` names, which an older or newer version of this
    code may have written; rows keep their order. Equal rows give the same ref.
    """
    metadata = pq.read_metadata(ref.local(root)).metadata
    # The types as they were written: Parquet itself has no seconds, so a reader finds milliseconds.
    schema = pa.ipc.read_schema(pa.BufferReader(b64decode(metadata[b"ARROW:schema"]))).remove_metadata()
    with root.workspace() as folder:
        file = folder / f"{ref.name}.parquet"
        written = rows.to_arrow().select(schema.names).cast(schema).combine_chunks()
        write_file(written, file, ref.name, metadata[VERSION_KEY].decode())
        return store(file, f"tables/{ref.name}", ref.name, rows.height, root)


def write_file(rows: pa.Table, file: Path, name: str, version: str = SCHEMA_VERSION) -> None:
    """Write rows to a local Parquet file, its table's name and schema version in the metadata."""
    with _writer(rows.schema, file, name, version) as writer:
        writer.write_table(rows, ROW_GROUP_ROWS)


def _writer(schema: pa.Schema, file: Path, name: str, version: str = SCHEMA_VERSION) -> pq.ParquetWriter:
    metadata = {NAME_KEY: name.encode(), VERSION_KEY: version.encode()}
    columns = [_column(field) for field in schema]
    return pq.ParquetWriter(
        file,
        schema.with_metadata(metadata),
        # Floats are neither compressed nor dictionary-encoded: they seldom repeat, and trying takes four times as long
        # as writing, to save a tenth of the space.
        compression={path: "none" if is_float else "zstd" for path, is_float in columns},
        use_dictionary=[path for path, is_float in columns if not is_float],
        store_schema=True,
    )


def _column(field: pa.Field) -> tuple[str, bool]:
    """The column's path in a Parquet file, and whether it holds floats."""
    is_list = pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)
    value = field.type.value_type if is_list else field.type
    return f"{field.name}.list.element" if is_list else field.name, pa.types.is_floating(value)


def read(ref: Ref, root: Root, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a table, or some of its columns."""
    # The file is mapped, so reading ahead only costs; and pq.read_table costs twice as much for small files.
    with pq.ParquetFile(ref.local(root), memory_map=True, pre_buffer=False) as file:
        return file.read(columns).select(columns) if columns else file.read()


def scan(ref: Ref, root: Root) -> pl.LazyFrame:
    """The rows of a table, lazily."""
    return pl.scan_parquet(ref.local(root), glob=False)


def scan_all(refs: Iterable[Ref], root: Root) -> pl.LazyFrame:
    """The rows of a table's files, one after the other, lazily; at least one file."""
    return pl.concat([scan(ref, root) for ref in refs])
