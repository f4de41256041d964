"""Read a table file in chunks: Parquet, CSV or JSON, with the rows that cannot be parsed listed separately.

Text is UTF-8, also compressed by gzip or zstd; what a file is instead is said. Nothing is read that would not fit.

A fast reader reads valid files. Where it fails, or where quotes look as if one was never closed, a careful reader
reads the rest of the file record by record, so that a broken row loses no other row.
"""

import codecs
import csv
import json
import mmap
import re
import tempfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from storage.settings.reading import TableLimits

CHUNK_BYTES = 1 << 23
CHUNK_ROWS = 1 << 18
RECORD_LINES = 1000  # a quoted value of more lines counts as a quote that was never closed
VIEW_BYTES = 16  # of a text's place in polars' memory, beside the text
SEPARATORS = re.compile(r"[\s,]*")  # between the elements of a JSON array
MOST_DIGITS = 400  # of a number that is spelled out; 1e999999999 would fill the memory
SHOWN_CHARACTERS = 200  # of a bad value
CSV, JSON = (".csv", ".tsv"), (".jsonl", ".ndjson", ".json")
SUFFIXES = (".parquet", *(form + packed for packed in ("", ".gz", ".zst") for form in (*CSV, *JSON)))
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8}  # bytes of a value of Parquet
BEGINNINGS = {  # of files that are no text, and what they are
    b"\x1f\x8b": "gzip; end its name in .gz, or unpack it",
    b"\x28\xb5\x2f\xfd": "zstd; end its name in .zst, or unpack it",
    b"PK\x03\x04": "a zip archive or an Excel workbook; export the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; export the sheet as CSV UTF-8",
    b"PAR1": "Parquet; end its name in .parquet",
    b"BZh": "bzip2; unpack it",
    b"\xfd7zXZ\0": "xz; unpack it",
}

ROUNDED = r"^-?\d{16}"  # and so, a number that JSON writes with a point or exponent and more digits than a float has
LEVELED = r"^[\[{]|^-?\d+(\.\d+([eE][-+]?\d+)?|[eE][-+]?\d+)$|^-?\d{38,}$|\x00"

