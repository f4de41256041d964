"""A table file of any kind."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import polars as pl
import pyarrow as pa

from storage.settings.reading import TableLimits
from storage.sources.reading.csv_files import read_csv
from storage.sources.reading.encodings import as_utf8, refuse_no_text, unpacked
from storage.sources.reading.found import Reading, UnfitFileError, too_many
from storage.sources.reading.json_files import as_lines, read_json
from storage.sources.reading.parquet_files import read_parquet

CSV, JSON = (".csv", ".tsv"), (".jsonl", ".ndjson", ".json")
SUFFIXES = (".parquet", *(form + packed for packed in ("", ".gz", ".zst") for form in (*CSV, *JSON)))


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
            chunks = read_parquet(file, known, limits, found)
        else:
            plain = stack.enter_context(unpacked(file, suffix, limits))
            text, notes = stack.enter_context(as_utf8(plain, limits))
            refuse_no_text(text)
            found.notes += notes
            if suffix.startswith(CSV):
                chunks = read_csv(text, known, found)
            else:
                chunks = read_json(stack.enter_context(as_lines(text, found)), known, found)
        for chunk in chunks:
            rows += len(chunk)
            if rows + len(found.broken) > limits.max_rows:
                raise UnfitFileError(too_many(limits))
            yield chunk
        pa.default_memory_pool().release_unused()
