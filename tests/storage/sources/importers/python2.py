"""Write .npy files of objects as Python 2 with numpy 1 wrote them, which is how DVBPR's files were made."""

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np


class Python2Pickler(pickle._Pickler):
    """Protocol 2, where a text is a string of bytes, and numpy's core has no underscore."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if getattr(obj, "__module__", "") == "numpy._core.multiarray":
            self.write(b"cnumpy.core.multiarray\n" + obj.__name__.encode() + b"\n")
            self.memoize(obj)
        else:
            super().save_global(obj, name)

    def _save_string(self, obj: bytes | str) -> None:
        data = obj.encode() if isinstance(obj, str) else obj
        head = b"U" + struct.pack("<B", len(data)) if len(data) < 256 else b"T" + struct.pack("<i", len(data))
        self.write(head + data)
        self.memoize(obj)

    dispatch[bytes] = dispatch[str] = _save_string
    dispatch[type(np.array)] = save_global  # builtin functions, such as numpy's _reconstruct


def save(file: Path, parts: list[Any]) -> None:
    """What `np.save(file, parts)` wrote for a list of objects."""
    array = np.empty(len(parts), object)
    array[:] = parts
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
        Python2Pickler(stream, protocol=2).dump(array)
