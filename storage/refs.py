"""References to immutable files; tasks pass these to each other instead of frames and tensors."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from storage.roots import Root


@dataclass(frozen=True)
class Ref:
    """A file below the root, named by its content: equal content gives equal refs."""

    name: str
    path: str
    sha256: str
    rows: int
    bytes: int

    def local(self, root: Root) -> Path:
        """A local file with these bytes, fetched and checked against `sha256` if the root is remote."""
        return root.local(self.path, self.sha256)


def ref_of(name: str, path: str, data: bytes) -> Ref:
    """The ref of bytes that already lie at `path`."""
    return Ref(name, path, hashlib.sha256(data).hexdigest(), 0, len(data))


def store(file: Path, folder: str, name: str, rows: int, root: Root) -> Ref:
    """Move a finished local file into the root under its content's sha256; an existing file of that name is kept."""
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    size = file.stat().st_size
    path = f"{folder}/{sha256[:24]}{file.suffix}"
    entry = root.entry(path)
    if entry and entry.size == size:
        file.unlink()
    else:
        root.put(file, path)
    return Ref(name, path, sha256, rows, size)
