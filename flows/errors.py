"""Errors that the command line answers differently, in a module that costs nothing to import."""

import errno
from pathlib import Path

RIGHTS = "give the user who runs this the right to read and write there"
WAYS_OUT = {
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.EROFS: "make it writable, or choose another folder",
    errno.ENOSPC: "make room (`tastegraph gc` deletes what no run needs), and start again: a run resumes",
    errno.EISDIR: "a folder lies where a file belongs: correct the path, or move the folder away",
    errno.ENOTDIR: "a folder belongs there: correct the path (a root or a source is a folder, or s3://BUCKET/PREFIX)",
    errno.ENOENT: "correct the path, or make what is missing",
    errno.ELOOP: "remove the link that leads to itself",
    errno.EMFILE: "allow more open files (`ulimit -n`)",
}


class SettingsError(ValueError):
    """A setting that does not exist, or a value it cannot take."""


def one_line(error: OSError) -> str:
    """The error in one line: which file, what is wrong with it, what to do. Errors of our own say so themselves."""
    name = error.filename2 or error.filename
    if error.errno is None or not isinstance(name, str):
        return str(error)
    path = Path(name)
    if error.errno == errno.ENOTDIR:  # raised for what would lie below it
        path = next((place for place in (path, *path.parents) if place.is_file()), path)
    return f"{path}: {error.strerror}; {WAYS_OUT.get(error.errno, 'see to it, and start again')}"
