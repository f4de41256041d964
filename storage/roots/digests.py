"""The sha256 of local files."""

import hashlib
import threading
from pathlib import Path

_known: dict[tuple[int, int, int, int], str] = {}  # by device, inode, size, time of change
_hashing = [threading.Lock() for _ in range(64)]


def digest(file: Path) -> str:
    """The file's sha256; all of its bytes are read now."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_once(file: Path) -> str:
    """The file's sha256; read once per process, as long as the file stays the same and unchanged."""
    found = file.stat()  # by inode, not by name: a renamed file is not read again
    version = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    with _hashing[hash(version) % len(_hashing)]:  # threads that open a file at once read it once
        if version not in _known:
            _known[version] = digest(file)
        return _known[version]
