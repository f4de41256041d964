"""What is found out about a table file while it is read, and its rows as they are handed on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import polars as pl
import pyarrow as pa

from storage.settings.reading import TableLimits

CHUNK_ROWS = 1 << 18
SHOWN_CHARACTERS = 200  # of a bad value
Record: TypeAlias = tuple[Sequence[str | None] | None, str]  # the cells, or None if broken, and the line


class UnfitFileError(ValueError):
    """A file that is no table of ours, or too large; the message says what to do."""


@dataclass
class Reading:
    """A file's data rows in chunks, and what was found out about the file: complete once all chunks are taken."""

    chunks: Iterator[pl.DataFrame] = field(init=False)  # `row`, from 0, and the known columns; at least one chunk
    columns: list[str] = field(default_factory=list)  # every column of the file, known or not
    is_headed: bool = True  # whether the columns are complete from the first chunk on
    broken: list[tuple[int, str]] = field(default_factory=list)  # row number and text of rows that cannot be parsed
    not_utf8: int = 0  # so many of these hold bytes that are not UTF-8
    notes: list[str] = field(default_factory=list)  # what was found out about how the file is written


def too_many(limits: TableLimits, rows: int | None = None) -> str:
    """That a table has too many rows, and what to do."""
    rows_found = f"{rows:,}" if rows else f"more than {limits.max_rows:,}"
    return f"it has {rows_found} rows, and ingest.max_rows is {limits.max_rows:,}; raise it if the file is right"


def numbered(table: pa.Table | pa.RecordBatch, first: int) -> pl.DataFrame:
    if isinstance(table, pa.Table):
        table = table.replace_schema_metadata(None)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.with_row_index("row", first)


def assemble(
    records: Iterable[Record], columns: Sequence[str], found: Reading, first: int = 0
) -> Iterator[pl.DataFrame]:
    """The records as numbered rows of text; adds those that are broken to what was found."""
    schema = {"row": pl.UInt32, **dict.fromkeys(columns, pl.String)}
    chunk: list[tuple[int | str | None, ...]] = []
    for row, (values, line) in enumerate(records, first):
        if values is None or not _is_text(values):
            found.not_utf8 += not _is_text([line])
            found.broken.append((row, shown(line.rstrip("\r\n")[:SHOWN_CHARACTERS])))
            continue
        chunk.append((row, *values))
        if len(chunk) == CHUNK_ROWS:
            yield pl.DataFrame(chunk, schema, orient="row")
            chunk = []
    yield pl.DataFrame(chunk, schema, orient="row")


def shown(text: str) -> str:
    """Text as it is shown; bytes in it that are not UTF-8, and were decoded to surrogates, as escapes."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _is_text(values: Sequence[str | None]) -> bool:
    """Whether the cells are valid UTF-8; invalid bytes were decoded to surrogates."""
    try:
        "".join(value for value in values if value).encode()
    except UnicodeEncodeError:
        return False
    return True
