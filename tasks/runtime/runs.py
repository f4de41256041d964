"""Run ids: one per night, and the same one again for a night that was killed and is started again.

    runs/<run_id>.json      what the run is for, whether it has ended, and then the folder that it published
    runs/<run_id>.records   which records of stages it used, a line each, once it has ended
    runs/<run_id>.stages.parquet    what its stages took, as far as it came
    runs/<purpose>.claim    which process is at it: a run of the same purpose waits until that has ended

From the first two `tasks/upkeep/retention.py` finds what a published run needs.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage import documents, parquet, snapshots
from storage.documents import DocumentError
from storage.roots import Entry, Root
from storage.tables.stages import STAGES
from tasks.runtime.ledger import Line

ID_FORMAT = "%Y%m%dT%H%M%SZ"
SECOND = timedelta(seconds=1)
MEND = "delete it: nothing but what that run would reuse is lost"

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


@dataclass(frozen=True)
class NoteFile:
    """What a note's file holds."""

    purpose: str
    finished: bool
    flow: str = "nightly"  # runs of version 0.1 do not say
    made: str | None = None


def begin(run_id: str | None, purpose: str, root: Root, flow: str = "nightly") -> Run:
    """This run. Without a `run_id` its id is that of an unfinished run of the same purpose, else the time.

    Raises ValueError for an id under which nothing could be published.
    """
    is_named = run_id is not None
    unfinished = [note for note in notes(root, skip_damaged=True) if not note.finished and note.purpose == purpose]
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
    """The time as an id, later than every other such id: where the clock was set back, by a second than the last."""
    taken = [time for time in map(_time_in, map(_id_of, _note_entries(root))) if time]
    now = datetime.now(UTC)
    return max(now, max(taken, default=now - SECOND) + SECOND).strftime(ID_FORMAT)


def _time_in(run_id: str) -> datetime | None:
    """The time of an id that is one; those of version 0.2 may have a number behind it."""
    with suppress(ValueError):
        return datetime.strptime(run_id.partition("-")[0], ID_FORMAT).replace(tzinfo=UTC)
    return None


def notes(root: Root, *, skip_damaged: bool = False) -> list[Note]:
    """The notes of all runs that were begun, by id. Raises DocumentError for a damaged one, or leaves it out."""
    found = []
    for entry in sorted(_note_entries(root), key=lambda entry: entry.path):
        try:
            value = documents.read(root, entry.path, NoteFile, MEND)
        except DocumentError as error:
            if not skip_damaged:
                raise
            log.warning("left out: %s", error)
            continue
        if value:  # another process may delete it while we look
            id_ = _id_of(entry)
            found.append(Note(id_, value.purpose, value.finished, entry.modified_s, value.flow, value.made))
    return found


def records_of(note: Note, root: Root) -> list[str]:
    """The records that a run used; none of a run that has not ended, or ended before they were noted."""
    path = records_path(note.id)
    try:
        return root.read(path).decode().splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise DocumentError(f"{root.url(path)}: no text ({error}); {MEND}") from error


def write_stages(run: Run, lines: Iterable[Line], root: Root) -> None:
    """Write the table of what a run's stages took."""
    columns: dict[str, list[Any]] = {name: [] for name in STAGES.schema.names}
    for place, line in enumerate(lines):
        for name, value in {**vars(line), **vars(line.usage), "place": place}.items():
            if name in columns:
                columns[name].append(value)
    with root.workspace() as folder:
        file = folder / "stages.parquet"
        parquet.write_file(parquet.conform(STAGES, columns), file, STAGES.name)
        root.put(file, stages_path(run.id))


def stages_of(run_id: str, root: Root) -> list[dict[str, Any]]:
    """The rows of a run's table of stages; none where there is no such table."""
    try:
        rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(root.read(stages_path(run_id)))).to_pylist()
        return rows
    except FileNotFoundError:
        return []
    except pa.ArrowException as error:
        raise DocumentError(f"{root.url(stages_path(run_id))}: damaged ({error}); {MEND}") from error


def stages_path(run_id: str) -> str:
    """The path of the table of what a run's stages took."""
    snapshots.folder(run_id)  # refuses what cannot be part of a path
    return f"runs/{run_id}.stages.parquet"


def claim_path(purpose: str) -> str:
    """The path of the claim of the process that is at a run of this purpose."""
    return f"runs/{purpose}.claim"


def note_path(run_id: str) -> str:
    """The path of a run's note."""
    return f"runs/{run_id}.json"


def records_path(run_id: str) -> str:
    """The path of the list of records that a run used: a file of its own, as every night reads all notes."""
    return f"runs/{run_id}.records"


def _write(run: Run, state: dict[str, object], root: Root) -> None:
    root.write(note_path(run.id), documents.dump({"purpose": run.purpose, "flow": run.flow, **state}))


def _note_entries(root: Root) -> Iterator[Entry]:
    return (entry for entry in root.entries("runs") if entry.path.endswith(".json"))


def _id_of(entry: Entry) -> str:
    return entry.path.rpartition("/")[2].removesuffix(".json")
