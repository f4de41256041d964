"""Read a table file: Parquet, CSV or JSON lines, with the rows that cannot be parsed listed separately.

A fast reader reads valid files. If it fails, or if the result looks as if a quote was never closed, a careful reader
reads the file again record by record, so that a broken row loses no other row.
"""

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

CHUNK_BYTES = 1 << 24
CHUNK_ROWS = 1 << 16
RECORD_LINES = 1000  # a quoted value of more lines counts as a quote that was never closed
SHOWN_CHARACTERS = 200  # of a bad value

Record: TypeAlias = tuple[Sequence[str | None] | None, str]  # the cells, or None if broken, and the line


@dataclass(frozen=True)
class Reading:
    """A file's data rows: `row` (counted from 0) and the known columns, with the file's types."""

    rows: pl.LazyFrame
    columns: list[str]  # every column of the file, known or not
    broken: list[tuple[int, str]]  # row number and text of each row that cannot be parsed


def read(file: Path, known: Sequence[str]) -> Reading:
    """The rows of NAME.parquet, NAME.csv (all text) or NAME.jsonl.

    Raises ValueError, OSError, ArrowException or PolarsError if no row of the file can be read.
    """
    return {".parquet": _read_parquet, ".csv": _read_csv, ".jsonl": _read_jsonl}[file.suffix](file, known)


def _read_parquet(file: Path, known: Sequence[str]) -> Reading:
    # By Arrow: polars 2.1 aborts the process on some damaged pages, whose lengths it trusts.
    with pq.ParquetFile(file, memory_map=True, page_checksum_verification=True) as parquet:
        columns = parquet.schema_arrow.names
        table = parquet.read([name for name in known if name in columns])
    table.validate(full=True)
    return Reading(_numbered(_frame(table)), columns, [])


def _read_csv(file: Path, known: Sequence[str]) -> Reading:
    records = _csv_records(file)
    columns = [name or "" for name in next(records, (None, ""))[0] or ()]
    if not columns:
        raise ValueError("there is no header line; the first line names the columns")
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ValueError(f"the header names {', '.join(twice)} twice; name every column once")
    wanted = [name for name in known if name in columns]
    table = _fast_csv(file, columns, wanted)
    if table is not None:
        return Reading(_numbered(_frame(table)), columns, [])
    places = [columns.index(name) for name in wanted]
    cells: Iterator[Record] = (
        ([values[place] for place in places] if values and len(values) == len(columns) else None, line)
        for values, line in records
    )
    rows, broken = _assemble(cells, wanted)
    return Reading(rows, columns, broken)


def _read_jsonl(file: Path, known: Sequence[str]) -> Reading:
    try:
        scan = pl.scan_ndjson(file, infer_schema_length=None)
        schema = scan.collect_schema()
        wanted = [name for name in known if name in schema]
        # Other types (float, list, bool) mean mixed cells that polars would cast to one type; see below.
        if wanted and all(schema[name] in (pl.Int64, pl.String, pl.Null) for name in wanted):
            frame = scan.select(wanted).collect()
            # polars turns a list, a decimal or half a surrogate pair among strings into text of this form
            odd = frame.select(pl.any_horizontal(False, pl.col(pl.String).str.contains(r"^[\[{]|\.0+$|\x00").any()))
            if not odd.item():
                return Reading(_numbered(frame.lazy()), schema.names(), [])
    except pl.exceptions.PolarsError:
        pass  # a broken line; the careful reader finds it
    columns: dict[str, None] = {}
    rows, broken = _assemble(_json_records(file, known, columns), known)
    found = list(columns) or list(known)  # a file without rows counts as having every column
    return Reading(rows.select("row", *(name for name in known if name in found)), found, broken)


def _frame(table: pa.Table) -> pl.LazyFrame:
    frame = pl.from_arrow(table.replace_schema_metadata(None))
    assert isinstance(frame, pl.DataFrame)
    return frame.lazy()


def _numbered(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.with_row_index("row")


def _fast_csv(file: Path, columns: list[str], wanted: list[str]) -> pa.Table | None:
    """The wanted columns as text; None if a row is ragged or not UTF-8, or if a value spans several lines."""
    if _has_open_quote(file):
        return None
    batches = []
    try:
        reader = pacsv.open_csv(
            file,
            pacsv.ReadOptions(block_size=CHUNK_BYTES),
            pacsv.ParseOptions(newlines_in_values=True),
            pacsv.ConvertOptions(column_types={name: pa.string() for name in columns}),
        )
        for batch in reader:
            # A line end in a value may also mean a quote that was never closed, in any column.
            for column, line_end in ((column, end) for column in batch.columns for end in "\n\r"):
                if pc.any(pc.match_substring(column, line_end)).as_py():
                    return None
            batches.append(batch.select(wanted))
    except pa.ArrowInvalid:
        return None
    return pa.Table.from_batches(batches, pa.schema([(name, pa.string()) for name in wanted]))


def _has_open_quote(file: Path) -> bool:
    with file.open("rb") as stream:
        return sum(chunk.count(b'"') for chunk in iter(lambda: stream.read(CHUNK_BYTES), b"")) % 2 == 1


def _csv_records(file: Path) -> Iterator[Record]:
    """The file's records, header first; of a record with invalid quoting only the first line is lost."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        lines: deque[str] = deque()
        while lines or (lines := deque(islice(stream, 1))):
            lines.extend(islice(stream, RECORD_LINES - len(lines)))
            reader = csv.reader(lines, strict=True)
            line, values = lines[0], None
            try:
                values = next(reader)
                used = reader.line_num
            except csv.Error:
                used = 1
            for _ in range(used):
                lines.popleft()
            if values != []:  # an empty line is not a row
                yield values, line


def _json_records(file: Path, known: Sequence[str], columns: dict[str, None]) -> Iterator[Record]:
    """The known cells of each line as text; adds the names found to `columns`."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
        for line in stream:
            if not line.strip():
                continue
            try:
                record = json.loads(line, parse_int=str, parse_float=_decimal, parse_constant=_refuse)
                columns.update(dict.fromkeys(record))
                yield [_cell(record.get(name)) for name in known], line
            except (
                ValueError,
                TypeError,
                AttributeError,
                RecursionError,
            ):  # not JSON, not an object, or a list in a cell
                yield None, line


def _cell(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"a cell holds {type(value).__name__}, not text or a number")


def _decimal(text: str) -> str:
    number = float(text)
    return str(int(number)) if number.is_integer() else text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _assemble(records: Iterable[Record], columns: Sequence[str]) -> tuple[pl.LazyFrame, list[tuple[int, str]]]:
    """The records as numbered rows of text, and the broken ones."""
    schema = {"row": pl.UInt32, **dict.fromkeys(columns, pl.String)}
    frames, broken = [pl.DataFrame(schema=schema)], []
    chunk: list[tuple[int | str | None, ...]] = []
    for row, (values, line) in enumerate(records):
        if values is None or not _is_text(values):
            broken.append((row, line.rstrip("\r\n")[:SHOWN_CHARACTERS].encode(errors="replace").decode()))
            continue
        chunk.append((row, *values))
        if len(chunk) == CHUNK_ROWS:
            frames.append(pl.DataFrame(chunk, schema, orient="row"))
            chunk = []
    frames.append(pl.DataFrame(chunk, schema, orient="row"))
    return pl.concat(frames).lazy(), broken


def _is_text(values: Sequence[str | None]) -> bool:
    """Whether the cells are valid UTF-8; invalid bytes were decoded to surrogates."""
    try:
        "".join(value for value in values if value).encode()
    except UnicodeEncodeError:
        return False
    return True
