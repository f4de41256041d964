"""References to immutable files; tasks pass these to each other instead of frames and tensors."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from storage.roots import DamagedError, Root, digest_once


@dataclass(frozen=True)
class Ref:
    """A file below the root, named by its content: equal content gives equal refs."""

    name: str
    path: str
    sha256: str
    rows: int
    bytes: int

    def local(self, root: Root) -> Path:
        """A local file with these bytes: read and compared with `sha256` once per process. Raises DamagedError."""
        return root.local(self.path, self.sha256)

    def is_whole(self, root: Root) -> bool:
        """Whether the file is there with these bytes, all of which are read now."""
        entry = root.entry(self.path)
        return entry is not None and entry.size == self.bytes and root.digest(self.path) == self.sha256


def ref_of(name: str, path: str, data: bytes) -> Ref:
    """The ref of bytes that already lie at `path`."""
    return Ref(name, path, hashlib.sha256(data).hexdigest(), 0, len(data))


def store(file: Path, folder: str, name: str, rows: int, root: Root) -> Ref:
    """Move a finished local file into the root under its content's sha256; a whole file of that name is kept."""
    sha256 = digest_once(file)
    ref = Ref(name, f"{folder}/{sha256[:24]}{file.suffix}", sha256, rows, file.stat().st_size)
    if ref.is_whole(root):
        file.unlink()
    else:
        root.put(file, ref.path)
    return ref


def copy(ref: Ref, path: str, root: Root) -> None:
    """Copy a file within the root and read the copy, so that what is promised of its bytes was found in them.

    Raises DamagedError, with no file left at `path`, where the bytes are others.
    """
    root.copy(ref.path, path)
    found = root.digest(path)
    if found != ref.sha256:
        root.delete(path)
        raise DamagedError(root.address, ref.path, ref.sha256, found)
