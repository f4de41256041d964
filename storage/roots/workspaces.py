"""Temporary local folders for unfinished files."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.roots.errors import DiskError

DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@contextmanager
def workspace_in(folder: Path) -> Iterator[Path]:
    """A temporary folder below a folder, deleted afterwards.

    Raises DiskError where the disk cannot hold what is written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            yield Path(name)
    except Exception as error:
        if what := _disk_fault(error):
            raise DiskError(
                f"{folder}: {what}; make it writable, with room (`tastegraph gc` deletes what no run needs), and "
                f"start again: a run resumes"
            ) from error
        raise


def scratch_folder() -> Path:
    """The local folder for files of a remote root: TASTEGRAPH_SCRATCH, else the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tastegraph"
    return Path(os.environ.get("TASTEGRAPH_SCRATCH") or default)


def _disk_fault(error: Exception) -> str:
    """What the disk has to say where the error is its own; libraries put its words into errors of their own kinds."""
    if isinstance(error, DiskError):
        return ""  # of a workspace within this one
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno in DISK_FAULTS else ""
    return next((words for words in map(os.strerror, DISK_FAULTS) if words in str(error)), "")