MARKS = {  # of texts that say in which encoding they are; the longer ones first
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

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


def suffix_of(name: str) -> str:
    """How the name of a table's file ends, as one of SUFFIXES. Raises ValueError for any other."""
    found = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    if found is None:
        raise ValueError(f"{name}: rows are read from {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    return found


def read(file: Path, known: Sequence[str], limits: TableLimits) -> Reading:
    """The rows of a file whose name ends in one of SUFFIXES; those of CSV as text.

    Raises ValueError, OSError, ArrowException or PolarsError, also while chunks are taken, if the file cannot be read,
    or has more rows than the limits allow.
    """
    found = Reading()
    chunks = _chunks(file, known, limits, found)
    found.chunks = chain([next(chunks)], chunks)  # the first one now, as it brings the columns
    return found


def _chunks(file: Path, known: Sequence[str], limits: TableLimits, found: Reading) -> Iterator[pl.DataFrame]:
    suffix, rows = suffix_of(file.name), 0
    with ExitStack() as stack:
        if suffix == ".parquet":
            chunks = _read_parquet(file, known, limits, found)
        else:
            unpacked = stack.enter_context(_unpacked(file, suffix, limits))
            text, notes = stack.enter_context(_as_utf8(unpacked, limits))
            _refuse_no_text(text)
            found.notes += notes
            if suffix.startswith(CSV):
                chunks = _read_csv(text, known, found)
            else:
                chunks = _read_json(stack.enter_context(_as_lines(text, found)), known, found)
        for chunk in chunks:
            rows += len(chunk)
            if rows + len(found.broken) > limits.max_rows:
                raise UnfitFileError(too_many(limits))
            yield chunk
        pa.default_memory_pool().release_unused()


@contextmanager
def _unpacked(file: Path, suffix: str, limits: TableLimits) -> Iterator[Path]:
    """The file, or its content unpacked in a temporary one."""
    compression = {"gz": "gzip", "zst": "zstd"}.get(suffix.rpartition(".")[2])
    if compression is None:
        yield file
        return
    with tempfile.TemporaryDirectory() as folder, pa.input_stream(str(file), compression=compression) as stream:
        unpacked, size = Path(folder, "text"), 0
        with unpacked.open("wb") as target:
            while chunk := stream.read(CHUNK_BYTES):
                size += target.write(chunk)
                if size > limits.max_bytes:
                    raise UnfitFileError(f"unpacked it has more than ingest.max_bytes = {limits.max_bytes:,} bytes")
        yield unpacked


@contextmanager
def _as_utf8(file: Path, limits: TableLimits) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The file if it is UTF-8, or nobody knows what it is; else its text in a temporary one, with a note."""
    begin = _beginning(file)
    encoding = next((name for mark, name in MARKS.items() if begin.startswith(mark)), None)
    note = f"read as {encoding}, by its byte order mark"
    if encoding is None and codecs.lookup(limits.encoding).name != "utf-8" and not _is_encoded(file, "utf-8"):
        encoding, note = limits.encoding, f"read as {limits.encoding}, as ingest.encoding says"
    if encoding is None:
        yield file, ()
        return
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text")
        try:
            with text.open("wb") as target:
                for part in _decoded(file, encoding):
                    target.write(part.encode())
        except UnicodeError as error:
            raise UnfitFileError(f"it is not {encoding} throughout; save it as UTF-8") from error
        yield text, (note,)


def _is_encoded(file: Path, encoding: str) -> bool:
    try:
        for _ in _decoded(file, encoding):
            pass
    except UnicodeError:
        return False
    return True


def _decoded(file: Path, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def _refuse_no_text(file: Path) -> None:
    """Raises ValueError, saying what the file is, unless it begins like a table in text."""
    if what := _what_it_is(_beginning(file)):
        raise UnfitFileError(what)


def _beginning(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(4096)


def _what_it_is(begin: bytes) -> str | None:
    """What a file is that begins so and is no text in UTF-8, for a sentence; None for such text."""
    for magic, what in BEGINNINGS.items():
        if begin.startswith(magic):
            return f"it is not UTF-8 but {what}"
    if begin.count(b"\0") > len(begin) // 4:
        return "it is not UTF-8: it has many zero bytes, as text in UTF-16; save it as UTF-8"
    if begin.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a page of HTML or XML, not a table; a download may have ended in an error page"
    return None


def _read_parquet(file: Path, known: Sequence[str], limits: TableLimits, found: Reading) -> Iterator[pl.DataFrame]:
    # By Arrow: polars 2.1 aborts the process on some damaged pages, whose lengths it trusts. Times of the type INT96
    # in microseconds: nanoseconds wrap around before 1677 and after 2262, without a word.
    if (begin := _beginning(file))[:4] != b"PAR1":
        text = "it looks like text; end its name in .csv or .jsonl" if begin.isascii() and begin.strip() else ""
        what = _what_it_is(begin) or text or "it does not begin as one"
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
            yield _numbered(table, first)
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


def too_many(limits: TableLimits, rows: int | None = None) -> str:
    """That a table has too many rows, and what to do."""
    rows_found = f"{rows:,}" if rows else f"more than {limits.max_rows:,}"
    return f"it has {rows_found} rows, and ingest.max_rows is {limits.max_rows:,}; raise it if the file is right"


def _read_csv(file: Path, known: Sequence[str], found: Reading) -> Iterator[pl.DataFrame]:
    delimiter = _delimiter(file, known)
    if delimiter != ",":
        found.notes.append(f"read with {DELIMITERS[delimiter]} between the cells")
    records = _csv_records(file, delimiter)
    header = [name or "" for name in next(records, (None, ""))[0] or ()]
    columns = [_shown(name).strip() for name in header]
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
    yield from _assemble(cells, wanted, found, rows)


def _fits(values: Sequence[str | None], num_columns: int) -> bool:
    """Whether a row has a cell for each column; delimiters at its end, with nothing after them, do not count."""
    return len(values) >= num_columns and not any(values[num_columns:])


def _delimiter(file: Path, known: Sequence[str]) -> str:
    """What stands between the cells: that which makes most known columns of the header; a comma where none does."""
    headers = {delimiter: next(_csv_records(file, delimiter), (None, ""))[0] or () for delimiter in DELIMITERS}
    return max(DELIMITERS, key=lambda one: len({(name or "").strip() for name in headers[one]} & set(known)))


@contextmanager
def _as_lines(file: Path, found: Reading) -> Iterator[Path]:
    """The file, or where it is one JSON array, its elements as the lines of a temporary file."""
    if not re.match(rb"(\xef\xbb\xbf)?\s*\[\s*[{\]]", _beginning(file)):
        yield file
        return
    found.notes.append("read as one JSON array")
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder, "lines")
        with lines.open("w", encoding="utf-8", errors="surrogateescape", newline="") as target:
            target.writelines(_elements(file.read_text(encoding="utf-8-sig", errors="surrogateescape")))
        yield lines


def _elements(text: str) -> Iterator[str]:
    """The elements of a JSON array as lines; what follows a broken one, or the array, as one line."""
    decoder, place = json.JSONDecoder(), text.index("[") + 1
    while place < len(text):
        begin = SEPARATORS.match(text, place).end()  # type: ignore[union-attr]  # it fits nothing, too
        if text[begin : begin + 1] == "]" and not text[begin + 1 :].strip():
            return
        try:
            _, place = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError):
            place = len(text)
        yield re.sub(r"[\r\n]", " ", text[begin:place]) + "\n"


def _read_json(file: Path, known: Sequence[str], found: Reading) -> Iterator[pl.DataFrame]:
    try:
        scan = pl.scan_ndjson(_as_pattern(file), infer_schema_length=None)
        schema = scan.collect_schema()
        wanted = [name for name in known if name in schema]
        # Other types (float, list, bool) mean mixed cells that polars would cast to one type; see below.
        if wanted and all(schema[name] in (pl.Int64, pl.String, pl.Null) for name in wanted):
            frame = scan.select(wanted).collect()
            # polars turns a list, a number or half a surrogate pair among strings into text of this form
            odd, long = (
                frame.select(pl.any_horizontal(False, pl.col(pl.String).str.contains(pattern).any())).item()
                for pattern in (LEVELED, ROUNDED)
            )
            if not odd and not (long and _has_fraction(file)):
                found.columns = schema.names()
                numbered = frame.with_row_index("row")
                yield from (numbered[first : first + CHUNK_ROWS] for first in range(0, len(frame) or 1, CHUNK_ROWS))
                return
    except pl.exceptions.PolarsError:
        pass  # a broken line; the careful reader finds it
    found.is_headed = False
    columns: dict[str, None] = {}
    for chunk in _assemble(_json_records(file, known, columns), known, found):
        found.columns = [_shown(name) for name in columns] or list(known)  # without rows it counts as having all
        yield chunk
    found.columns = [_shown(name) for name in columns] or list(known)


def _has_fraction(file: Path) -> bool:
    """Whether a number in a JSON file may be written with a point or an exponent."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return re.search(rb":\s*-?\d+[.eE]", content) is not None


def _shown(text: str) -> str:
    """Text as it is shown; bytes in it that are not UTF-8, and were decoded to surrogates, as escapes."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _as_pattern(file: Path) -> str:
    """A pattern that fits this file alone, for readers that take every path for a pattern."""
    return re.sub(r"([\[*?])", r"[\1]", str(file))


def _numbered(table: pa.Table | pa.RecordBatch, first: int) -> pl.DataFrame:
    if isinstance(table, pa.Table):
        table = table.replace_schema_metadata(None)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.with_row_index("row", first)


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
            yield _numbered(batch.rename_columns(names), rows)
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


def _json_records(file: Path, known: Sequence[str], columns: dict[str, None]) -> Iterator[Record]:
    """The known cells of each line as text; adds the names found to `columns`."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
        for line in stream:
            if not line.strip():
                continue
            try:
                record = json.loads(line, parse_int=_integer, parse_float=_decimal, parse_constant=_refuse)
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


def _integer(text: str) -> str:
    return "0" if text == "-0" else text


def _decimal(text: str) -> str:
    """The number with all its digits, one spelling for each value: 1e3 is 1000, 1.50 is 1.5."""
    number = Decimal(text)
    if abs(number.adjusted()) > MOST_DIGITS:
        return text
    spelled = format(number, "f")
    return _integer(spelled.rstrip("0").rstrip(".") if "." in spelled else spelled)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _assemble(
    records: Iterable[Record], columns: Sequence[str], found: Reading, first: int = 0
) -> Iterator[pl.DataFrame]:
    """The records as numbered rows of text; adds those that are broken to what was found."""
    schema = {"row": pl.UInt32, **dict.fromkeys(columns, pl.String)}
    chunk: list[tuple[int | str | None, ...]] = []
    for row, (values, line) in enumerate(records, first):
        if values is None or not _is_text(values):
            found.not_utf8 += not _is_text([line])
            found.broken.append((row, _shown(line.rstrip("\r\n")[:SHOWN_CHARACTERS])))
            continue
        chunk.append((row, *values))
        if len(chunk) == CHUNK_ROWS:
            yield pl.DataFrame(chunk, schema, orient="row")
            chunk = []
    yield pl.DataFrame(chunk, schema, orient="row")


def _is_text(values: Sequence[str | None]) -> bool:
    """Whether the cells are valid UTF-8; invalid bytes were decoded to surrogates."""
    try:
        "".join(value for value in values if value).encode()
    except UnicodeEncodeError:
        return False
    return True
