"""Read the text files of a download in batches, as UTF-8 or Latin-1, with the rows that cannot be parsed counted."""

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv

CHUNK_BYTES = 1 << 22
MILLISECONDS_FROM = 10**11  # as seconds, such a number would be past the year 5000

Count = Callable[[int], None]


class LayoutError(ValueError):
    """Files that do not have the importer's layout."""


class Utf8Lines(io.RawIOBase):
    """A file's bytes as UTF-8. A line that is not UTF-8 is read as Latin-1: old downloads mix the two.

    `old` is replaced by `new`, since the parser supports no delimiter of two characters.
    """

    def __init__(self, file: Path, old: bytes, new: bytes) -> None:
        self._stream, self._old, self._new = file.open("rb"), old, new
        self._rest, self._ready, self._is_first = b"", b"", True
        self.num_latin_1 = 0  # lines so far that were not UTF-8

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._ready:
            self._ready = self._next()
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _next(self) -> bytes:
        """Some complete lines; empty at the end."""
        while chunk := self._stream.read(CHUNK_BYTES):
            lines, end, self._rest = (self._rest + chunk).rpartition(b"\n")
            if end:
                return self._utf8(lines + end)
        last, self._rest = self._rest, b""
        return self._utf8(last)

    def _utf8(self, lines: bytes) -> bytes:
        if self._is_first:
            lines, self._is_first = lines.removeprefix(b"\xef\xbb\xbf"), False
        try:
            lines.decode()
        except UnicodeDecodeError:
            lines = b"".join(map(self._utf8_line, lines.splitlines(keepends=True)))
        return lines.replace(self._old, self._new) if self._old != self._new else lines

    def _utf8_line(self, line: bytes) -> bytes:
        try:
            line.decode()
        except UnicodeDecodeError:
            self.num_latin_1 += 1
            return line.decode("latin-1").encode()
        return line


def rows(
    file: Path,
    wanted: Sequence[str],
    broken: Count,
    latin_1: Count,
    *,
    delimiter: str = ",",
    header: Sequence[str] = (),
    quoted: bool = True,
) -> Iterator[pl.DataFrame]:
    """The wanted columns as text, in batches; `header` names the columns of a file that has no header line.

    A wanted name that ends in `?` may be missing from the file: its column is null then. `broken` is called with
    the number of rows whose number of cells differs from the columns, `latin_1` with the number of lines that are not
    UTF-8. Raises LayoutError for a missing column, or a file that cannot be parsed.
    """
    one = delimiter if len(delimiter) == 1 else "\t"
    num_broken = 0

    def skip(_row: pacsv.InvalidRow) -> str:
        nonlocal num_broken
        num_broken += 1
        return "skip"

    with Utf8Lines(file, delimiter.encode(), one.encode()) as utf8, io.BufferedReader(utf8, CHUNK_BYTES) as stream:
        columns = list(header) or _cells(stream.readline(), one)
        if "\0" in "".join(columns):
            raise LayoutError(f"{file}: its first line holds a zero byte; a text file of columns is needed")
        if missing := [name for name in wanted if name[-1:] != "?" and name not in columns]:
            raise LayoutError(f"{file}: no column {', '.join(missing)} (found {', '.join(columns) or 'none'})")
        names = [name.rstrip("?") for name in wanted]
        taken = [name for name in names if name in columns]
        try:
            for batch in pacsv.open_csv(
                pa.PythonFile(stream, mode="r"),
                pacsv.ReadOptions(use_threads=False, block_size=CHUNK_BYTES, column_names=columns),
                pacsv.ParseOptions(
                    delimiter=one,
                    quote_char='"' if quoted else False,
                    newlines_in_values=quoted,
                    invalid_row_handler=skip,
                ),
                pacsv.ConvertOptions(include_columns=taken, column_types=dict.fromkeys(taken, pa.string())),
            ):
                frame = pl.DataFrame(batch)
                yield frame.select(
                    pl.col(name) if name in taken else pl.lit(None, pl.String).alias(name) for name in names
                )
        except pa.ArrowInvalid as error:
            if "Empty CSV file" not in str(error):  # a file without rows is valid
                raise LayoutError(
                    f"{file}: cannot be parsed: {error}; is there a quote that is never closed?"
                ) from error
        broken(num_broken)
        latin_1(utf8.num_latin_1)


def columns_of(file: Path, delimiter: str) -> list[str]:
    """The cells of a file's first line."""
    with Utf8Lines(file, b"", b"") as utf8, io.BufferedReader(utf8) as stream:
        return _cells(stream.readline(), delimiter)


def lines(file: Path) -> Iterator[pl.Series]:
    """The lines of a file that hold more than white space, in batches."""
    with Utf8Lines(file, b"", b"") as utf8, io.BufferedReader(utf8, CHUNK_BYTES) as stream:
        while first := stream.readline():
            batch = chain([first], stream.readlines(CHUNK_BYTES))
            found = pl.Series("line", [line.decode() for line in batch])
            yield found.filter(found.str.strip_chars() != "")


def seconds(column: str) -> pl.Expr:
    """Epoch seconds from a column of seconds or milliseconds as text; null if a cell is no number."""
    number = pl.col(column).cast(pl.Float64, strict=False)
    number = pl.when(number.abs() >= MILLISECONDS_FROM).then(number / 1000).otherwise(number)
    return number.floor().cast(pl.Int64, strict=False)


def is_given(column: str) -> pl.Expr:
    """Whether a cell of text holds more than white space."""
    return pl.col(column).str.strip_chars().fill_null("") != ""


def _cells(line: bytes, delimiter: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.decode().strip("\r\n").split(delimiter)]
