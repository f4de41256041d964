"""Read a table file in chunks: Parquet, CSV or JSON, with the rows that cannot be parsed listed separately.

Text is UTF-8, also compressed by gzip or zstd; what a file is instead is said. Nothing is read that would not fit.

A fast reader reads valid files. Where it fails, or where quotes look as if one was never closed, a careful reader
reads the rest of the file record by record, so that a broken row loses no other row.
"""

from storage.sources.reading.files import SUFFIXES as SUFFIXES
from storage.sources.reading.files import read as read
from storage.sources.reading.files import suffix_of as suffix_of
from storage.sources.reading.found import SHOWN_CHARACTERS as SHOWN_CHARACTERS
from storage.sources.reading.found import Reading as Reading
from storage.sources.reading.found import UnfitFileError as UnfitFileError
from storage.sources.reading.found import too_many as too_many
