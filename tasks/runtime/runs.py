"""Run ids: one per night, and the same one again for a night that was killed and is started anew.

    runs/<run_id>.json      what the run is for, whether it ended, and then what it made
    runs/<run_id>.records   which records of stages it used, a line each, once it has ended

By the two `tasks/upkeep/retention.py` knows what a published run needs.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from storage import snapshots
from storage.roots import Root

log = logging.getLogger("tastegraph")


@dataclass(frozen=True)
class Run:
    """One night's name."""

    id: str
    is_named: bool  # the id was asked for, so the run is published under it even if another holds the same tables
    purpose: str  # a digest of the source, its content and the settings
    flow: str = "nightly"


@dataclass(frozen=True)
class Note:
    """What `runs/` tells of a run."""

    id: str
    purpose: str
    finished: bool
    written_s: float  # when it began, or where it is finished when it ended; by the store's clock
    flow: str = "nightly"
    made: str | None = None  # the folder where what it published lies, which another run may have made


def begin(run_id: str | None, purpose: str, root: Root, flow: str = "nightly") -> Run:
    """This run. Without an id given: that of an unfinished run of the same purpose, else one made of the time.

    Raises ValueError for an id under which nothing could be published.
    """
    is_named = run_id is not None
    unfinished = [note for note in notes(root) if not note.finished and note.purpose == purpose]
    if run_id is None:
        if unfinished:
            log.info("going on with run %s, which did not end", unfinished[-1].id)
            return Run(unfinished[-1].id, is_named, purpose, flow)
        run_id = new_id(root)
    snapshots.folder(run_id)  # refuses an id now, and not when the night's work is done
    run = Run(run_id, is_named, purpose, flow)
    if run_id not in [note.id for note in unfinished]:  # its time says since when it has made what it will need
        _write(run, {"finished": False}, root)
    return run


def finish(run: Run, root: Root, made: str | None = None, records: Iterable[str] = ()) -> None:
    """Note that the run came to its end, published or not, with what it made and which records it used."""
    root.write(records_path(run.id), "".join(f"{record}\n" for record in sorted(records)).encode())
    _write(run, {"finished": True, "made": made}, root)


def new_id(root: Root) -> str:
    """An id made of the time that no run has."""
    taken = {note.id for note in notes(root)}
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return next(name for name in (stamp, *(f"{stamp}-{number}" for number in range(2, 1000))) if name not in taken)


def notes(root: Root) -> list[Note]:
    """All runs that were begun, by id."""
    found = []
    entries = (entry for entry in root.entries("runs") if entry.path.endswith(".json"))
    for entry in sorted(entries, key=lambda entry: entry.path):
        id_, told = entry.path.rpartition("/")[2].removesuffix(".json"), json.loads(root.read(entry.path))
        known = {key: told[key] for key in ("purpose", "finished", "flow", "made") if key in told}
        found.append(Note(id_, written_s=entry.modified_s, **known))
    return found


def records_of(note: Note, root: Root) -> list[str]:
    """The records that a run used; none of a run that has not ended, or ended before they were noted."""
    path = records_path(note.id)
    return root.read(path).decode().splitlines() if root.exists(path) else []


def note_path(run_id: str) -> str:
    """Where a run's note lies."""
    return f"runs/{run_id}.json"


def records_path(run_id: str) -> str:
    """Where the records that a run used are listed: apart, as every night reads all notes."""
    return f"runs/{run_id}.records"


def _write(run: Run, told: dict[str, object], root: Root) -> None:
    root.write(note_path(run.id), json.dumps({"purpose": run.purpose, "flow": run.flow, **told}).encode())
