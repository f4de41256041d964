"""The bytes of a text file as UTF-8, or what the file is instead."""

import codecs
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from storage.settings.reading import TableLimits
from storage.sources.reading.found import UnfitFileError

CHUNK_BYTES = 1 << 23
BEGINNINGS = {  # of files that are no text, and what they are
    b"\x1f\x8b": "gzip; end its name in .gz, or unpack it",
    b"\x28\xb5\x2f\xfd": "zstd; end its name in .zst, or unpack it",
    b"PK\x03\x04": "a zip archive or an Excel workbook; export the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; export the sheet as CSV UTF-8",
    b"PAR1": "Parquet; end its name in .parquet",
    b"ARROW1": "an Arrow or Feather file; write it as Parquet",
    b"BZh": "bzip2; unpack it",
    b"\xfd7zXZ\0": "xz; unpack it",
}
MARKS = {  # of texts that say in which encoding they are; the longer ones first
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@contextmanager
def unpacked(file: Path, suffix: str, limits: TableLimits) -> Iterator[Path]:
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
def as_utf8(file: Path, limits: TableLimits) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The file if it is UTF-8, or nobody knows what it is; else its text in a temporary one, with a note."""
    begin = beginning(file)
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


def refuse_no_text(file: Path) -> None:
    """Raises ValueError, saying what the file is, unless it begins like a table in text."""
    if what := what_it_is(beginning(file)):
        raise UnfitFileError(what)


def beginning(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(4096)


def what_it_is(begin: bytes) -> str | None:
    """What a file is that begins so and is no text in UTF-8, for a sentence; None for such text."""
    for magic, what in BEGINNINGS.items():
        if begin.startswith(magic):
            return f"it is not UTF-8 but {what}"
    if begin.count(b"\0") > len(begin) // 4:
        return "it is not UTF-8: it has many zero bytes, as text in UTF-16; save it as UTF-8"
    if begin.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a page of HTML or XML, not a table; a download may have ended in an error page"
    return None
