"""Read pickled objects and sparse matrices without running their code.

A pickle may call anything that it can name. Here it can name plain containers and numpy's array constructors, which are
replaced by functions of this module; everything else is refused by name. In an .npy file pictures are written to files
as they are read, so that one of several gigabytes is never in memory; a .pkl file may also hold scipy's sparse matrices
of the formats coo, csr and csc, under any module path that scipy has had for them.
"""

import pickle
import struct
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from storage.sources.importers.reading import LayoutError

PICTURES_BEGIN = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8")

Spill = Callable[[bytes], Any]  # takes a picture's bytes, returns its replacement


class Dtype:
    """Replaces numpy.dtype, whose state could be set so that bytes are taken for pointers."""

    def __init__(self, code: bytes | str, *_flags: Any) -> None:
        self.numpy = np.dtype(_ascii(code))
        if self.numpy.kind not in "biufO":
            raise pickle.UnpicklingError(f"it holds {self.numpy}, neither numbers nor objects")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.numpy = self.numpy.newbyteorder(">" if _ascii(state[1]) == ">" else "<")


class Array(list[Any]):
    """Replaces numpy.ndarray: its values as a flat list."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, _shape, dtype, _order, data = state
        self[:] = list(data) if dtype.numpy.hasobject else np.frombuffer(data, dtype.numpy).tolist()


@dataclass
class Matrix:
    """Replaces a sparse matrix of scipy: its attributes, not yet checked."""

    state: Mapping[Any, Any] = field(default_factory=dict)
    format: ClassVar[str]

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, Mapping) else {}

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns. Raises ValueError where there are no two whole numbers."""
        shape = self._attribute("_shape", "shape")
        if not isinstance(shape, list | tuple) or len(shape) != 2 or not all(isinstance(size, int) for size in shape):
            raise ValueError(f"a matrix of shape {shape!r}, which is not two whole numbers")
        return shape[0], shape[1]

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows and columns of the entries that are not 0, int64 each. Raises ValueError for arrays that do not fit.

        Entries that stand there several times are several pairs, though scipy would add them.
        """
        shape, data = self.shape, _numbers(self._attribute("data"), "data", "biuf")
        if self.format == "coo":
            row, column = (_numbers(numbers, "a coordinate") for numbers in self._coordinates())
        else:
            indices, starts = (_numbers(self._attribute(name), name) for name in ("indices", "indptr"))
            lines = shape[0 if self.format == "csr" else 1]
            if len(starts) != lines + 1 or (np.diff(starts) < 0).any() or starts[0] != 0 or starts[-1] > len(indices):
                raise ValueError(f"indptr of {len(starts)} numbers does not divide {len(indices)} indices by {lines}")
            line = np.repeat(np.arange(lines), np.diff(starts))
            indices, data = indices[: len(line)], data[: len(line)]
            row, column = (line, indices) if self.format == "csr" else (indices, line)
        if not len(row) == len(column) == len(data):
            raise ValueError(f"{len(row)} rows, {len(column)} columns and {len(data)} values do not fit together")
        for numbers, size, what in zip((row, column), shape, ("row", "column"), strict=True):
            if len(outside := numbers[(numbers < 0) | (numbers >= size)]):
                raise ValueError(f"an entry in {what} {outside[0]}, where there are {size}")
        is_entry = data != 0
        return row[is_entry], column[is_entry]

    def _coordinates(self) -> tuple[Any, Any]:
        """The arrays of rows and columns, as scipy has written them since 1.13, or before."""
        both = self._attribute("coords")
        return both if isinstance(both, tuple) and len(both) == 2 else (self._attribute("row"), self._attribute("col"))

    def _attribute(self, *names: str) -> Any:
        return next((self.state[key] for name in names for key in (name, name.encode()) if key in self.state), None)


class _Coo(Matrix):
    format = "coo"


class _Csr(Matrix):
    format = "csr"


class _Csc(Matrix):
    format = "csc"


def _numbers(values: Any, what: str, kinds: str = "iu") -> np.ndarray:
    """The values of an array, whole numbers as int64. Raises ValueError where they are no numbers of these kinds."""
    if not isinstance(values, Array):
        raise ValueError(f"{what} is no array, but {type(values).__name__}")
    try:
        numbers = np.array(values)
    except ValueError:
        numbers = np.array(values, object)
    if numbers.ndim != 1 or (len(numbers) and numbers.dtype.kind not in kinds):
        raise ValueError(f"{what} is an array of {numbers.dtype}, not of numbers")
    return numbers.astype(np.int64) if kinds == "iu" else numbers


def _reconstruct(*_arguments: Any) -> Array:
    return Array()


def _from_buffer(data: Any, dtype: Dtype, *_shape: Any) -> Array:
    """An array as protocol 5 writes it."""
    if dtype.numpy.hasobject:
        raise pickle.UnpicklingError("it holds objects in a buffer")
    return Array(np.frombuffer(data, dtype.numpy).tolist())


def _object_of(kind: Any, _base: Any, _state: Any) -> Any:
    """An object without its state, as protocols 0 and 1 write it."""
    if not isinstance(kind, type) or not issubclass(kind, Matrix):
        raise pickle.UnpicklingError(f"it makes a bare {kind!r}")
    return kind()


def _scalar(dtype: Dtype, data: bytes) -> Any:
    if dtype.numpy.hasobject:
        raise pickle.UnpicklingError("it holds a number that is an object")
    return np.frombuffer(data, dtype.numpy)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    """Bytes, in the way that Python 3 writes them for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}")
    return text.encode("latin-1")


ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    **{
        (builtins, kind.__name__): kind
        for builtins in ("builtins", "__builtin__")
        for kind in (list, dict, set, frozenset, tuple)
    },
}


