"""Run ids: one per night, and the same one again for a night that was killed and is started again.

    runs/<run_id>.json      what the run is for, whether it has ended, and then the folder that it published
    runs/<run_id>.records   which records of stages it used, a line each, once it has ended

From these two `tasks/upkeep/retention.py` finds what a published run needs.
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
    is_named: bool  # the user chose the id, so the run is published under it even if another run holds the same tables
    purpose: str  # a digest of the source, its content and the settings
    flow: str = "nightly"


@dataclass(frozen=True)
class Note:
    """A run's entry in `runs/`."""

    id: str
    purpose: str
    finished: bool
    written_s: float  # when it began, or where it is finished when it ended; by the store's clock
    flow: str = "nightly"
    published: str | None = None  # the folder with its output; an earlier run's, where that held the same tables


def begin(run_id: str | None, purpose: str, root: Root, flow: str = "nightly") -> Run:
    """This run. Without a `run_id` its id is that of an unfinished run of the same purpose, else the time.

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
    if run_id not in [note.id for note in unfinished]:  # retention keeps what was written since this time
        _write(run, {"finished": False}, root)
    return run


def finish(run: Run, root: Root, published: str | None = None, records: Iterable[str] = ()) -> None:
    """Note that the run has ended, with the folder that it published, if any, and the records that it used."""
    root.write(records_path(run.id), "".join(f"{record}\n" for record in sorted(records)).encode())
    _write(run, {"finished": True, "made": published}, root)


def new_id(root: Root) -> str:
    """The time as an id that no run has."""
    taken = {note.id for note in notes(root)}
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return next(name for name in (stamp, *(f"{stamp}-{number}" for number in range(2, 1000))) if name not in taken)


def notes(root: Root) -> list[Note]:
    """The notes of all runs that were begun, by id."""
    found = []
    entries = (entry for entry in root.entries("runs") if entry.path.endswith(".json"))
    for entry in sorted(entries, key=lambda entry: entry.path):
        id_, value = entry.path.rpartition("/")[2].removesuffix(".json"), json.loads(root.read(entry.path))
        optional = {"flow": value["flow"]} if "flow" in value else {}  # runs of version 0.1 do not say
        note = Note(id_, value["purpose"], value["finished"], entry.modified_s, published=value.get("made"), **optional)
        found.append(note)
    return found


def records_of(note: Note, root: Root) -> list[str]:
    """The records that a run used; none of a run that has not ended, or ended before they were noted."""
    path = records_path(note.id)
    return root.read(path).decode().splitlines() if root.exists(path) else []


def note_path(run_id: str) -> str:
    """The path of a run's note."""
    return f"runs/{run_id}.json"


def records_path(run_id: str) -> str:
    """The path of the list of records that a run used: a file of its own, as every night reads all notes."""
    return f"runs/{run_id}.records"


def _write(run: Run, state: dict[str, object], root: Root) -> None:
    root.write(note_path(run.id), json.dumps({"purpose": run.purpose, "flow": run.flow, **state}).encode())
