"""One small interface to a local folder and to a bucket."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from storage.roots.disk import Disk
from storage.roots.entries import Entry, inside

if TYPE_CHECKING:
    from storage.roots.s3 import Bucket


@dataclass(frozen=True)
class Root:
    """The folder or bucket prefix at `address`: `s3://BUCKET[/PREFIX]`, a path (also relative or with `~`) or `file://`.

    Every path is relative to the root, with forward slashes; a path that leads outside raises ValueError. An S3 store
    that cannot be used raises StoreError, whose message says what to do.
    """

    address: str

    def __post_init__(self) -> None:
        scheme, rest = _split(self.address)
        if scheme == "s3" and rest.strip("/") and not rest.startswith("/"):
            address = f"s3://{rest.rstrip('/')}"
        elif scheme == "file" and re.match("(localhost)?/", rest):
            address = str(Path(unquote(rest.removeprefix("localhost"))).resolve())
        elif not scheme and rest:
            address = str(Path(rest).expanduser().resolve())  # absolute: valid in any working folder
        else:
            raise ValueError(
                f"{self.address!r} is no address of a root; write a folder, file:///FOLDER or s3://BUCKET/PREFIX"
            )
        object.__setattr__(self, "address", address)

    @property
    def is_remote(self) -> bool:
        return self.address.startswith("s3://")

    def read(self, path: str) -> bytes:
        """The bytes of a file. Raises FileNotFoundError."""
        return self._store.read(path)

    def local(self, path: str, sha256: str | None = None) -> Path:
        """A local file with the bytes of an *immutable* file, for mapping or scanning; from S3 it is fetched once.

        With `sha256` the bytes are compared with it, once per process while size and time of change stay; of an S3 root
        they are fetched once more where they differ. Raises DamagedError where they differ still, FileNotFoundError.
        """
        return self._store.local(path, sha256)

    def digest(self, path: str) -> str:
        """The sha256 of a file's bytes, all of which are read now. Raises FileNotFoundError."""
        return self._store.digest(path)

    def write(self, path: str, data: bytes) -> None:
        """Write a file atomically; an existing file is replaced."""
        self._store.write(path, data)

    def put(self, file: Path, path: str) -> None:
        """Move a finished local file to `path`, atomically; after that not even a power cut loses it."""
        self._store.put(file, path)

    def copy(self, source: str, target: str) -> None:
        """Copy an immutable file within the root; on one disk it is a hard link and costs no space."""
        self._store.copy(source, target)

    def swap(self, path: str, data: bytes, expected: str | None) -> None:
        """Write a file if its version is still `expected` (None: if no file exists). Raises ConflictError otherwise.

        Of several writers with the same `expected`, in any number of processes, exactly one wins: the store decides,
        or on a local disk a kernel lock, which is released when its process dies. On a store without conditional
        puts (see `honours_conditions`), one of two simultaneous writes may be lost.
        """
        self._store.swap(path, data, expected)

    def honours_conditions(self) -> bool:
        """Whether the store refuses a conditional put whose condition fails. Tested once per root and process."""
        return self._store.honours_conditions()

    def entry(self, path: str) -> Entry | None:
        """The file's size and version; None if it does not exist."""
        return self._store.entry(path)

    def exists(self, path: str) -> bool:
        return self.entry(path) is not None

    def entries(self, prefix: str = "", recursive: bool = True) -> Iterator[Entry]:
        """The files below a folder, sorted by path; with `recursive=False` only those directly in it.

        Links to folders are followed, but for those that lead back into the root or to a folder that holds it.
        """
        return self._store.entries(prefix, recursive)

    def others(self) -> dict[str, str]:
        """What lies directly in the root and is no file: "folder", or for a local root "link to nowhere", "pipe"..."""
        return self._store.others()

    def delete(self, path: str) -> None:
        """Remove a file; does nothing if it does not exist.

        Of a link to a file only the link goes. What lies beyond a link out of the root stays: see `link_above`.
        """
        self._store.delete(path)

    def link_above(self, path: str) -> str | None:
        """The folder above a path that is a link out of a local root, with its target; None where none is."""
        return self._store.link_above(path)

    def leads_out(self, path: str) -> bool:
        """Whether the file at a path lies outside a local root, beyond a link to it or to a folder above it."""
        return self._store.leads_out(path)

    def workspace(self) -> AbstractContextManager[Path]:
        """A temporary local folder for unfinished files, on the root's own disk if it is local; deleted afterwards.

        Raises DiskError where the disk cannot hold what is written there.
        """
        return self._store.workspace()

    def debris(self) -> Iterator[Entry]:
        """Files and links in the workspaces of a local root; abandoned if no process works on the root."""
        return self._store.debris()

    def prune(self, folder: str, idle_s: float = 0.0) -> None:
        """Remove the empty folders below a local folder, then the folder if empty.

        No other process may write there, unless what it makes is younger than `idle_s` seconds: that stays.
        """
        self._store.prune(folder, idle_s)

    def url(self, path: str) -> str:
        """The file's full address, for people and for readers such as DuckDB."""
        return f"{self.address}/{inside(path)}".rstrip("/")

    @property
    def _store(self) -> "Disk | Bucket":
        return _store_at(self.address)


@lru_cache
def _store_at(address: str) -> "Disk | Bucket":
    if not address.startswith("s3://"):
        return Disk(address)
    from storage.roots.s3 import Bucket  # its client takes longer to import than all else

    return Bucket(address)


def _split(address: str) -> tuple[str, str]:
    """An address's scheme in lower case (empty for a path) and the rest."""
    scheme, mark, rest = address.partition("://")
    return (scheme.lower(), rest) if mark else ("", address)
