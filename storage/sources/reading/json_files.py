"""Rows of JSON files, of one object a line or one array: by Polars where a file is valid, else line by line."""

import json
import mmap
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import polars as pl

from storage.sources.reading.encodings import beginning
from storage.sources.reading.found import CHUNK_ROWS, Reading, Record, assemble, shown

SEPARATORS = re.compile(r"[\s,]*")  # between the elements of a JSON array
MOST_DIGITS = 400  # of a number that is spelled out; 1e999999999 would fill the memory
ROUNDED = r"^-?\d{16}"  # and so, a number that JSON writes with a point or exponent and more digits than a float has
LEVELED = r"^[\[{]|^-?\d+(\.\d+([eE][-+]?\d+)?|[eE][-+]?\d+)$|^-?\d{38,}$|\x00"


@contextmanager
def as_lines(file: Path, found: Reading) -> Iterator[Path]:
    """The file, or where it is one JSON array, its elements as the lines of a temporary file."""
    if not re.match(rb"(\xef\xbb\xbf)?\s*\[\s*[{\]]", beginning(file)):
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


def read_json(file: Path, known: Sequence[str], found: Reading) -> Iterator[pl.DataFrame]:
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
    for chunk in assemble(_json_records(file, known, columns), known, found):
        found.columns = [shown(name) for name in columns] or list(known)  # without rows it counts as having all
        yield chunk
    found.columns = [shown(name) for name in columns] or list(known)


def _has_fraction(file: Path) -> bool:
    """Whether a number in a JSON file may be written with a point or an exponent."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return re.search(rb":\s*-?\d+[.eE]", content) is not None


def _as_pattern(file: Path) -> str:
    """A pattern that fits this file alone, for readers that take every path for a pattern."""
    return re.sub(r"([\[*?])", r"[\1]", str(file))


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
