"""Rows of CSV files: by Arrow as long as a file is valid, record by record from there on."""

import codecs
import csv
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv

from storage.sources.reading.encodings import CHUNK_BYTES
from storage.sources.reading.found import SHOWN_CHARACTERS, Reading, Record, UnfitFileError, assemble, numbered, shown

RECORD_LINES = 1000  # a quoted value of more lines counts as a quote that was never closed
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def read_csv(file: Path, known: Sequence[str], found: Reading) -> Iterator[pl.DataFrame]:
    delimiter = _delimiter(file, known)
    if delimiter != ",":
        found.notes.append(f"read with {DELIMITERS[delimiter]} between the cells")
    records = _csv_records(file, delimiter)
    names, line = next(records, ([], ""))
    if names is None:
        raise UnfitFileError(
            f"its header line cannot be parsed: {shown(line.strip()[:SHOWN_CHARACTERS])}; "
            f"a quote must stand at the very beginning and end of a cell"
        )
    header = [name or "" for name in names]
    columns = [shown(name).strip() for name in header]
    if not columns:
        raise UnfitFileError("there is no header line; the first line names the columns")
    if columns[0].lower().startswith("sep="):
        raise UnfitFileError(
            "its first line is Excel's sep=; take it out: the header line says what stands between cells"
        )
    found.columns = columns
    wanted = [name for name in known if name in columns]
    if twice := [name for name in wanted if columns.count(name) > 1]:
        raise UnfitFileError(f"the header names {', '.join(twice)} twice; name every column once")
    places = [columns.index(name) for name in wanted]
    rows: int | None = 0
    if wanted and not _is_oddly_quoted(file, delimiter):
        rows = yield from _fast_csv(file, [header[place] for place in places], wanted, delimiter)
    if rows is None:
        return
    cells: Iterator[Record] = (
        ([values[place] for place in places] if values and _fits(values, len(columns)) else None, line)
        for values, line in islice(records, rows, None)
    )
    yield from assemble(cells, wanted, found, rows)


def _fits(values: Sequence[str | None], num_columns: int) -> bool:
    """Whether a row has a cell for each column; delimiters at its end, with nothing after them, do not count."""
    return len(values) >= num_columns and not any(values[num_columns:])


def _delimiter(file: Path, known: Sequence[str]) -> str:
    """What stands between the cells: that which makes most known columns of the header, else most columns."""

    def columns(delimiter: str) -> tuple[int, int]:
        header = next(_csv_records(file, delimiter), (None, ""))[0] or ()
        return len({(name or "").strip() for name in header} & set(known)), len(header)

    return max(DELIMITERS, key=columns)


def _fast_csv(
    file: Path, headers: Sequence[str], names: Sequence[str], delimiter: str
) -> Generator[pl.DataFrame, None, int | None]:
    """Chunks of these columns, under other names, until a row is ragged or not UTF-8.

    Returns how many rows it read where it ended so, and None where it read all.
    """
    rows = 0
    try:
        reader = pacsv.open_csv(
            file,
            pacsv.ReadOptions(block_size=CHUNK_BYTES),
            pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pacsv.ConvertOptions(column_types=dict.fromkeys(headers, pa.string()), include_columns=headers),
        )
        while batch := next(reader, None):
            yield numbered(batch.rename_columns(names), rows)
            rows += len(batch)
    except (pa.ArrowInvalid, UnicodeError, KeyError):  # UnicodeError for a header that is not UTF-8
        return rows
    return None if rows else 0


def _is_oddly_quoted(file: Path, delimiter: str) -> bool:
    r"""Whether Arrow, which forgives much, could read the quotes otherwise than RFC 4180 means them.

    So it is with a quote within a cell that is not doubled, such as \", with one that is never closed, and with a line
    end between quotes, which may be a quote that was closed too late.
    """
    frames = np.zeros(256, bool)  # what may stand before a quote that opens a cell, and after one that closes it
    frames[list(f'{delimiter}"\r\n'.encode())] = True
    before, num_quotes, is_open_end = ord("\n"), 0, False
    with file.open("rb") as stream:
        if stream.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            stream.seek(0)
        while chunk := stream.read(CHUNK_BYTES):
            if not num_quotes and b'"' not in chunk:
                before = chunk[-1]
                continue
            content = np.frombuffer(chunk, np.uint8)
            is_quote = content == ord('"')
            places = np.flatnonzero(is_quote)
            is_opening = (np.arange(len(places)) + num_quotes) % 2 == 0
            previous = np.concatenate([np.array([before], np.uint8), content])[places[is_opening]]
            if not frames[previous].all():
                return True
            closing = places[~is_opening]
            following = closing + 1
            if is_open_end and not frames[content[0]]:  # the last chunk ended in a closing quote
                return True
            if not frames[content[following[following < len(content)]]].all():
                return True
            is_open_end = bool(len(closing)) and int(closing[-1]) == len(content) - 1
            line_ends = np.flatnonzero((content == ord("\n")) | (content == ord("\r")))
            if ((np.searchsorted(places, line_ends) + num_quotes) % 2).any():
                return True
            before, num_quotes = chunk[-1], num_quotes + len(places)
    return num_quotes % 2 == 1


def _csv_records(file: Path, delimiter: str) -> Iterator[Record]:
    """The file's records, header first; of a record with invalid quoting only the first line is lost."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        lines: deque[str] = deque()
        while lines or (lines := deque(islice(stream, 1))):
            lines.extend(islice(stream, RECORD_LINES - len(lines)))
            reader = csv.reader(lines, strict=True, delimiter=delimiter)
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
