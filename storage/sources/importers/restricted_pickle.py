"""Read an .npy file of pickled objects without running its code.

A pickle may call anything that it can name. Here it can name plain containers and numpy's array constructors, which are
replaced by functions of this module; everything else is refused by name. Pictures are written to files as they are
read, so that a file of several gigabytes is never in memory.
"""

import pickle
import struct
from collections import OrderedDict, defaultdict
from collections.abc import Callable
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


def _reconstruct(*_arguments: Any) -> Array:
    return Array()


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


class Restricted(pickle._Unpickler):
    """Python's own unpickler: the one in C keeps every picture in memory until the file ends."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    read: Callable[[int], bytes]  # this and `append` are set while it loads
    append: Callable[[Any], None]

    def __init__(self, stream: BinaryIO, spill: Spill) -> None:
        super().__init__(stream, encoding="bytes")
        self._spill = spill

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ADMITTED[module, name]
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
        try:
            return Restricted(stream, spill).load()
        except OSError:
            raise
        except Exception as error:  # a broken pickle may raise anything
            reason = str(error) or type(error).__name__
            raise LayoutError(f"{file}: refused: {reason}; fetch the file from its origin again") from error


def _ascii(text: bytes | str) -> str:
    return text.decode("ascii") if isinstance(text, bytes) else text
