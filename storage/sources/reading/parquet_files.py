"""Rows of Parquet files, within the limits on rows and memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.settings.reading import TableLimits
from storage.sources.reading.encodings import beginning, what_it_is
from storage.sources.reading.found import CHUNK_ROWS, Reading, UnfitFileError, numbered, too_many

WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8}  # bytes of a value of Parquet
VIEW_BYTES = 16  # of a text's place in polars' memory, beside the text


def read_parquet(file: Path, known: Sequence[str], limits: TableLimits, found: Reading) -> Iterator[pl.DataFrame]:
    # By Arrow: polars 2.1 aborts the process on some damaged pages, whose lengths it trusts. Times of the type INT96
    # in microseconds: nanoseconds wrap around before 1677 and after 2262, without a word.
    if (begin := beginning(file))[:4] != b"PAR1":
        text = "it looks like text; end its name in .csv or .jsonl" if begin.isascii() and begin.strip() else ""
        what = what_it_is(begin) or text or "it does not begin as one"
        raise UnfitFileError(f"it is no Parquet file: {what}")
    how = {"memory_map": True, "page_checksum_verification": True, "coerce_int96_timestamp_unit": "us"}
    with pq.ParquetFile(file, **how) as parquet:
        found.columns = parquet.schema_arrow.names
        wanted = [name for name in known if name in found.columns]
        _refuse_too_large(file, parquet.metadata, wanted, limits)
        nothing = pa.schema([parquet.schema_arrow.field(name) for name in wanted]).empty_table()
        batches = parquet.iter_batches(CHUNK_ROWS, columns=wanted)
        tables = (pa.Table.from_batches([batch]) for batch in batches) if parquet.metadata.num_rows else [nothing]
        first = 0
        for table in tables:
            table.validate()
            for place, name in enumerate(wanted):
                table = table.set_column(place, name, _readable(table.column(name), name, first))
            yield numbered(table, first)
            first += len(table)


def _readable(column: pa.ChunkedArray, name: str, first: int) -> pa.ChunkedArray:
    """A Parquet column as polars takes it, without a change of any value. Raises UnfitFileError where there is none.

    `first` is the row of its first value.
    """
    type_ = column.type
    if isinstance(type_, pa.UuidType):
        hexed = pl.Series(values=column.cast(pa.binary(16)), dtype=pl.Binary).bin.encode("hex")
        parts = [hexed.str.slice(start, length) for start, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
        return pa.chunked_array([pl.select(pl.concat_str(parts, separator="-")).to_series().to_arrow()])
    if pa.types.is_decimal256(type_):  # polars knows 38 digits
        text = pc.replace_substring_regex(column.cast(pa.string()), r"(\.\d*?)0+$", r"\1")
        return pc.replace_substring_regex(text, r"\.$", "")
    if pa.types.is_duration(type_):
        return pc.binary_join_element_wise(column.cast(pa.int64()).cast(pa.string()), type_.unit, " ")
    is_text = pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    is_bytes = pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_)
    if pa.types.is_fixed_size_binary(type_):
        raise UnfitFileError(f"column {name} holds {type_.byte_width} bytes a row, not text; write it as text")
    try:
        column.validate(full=True)
        if is_bytes:  # as Impala and old versions of Spark write text
            return column.cast(pa.large_string())
    except pa.ArrowException as error:
        if not (is_text or is_bytes):
            raise
        row = _first_not_utf8(column)
        held = column[row].cast(pa.binary()).as_py()[:40]
        raise UnfitFileError(
            f"column {name} is not UTF-8 in row {first + row}, where it holds {held!r}; write it as text in UTF-8"
        ) from error
    return column


def _first_not_utf8(column: pa.ChunkedArray) -> int:
    for row, value in enumerate(column.cast(pa.binary())):
        try:
            (value.as_py() or b"").decode()
        except UnicodeDecodeError:
            return row
    raise AssertionError("every value is UTF-8")


def _refuse_too_large(file: Path, content: pq.FileMetaData, wanted: Sequence[str], limits: TableLimits) -> None:
    """Raises ValueError if these columns have too many rows, or may fill the memory: equal values take no space."""
    if content.num_rows > limits.max_rows:
        raise UnfitFileError(too_many(limits, content.num_rows))
    size, columns = 0, [content.schema.column(place) for place in range(content.num_columns)]
    texts = [one.path for one in columns if one.path in wanted and one.physical_type == "BYTE_ARRAY"]
    with pq.ParquetFile(file, memory_map=True, read_dictionary=texts) as parquet:
        for group in range(content.num_row_groups):
            for place in range(content.num_columns):
                column = content.row_group(group).column(place)
                if (name := column.path_in_schema.partition(".")[0]) not in wanted:
                    continue
                # Pages that name a value of the dictionary for each row hold little and unpack to much.
                size += column.total_uncompressed_size + column.num_values * WIDTHS.get(
                    column.physical_type, VIEW_BYTES
                )
                if name in texts:
                    most = column.num_values * _longest(parquet, group, name)
                    size += most if most <= limits.max_bytes // 16 else _text_bytes(parquet, group, name)
    if size > limits.max_bytes:
        raise UnfitFileError(
            f"its {content.num_rows:,} rows may take {size:,} bytes in memory, and ingest.max_bytes is "
            f"{limits.max_bytes:,}; raise it if the file is right and the memory is there"
        )


def _longest(parquet: pq.ParquetFile, group: int, name: str) -> int:
    """The bytes of the longest value in a column's dictionary, which its first row brings along; 0 without one."""
    batch = next(parquet.iter_batches(1, row_groups=[group], columns=[name], use_threads=False), None)
    column = batch.column(0) if batch is not None else None
    if not isinstance(column, pa.DictionaryArray) or not len(column.dictionary):
        return 0
    return int(pc.max(pc.binary_length(column.dictionary)).as_py() or 0)


def _text_bytes(parquet: pq.ParquetFile, group: int, name: str) -> int:
    """The bytes of a column's values, counted without unpacking them; slower than reading them where few are equal."""
    total = 0
    for batch in parquet.iter_batches(CHUNK_ROWS, row_groups=[group], columns=[name], use_threads=False):
        column = batch.column(0)
        lengths = pc.binary_length(column.dictionary).cast(pa.int64())
        total += pc.sum(lengths.take(column.indices)).as_py() or 0
    return total
