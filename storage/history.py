"""The history of the pointer: which run became current when, instead of which, by what action, why, and by whom.

    exports/history/000001.json     a file per change, numbered without a gap

The last change stands in the pointer as well, so it is made with what it describes, in one put. Its file is written
next; where a kill comes between the two, the next change writes it before it is made itself.
"""

import getpass
import os
import platform
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

from storage import documents
from storage.documents import DocumentError
from storage.roots import Root

FOLDER = "exports/history"
MEND = "delete it: nothing but this line of the history is lost"
WITHHELD = "(withheld, as it named somebody who was forgotten)"


@dataclass(frozen=True)
class Change:
    """A move of the pointer. Field names are those in the file."""

    number: int
    at: str  # ISO 8601, UTC
    action: str  # night, rollback, publish, forget or repair
    run_id: str  # the run that became current
    previous: str | None  # the one that was current until then; None where there was none, or none could be read
    by: str  # user@host
    why: str = ""
    withdrawn: tuple[str, ...] = ()  # by a rollback: the runs that it went back behind


def new_change(
    root: Root,
    last: Change | None,
    action: str,
    run_id: str,
    *,
    previous: str | None,
    why: str,
    withdrawn: Sequence[str],
) -> Change:
    """The change that is about to be made, by this user, after `last` or else after all that the history has."""
    number = 1 + (last.number if last else max(_paths(root), default=0))
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Change(number, at, action, run_id, previous, _who(), why, tuple(withdrawn))


def write(root: Root, change: Change) -> None:
    """Write a change's file, if it is not there with these bytes."""
    path, data = _path(change), documents.dump(change)
    if not root.exists(path) or root.read(path) != data:
        root.write(path, data)


def read(root: Root, last: Change | None, at_most: int | None = None) -> tuple[list[Change], list[DocumentError]]:
    """The changes, the oldest first, and the errors of damaged files, which are left out.

    Args:
        last: the change that stands in the pointer, whose file may not be there yet.
        at_most: only so many of the latest.
    """
    paths, found, damaged = _paths(root), list[Change](), list[DocumentError]()
    for number in sorted(paths)[-at_most if at_most else None :]:
        try:
            change = documents.read(root, paths[number], Change, MEND)
        except DocumentError as error:
            damaged.append(error)
            continue
        if change and not (last and change.number >= last.number):
            found.append(change)
    return [*found, *([last] if last else [])], damaged


def withdrawn(changes: Iterable[Change]) -> dict[str, Change]:
    """The runs that a rollback went back behind and that have not become current since, each with the rollback."""
    found: dict[str, Change] = {}
    for change in changes:
        found |= dict.fromkeys(change.withdrawn, change)
        found.pop(change.run_id, None)
    return found


def withhold(root: Root, is_named: Callable[[str], bool]) -> None:
    """Blot out, in all files, what a person wrote, where it names somebody who is to be forgotten."""
    for path in _paths(root).values():
        try:
            change = documents.read(root, path, Change, MEND)
        except DocumentError:  # damaged: any bytes of it may be a name
            root.delete(path)
            continue
        if change and change != (left := without(change, is_named)):
            root.write(path, documents.dump(left))


def without(change: Change, is_named: Callable[[str], bool]) -> Change:
    """The change without the text in it that names somebody."""
    why, by = (WITHHELD if is_named(text) else text for text in (change.why, change.by))
    return replace(change, why=why, by=by)


def _path(change: Change) -> str:
    return f"{FOLDER}/{change.number:06d}.json"


def _paths(root: Root) -> dict[int, str]:
    """The files of the history, by number."""
    names = {entry.path: PurePosixPath(entry.path).stem for entry in root.entries(FOLDER)}
    return {int(name): path for path, name in names.items() if re.fullmatch(r"[0-9]{6,9}", name)}


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{platform.node()}"
