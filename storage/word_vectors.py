"""Pretrained word vectors for the community's tags, from the files that word2vec, fastText and gensim write.

Files are streamed and only the requested vectors are kept: reading Google's three million vectors, which the paper uses
(CDL, section 5), takes a few megabytes of memory.
"""

import gzip
import pickle
import re
import zlib
from collections.abc import Callable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

CHUNK_BYTES = 1 << 20  # read at once from a binary file; longer than any word

Stream: TypeAlias = BufferedReader | gzip.GzipFile
Vectors: TypeAlias = dict[str, np.ndarray]  # by spelling


def load(file: Path, tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens have a vector in the file, and the vectors.

    A token is looked up as written, then in lower case, then both with underscores for spaces, as Google's file writes
    phrases. A token of several words (separated by spaces, underscores or hyphens) that is not found gets the mean
    of the words that are.

    Args:
        file: word2vec binary (.bin, .bin.gz); word2vec or fastText text (.txt, .vec, .txt.gz, .vec.gz); or gensim 4's
            KeyedVectors (.kv, with the .npy file that may lie beside it). A .kv is a pickle, so take it from a
            source you trust; it may name only numpy's arrays and KeyedVectors, and no code of gensim runs.
    Returns:
        bool (len(tokens),), False for tokens outside the vocabulary; float32 (len(tokens), d), zeros for those.
    Raises:
        ValueError: unknown file name ending, or content that does not match the ending.
        FileNotFoundError: the file does not exist.
    """
    wanted = {spelling for token in tokens for part in (token, *_words(token)) for spelling in _spellings(part)}
    read = _reader(file)
    try:
        num_dimensions, by_spelling = read(file, wanted)
    except FileNotFoundError:
        raise
    except (ValueError, EOFError, OSError, MemoryError, zlib.error, pickle.UnpicklingError) as error:
        raise ValueError(f"{file}: {error}; download the file again, or correct its name's ending") from error
    found = np.zeros(len(tokens), bool)
    vectors = np.zeros((len(tokens), num_dimensions), np.float32)
    for row, token in enumerate(tokens):
        vector = _look_up(token, by_spelling)
        if vector is None:
            parts = [part for word in _words(token) if (part := _look_up(word, by_spelling)) is not None]
            vector = np.mean(parts, axis=0) if parts else None
        if vector is not None:
            found[row], vectors[row] = True, vector
    return found, vectors


def _spellings(token: str) -> list[str]:
    cases = (token, token.lower())
    return [*cases, *(case.replace(" ", "_") for case in cases)]


def _words(token: str) -> list[str]:
    return [word for word in re.split(r"[\s_-]+", token) if word]


def _look_up(token: str, by_spelling: Vectors) -> np.ndarray | None:
    return next((by_spelling[spelling] for spelling in _spellings(token) if spelling in by_spelling), None)


def _reader(file: Path) -> Callable[[Path, set[str]], tuple[int, Vectors]]:
    ending = re.search(r"\.(bin|txt|vec|kv)(\.gz)?$", file.name)
    if not ending or ending[0] == ".kv.gz":
        raise ValueError(f"{file}: word vectors are read from .bin, .txt and .vec files, also with .gz, and from .kv")
    return {"bin": _read_binary, "txt": _read_text, "vec": _read_text, "kv": _read_keyed_vectors}[ending[1]]


def _open(file: Path) -> Stream:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")


def _read_header(stream: Stream) -> tuple[int, int]:
    """The number of words and of dimensions, from the first line."""
    line = stream.readline(80)
    header = re.fullmatch(rb"(\d+) (\d+)\s*", line)
    if not header or not int(header[2]):
        raise ValueError(f"the first line must hold the number of words and of dimensions, but is {line!r}")
    return int(header[1]), int(header[2])


def _read_binary(file: Path, wanted: set[str]) -> tuple[int, Vectors]:
    """Records of a word, a space and d little-endian float32; some writers end each with a new line."""
    names = {name.encode(): name for name in wanted}
    by_spelling: Vectors = {}
    with _open(file) as stream:
        num_words, num_dimensions = _read_header(stream)
        num_bytes = 4 * num_dimensions
        buffer, start = b"", 0
        for number in range(num_words):
            while (space := buffer.find(b" ", start)) < 0 or len(buffer) <= space + num_bytes:
                chunk = stream.read(CHUNK_BYTES)
                if not chunk or len(buffer) - start > CHUNK_BYTES + num_bytes:
                    raise ValueError(f"no whole record of {num_dimensions} numbers after {number} of {num_words} words")
                buffer, start = buffer[start:] + chunk, 0
            word = buffer[start:space].lstrip(b"\n")
            if (name := names.get(word)) is not None and name not in by_spelling:  # like gensim, keeps the first of two
                by_spelling[name] = np.frombuffer(buffer, "<f4", num_dimensions, space + 1).copy()
            start = space + 1 + num_bytes
        if (buffer[start:] + stream.read(CHUNK_BYTES)).strip():
            raise ValueError(f"the file goes on after the {num_words} words that the first line announces")
    return num_dimensions, by_spelling


def _read_text(file: Path, wanted: set[str]) -> tuple[int, Vectors]:
    """Lines of a word (which may hold spaces) and d decimal numbers."""
    names = {name.encode(): name for name in wanted}
    by_spelling: Vectors = {}
    with _open(file) as stream:
        num_words, num_dimensions = _read_header(stream)
        for number in range(num_words):
            word, *numbers = stream.readline().rstrip().rsplit(b" ", num_dimensions)
            if len(numbers) != num_dimensions:
                raise ValueError(f"line {number + 2} of {num_words + 1} has no word and {num_dimensions} numbers")
            if (name := names.get(word)) is not None and name not in by_spelling:
                by_spelling[name] = np.array([float(number) for number in numbers], np.float32)
    return num_dimensions, by_spelling


class _SavedKeyedVectors:
    """Holds the attributes of a pickled gensim KeyedVectors."""


class _Unpickler(pickle.Unpickler):
    """Loads KeyedVectors as a bag of attributes, and numpy's arrays; refuses every other name before running it."""

    _NUMPY = frozenset(
        {
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "scalar"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("gensim.models.keyedvectors", "KeyedVectors"):
            return _SavedKeyedVectors
        module = module.replace("numpy.core.", "numpy._core.")  # its name in numpy 1
        if (module, name) in self._NUMPY:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, but only gensim 4's KeyedVectors are read")


def _read_keyed_vectors(file: Path, wanted: set[str]) -> tuple[int, Vectors]:
    """A file of KeyedVectors.save; large arrays lie in .npy files beside it and are mapped, not read."""
    try:
        with file.open("rb") as stream:
            saved = getattr(_Unpickler(stream).load(), "__dict__", {})
    except (OSError, pickle.UnpicklingError):
        raise
    except Exception as error:  # a damaged pickle raises anything, SystemError too
        raise ValueError(f"it is no whole pickle ({error})") from error
    rows, vectors = saved.get("key_to_index"), saved.get("vectors")
    if vectors is None and "vectors" in str(saved.get("__numpys")):
        vectors = np.load(file.with_name(f"{file.name}.vectors.npy"), mmap_mode="r", allow_pickle=False)
    if not isinstance(rows, dict) or not isinstance(vectors, np.ndarray) or vectors.ndim != 2:
        raise ValueError("it has no key_to_index with a matrix of vectors, which gensim 4's KeyedVectors have")
    if not np.issubdtype(vectors.dtype, np.number) or np.iscomplexobj(vectors):
        raise ValueError(f"its vectors are {vectors.dtype}, not numbers")
    places = {name: rows[name] for name in wanted if name in rows}
    for name, row in places.items():
        if not isinstance(row, int | np.integer) or not 0 <= row < len(vectors):
            raise ValueError(f"its key {name!r} names row {row!r}, but it has {len(vectors)} vectors")
    return vectors.shape[1], {name: np.asarray(vectors[row], np.float32) for name, row in places.items()}
