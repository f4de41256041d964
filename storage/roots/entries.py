"""Files below a root, by paths that stay inside it."""

from dataclasses import dataclass, field

from storage.roots.errors import ConflictError


@dataclass(frozen=True)
class Entry:
    """A file below a root. `version` changes whenever the bytes do (S3: the ETag; local: size and time of change)."""

    path: str
    size: int
    version: str
    modified_s: float = field(default=0.0, compare=False)  # seconds since 1970 by the store's clock


def inside(path: str) -> str:
    """The path. Raises ValueError where it could lead out of its root."""
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise ValueError(f"{path!r}: a path is relative to its root, with forward slashes and without '..'")
    return path


def conflict(url: str, entry: Entry | None, expected: str | None) -> ConflictError:
    """What to raise where a file is not of the expected version (None: where it exists)."""
    found = f"its version is {entry.version}" if entry else "it does not exist"
    wanted = f"version {expected} was expected" if expected else "it was expected not to exist"
    return ConflictError(f"{url}: {found}, {wanted}; another process wrote it: run again")
