"""A root on a local disk: files are written under a temporary name, synced and renamed."""

import errno
import fcntl
import logging
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from storage.roots.digests import digest, digest_once
from storage.roots.entries import Entry, conflict, inside
from storage.roots.errors import DamagedError
from storage.roots.workspaces import workspace_in

WORK_FOLDER = ".tmp"  # below a local root: unfinished files, and the lock of `swap`

_log = logging.getLogger("tastegraph")


@dataclass(frozen=True)
class Disk:
    """The files below a local folder; see `Root` for what each method promises."""

    address: str  # absolute

    def read(self, path: str) -> bytes:
        return self._file(path).read_bytes()

    def local(self, path: str, sha256: str | None) -> Path:
        if not (file := self._file(path)).is_file():
            raise FileNotFoundError(f"{file}: no such file")
        if sha256 and (found := digest_once(file)) != sha256:
            raise DamagedError(self.address, path, sha256, found)
        return file

    def digest(self, path: str) -> str:
        return digest(self._file(path))

    def write(self, path: str, data: bytes) -> None:
        with self.workspace() as folder:
            (folder / "file").write_bytes(data)
            self.put(folder / "file", path)

    def put(self, file: Path, path: str) -> None:
        target = self._file(path)
        try:
            _move(file, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with self.workspace() as folder:  # the file lies on another disk
                shutil.copyfile(file, folder / "file")
                _move(folder / "file", target)
            file.unlink()

    def copy(self, source: str, target: str) -> None:
        with self.workspace() as folder:
            try:
                os.link(self._file(source), folder / "file")
            except FileNotFoundError:
                raise
            except OSError:  # a file system without hard links
                shutil.copyfile(self._file(source), folder / "file")
            self.put(folder / "file", target)

    def swap(self, path: str, data: bytes, expected: str | None) -> None:
        with self._locked():
            before = self.entry(path)
            if (before and before.version) != expected:
                raise conflict(f"{self.address}/{path}", before, expected)
            with self.workspace() as folder:
                (folder / "file").write_bytes(data)
                if before:
                    _differ_in_time(folder / "file", self._file(path))
                self.put(folder / "file", path)

    def honours_conditions(self) -> bool:
        return True

    def entry(self, path: str) -> Entry | None:
        try:
            found = self._file(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _entry(path, found) if stat.S_ISREG(found.st_mode) else None

    def entries(self, prefix: str, recursive: bool) -> Iterator[Entry]:
        top, paths, followed = self._file(prefix), [], {self._file(prefix).resolve()}
        for folder, subfolders, names in islice(os.walk(top, followlinks=True), None if recursive else 1):
            subfolders[:] = [
                name for name in subfolders if name != WORK_FOLDER and self._is_entered(Path(folder, name), followed)
            ]
            paths += [Path(folder, name).relative_to(self.address).as_posix() for name in names]
        for path in sorted(paths):
            if entry := self.entry(path):
                yield entry

    def others(self) -> dict[str, str]:
        top = Path(self.address)
        paths = sorted(top.iterdir()) if top.is_dir() else []
        return {path.name: _kind(path) for path in paths if not path.is_file()}

    def delete(self, path: str) -> None:
        if link := self.link_above(path):
            _log.warning("%s/%s: not deleted, as %s leads out of the root", self.address, path, link)
        else:
            self._file(path).unlink(missing_ok=True)

    def link_above(self, path: str) -> str | None:
        if self._file(path).parent.resolve().is_relative_to(self.address):
            return None
        parents = [Path(self.address, parent) for parent in reversed(PurePosixPath(inside(path)).parents)]
        link = next(parent for parent in parents if not parent.resolve().is_relative_to(self.address))
        return f"{link} -> {link.resolve()}"

    def leads_out(self, path: str) -> bool:
        return not self._file(path).resolve().is_relative_to(self.address)

    def workspace(self) -> AbstractContextManager[Path]:
        return workspace_in(Path(self.address) / WORK_FOLDER)

    def debris(self) -> Iterator[Entry]:
        top = Path(self.address) / WORK_FOLDER
        if top.is_symlink():
            return
        for folder, subfolders, names in os.walk(top):
            subfolders.sort()
            for path in sorted(Path(folder, name) for name in (*subfolders, *names)):
                is_file = path.is_file() and path.parent != top  # the lock of `swap` lies at the top
                if is_file or path.is_symlink():
                    yield _entry(path.relative_to(self.address).as_posix(), path.lstat())

    def prune(self, folder: str, idle_s: float) -> None:
        if self.link_above(f"{folder}/any"):
            return
        before_s, old = time.time() - idle_s, []
        for path, _, _ in os.walk(self._file(folder), topdown=False):
            with suppress(OSError):  # removed meanwhile
                if Path(path).stat().st_mtime <= before_s:
                    old.append(Path(path))
        for place in old:
            with suppress(OSError):  # not empty, or missing
                place.rmdir()

    def _is_entered(self, folder: Path, followed: set[Path]) -> bool:
        """Whether a listing goes on into a folder: always, but for a link only where it leads to other files."""
        if not folder.is_symlink():
            return True
        target, own = folder.resolve(), Path(self.address)
        if any(target.is_relative_to(one) or one.is_relative_to(target) for one in (own, *followed)):
            return False
        followed.add(target)
        return True

    def _file(self, path: str) -> Path:
        return Path(self.address) / inside(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the root's only lock, a kernel lock: it is released however its holder ends."""
        lock = Path(self.address) / WORK_FOLDER / "swap.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _entry(path: str, found: os.stat_result) -> Entry:
    return Entry(path, found.st_size, f"{found.st_size}-{found.st_mtime_ns}", found.st_mtime)


def _move(file: Path, target: Path) -> None:
    """Rename a file so that its name is never on the disk without its bytes, nor lost: file and folders are synced."""
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    _sync(file)
    file.replace(target)
    for folder in (target.parent, *(folder.parent for folder in made)):
        _sync(folder)


def _differ_in_time(file: Path, last: Path) -> None:
    """Two swaps within a tick of the clock still differ in version."""
    time_ns, last_ns = file.stat().st_mtime_ns, last.stat().st_mtime_ns
    if time_ns <= last_ns < time_ns + 10**9:  # else the clock was set back, and tells them apart
        os.utime(file, ns=(last_ns + 1, last_ns + 1))


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems do not sync folders
            raise
    finally:
        os.close(opened)


def _kind(path: Path) -> str:
    """What a path is that is no file."""
    kinds = {"folder": path.is_dir, "pipe": path.is_fifo, "socket": path.is_socket, "link to nowhere": path.is_symlink}
    return next((kind for kind, is_kind in kinds.items() if is_kind()), "device")