ADMITTED_IN_PICKLES = ADMITTED | {
    **{
        (f"scipy.sparse.{module}{kind.format}", f"{kind.format}_{name}"): kind
        for kind in (_Coo, _Csr, _Csc)
        for module in ("", "_")
        for name in ("matrix", "array")
    },
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    **{(module, "_reconstructor"): _object_of for module in ("copyreg", "copy_reg")},
    **{(module, "object"): object for module in ("builtins", "__builtin__")},
}


class Restricted(pickle._Unpickler):
    """Python's own unpickler: the one in C keeps every picture in memory until the file ends."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    read: Callable[[int], bytes]  # this and `append` are set while it loads
    append: Callable[[Any], None]

    def __init__(
        self, stream: BinaryIO, spill: Spill, admitted: Mapping[tuple[str, str], Any], encoding: str = "bytes"
    ) -> None:
        super().__init__(stream, encoding=encoding)
        self._spill, self._admitted = spill, admitted

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._admitted[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data set needs") from None

    def persistent_load(self, _pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")

    def get_extension(self, code: int) -> Any:
        raise pickle.UnpicklingError(f"it asks for the extension {code}")

    def _bytes(self, form: str) -> None:
        """A string of bytes with its length before it."""
        (size,) = struct.unpack(form, self.read(struct.calcsize(form)))
        if size < 0:
            raise pickle.UnpicklingError(f"a string of {size} bytes")
        data = self.read(size)
        self.append(self._spill(data) if data.startswith(PICTURES_BEGIN) else data)

    dispatch[pickle.BINSTRING[0]] = lambda self: self._bytes("<i")
    dispatch[pickle.BINBYTES[0]] = lambda self: self._bytes("<I")
    dispatch[pickle.BINBYTES8[0]] = lambda self: self._bytes("<Q")


def load(file: Path, spill: Spill) -> Any:
    """The object in an .npy file, arrays as lists; `spill` takes each picture and returns its replacement.

    Raises LayoutError if the file is no .npy of objects, is cut short, or names anything that is not admitted.
    """
    with file.open("rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            _shape, _order, dtype = header(stream)
        except (ValueError, KeyError) as error:
            raise LayoutError(f"{file}: no .npy file: {error}") from error
        if not dtype.hasobject:
            raise LayoutError(f"{file}: it holds {dtype}, not pickled objects")
        return _loaded(Restricted(stream, spill, ADMITTED), file)


def load_pickle(file: Path) -> Any:
    """The object in a .pkl file, arrays as lists and sparse matrices as `Matrix`.

    Raises LayoutError if the file is no pickle, is cut short, or names anything that is not admitted.
    """
    with file.open("rb") as stream:
        return _loaded(Restricted(stream, lambda data: data, ADMITTED_IN_PICKLES), file)


def _loaded(unpickler: Restricted, file: Path) -> Any:
    try:
        return unpickler.load()
    except OSError:
        raise
    except Exception as error:  # a broken pickle may raise anything
        reason = str(error) or type(error).__name__
        raise LayoutError(f"{file}: refused: {reason}; fetch the file from its origin again") from error


def _ascii(text: bytes | str) -> str:
    return text.decode("ascii") if isinstance(text, bytes) else text
