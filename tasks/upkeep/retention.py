"""Delete old runs, and the tables, shards, models and records that nothing kept refers to.

What is kept:

- the current run and the last N published ones, with what their manifests refer to; what the pointer names stays also
  where the manifest is lost, and where the pointer is lost the newest run that the gate let through;
- all comparisons;
- what the runs that published one of these used: a run notes its records when it ends (tasks/runtime/runs.py), and a
  record names its files;
- what was written since an unfinished run began that may go on, as no later run of the same flow has ended.

Nothing outside the root is deleted: what lies beyond a link out of it stays, and is said.

While a flow is at work, only published runs are deleted: it may be about to use any record, hence any file.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from storage import leases, snapshots
from storage.documents import DocumentError
from storage.images import FETCHED_FOLDER
from storage.manifests import Manifest
from storage.roots import WORK_FOLDER, Entry, Root
from storage.sources.fetching import is_picture
from tasks.runtime import runs
from tasks.runtime.records import refs_of, result_of
from tasks.runtime.runs import Note
from tasks.upkeep import fetched

RECOMPUTED = (
    "cache",
    "checkpoints",
    FETCHED_FOLDER,
    "shards",
    "sources",
    "studies",
    "tables",
)  # folders whose files a flow can write again
STARTING_S = 60.0  # a process that waits for this one to end may just write its lease in a workspace
NOTE_S = 30 * 86_400.0  # longer than fetch.again_days mostly is
CLOCK_S = 2.0  # a store may keep times in whole seconds

log = logging.getLogger("tastegraph")


@dataclass(frozen=True)
class Collected:
    """What was deleted, or would be."""

    kept_runs: list[str]
    deleted: list[Entry]
    waiting_for: list[str]  # flows at work, because of which only published runs were looked at
    unreached: dict[str, int]  # links out of the root, and how many files beyond them would be deleted

    @property
    def bytes(self) -> int:
        return sum(entry.size for entry in self.deleted)

    @property
    def by_folder(self) -> dict[str, tuple[int, int]]:
        """Files and bytes, by what they are."""
        found: dict[str, tuple[int, int]] = {}
        for entry in self.deleted:
            folder = PurePosixPath(entry.path).parts[0]
            files, size = found.get(folder, (0, 0))
            found[folder] = (files + 1, size + entry.size)
        return dict(sorted(found.items()))


def collect(root: Root, keep: int, *, dry_run: bool = False) -> Collected:
    """Delete what nothing needs, with the last `keep` published runs kept. Raises BusyError during another deletion."""
    with leases.exclusive(root, "gc", snapshots.raise_fence) as holders:
        kept, notes, pointer = _kept_runs(root, keep), runs.notes(root), snapshots.current(root)
        places = {snapshots.folder(manifest.run_id) for manifest in kept}
        if pointer:
            places.add(snapshots.folder(pointer.run_id))
        found = list(_old_runs(places, notes, root, is_idle=not holders))
        if not holders:
            found += _unreachable(kept, places, notes, root)
        named = set(pointer.checksums) if pointer else set()
        found = [entry for entry in found if entry.path not in named]
        links = {entry.path: root.link_above(entry.path) for entry in found}
        deleted = [entry for entry in found if not links[entry.path]]
        if not dry_run:
            for entry in deleted:
                leases.keep(root)
                root.delete(entry.path)
            for folder in {_run_folder(entry.path) for entry in deleted} - {""}:
                root.prune(folder)
            if not holders:  # what a killed deletion, or a killed night, left without a file in it
                root.prune(snapshots.RUNS)
                root.prune(WORK_FOLDER, STARTING_S)
    unreached = Counter(link for link in links.values() if link)
    return Collected([manifest.run_id for manifest in kept], deleted, [str(lease) for lease in holders], unreached)


def _kept_runs(root: Root, keep: int) -> list[Manifest]:
    """The manifests of the runs to keep."""
    pointer, published = snapshots.current(root), snapshots.runs(root)
    last = None if pointer else snapshots.last_current(root, published)
    current = pointer.run_id if pointer else last and last.run_id
    return [manifest for place, manifest in enumerate(published) if place < keep or manifest.run_id == current]


def _old_runs(kept: set[str], notes: list[Note], root: Root, *, is_idle: bool) -> Iterator[Entry]:
    """The files of published runs in other folders, each one's manifest first: without it the rest is no run.

    What a killed run left of its publication is deleted too, unless the run may still be completed.
    """
    going_on = {snapshots.folder(note.id) for note in _going_on(notes)}
    spared = kept | going_on
    entries = [entry for entry in root.entries(snapshots.RUNS) if _run_folder(entry.path) not in spared]
    published = {_run_folder(entry.path) for entry in entries if entry.path.endswith("/manifest.json")}
    for entry in sorted(entries, key=lambda entry: not entry.path.endswith("/manifest.json")):
        if is_idle or _run_folder(entry.path) in published:
            yield entry


def _unreachable(kept: list[Manifest], places: set[str], notes: list[Note], root: Root) -> Iterator[Entry]:
    """Files that nothing kept refers to; notes of runs that are gone; the leases and workspaces of the dead."""
    published = places | {str(PurePosixPath(entry.path).parent) for entry in root.entries("comparisons")}
    ended, going_on = [note for note in notes if note.published in published], _going_on(notes)
    entries = [entry for folder in RECOMPUTED for entry in root.entries(folder)]
    needed = _needed(kept, ended, going_on, entries, root)
    sources = {_source_folder(path) for path in needed} - {""}
    for entry in entries:
        if entry.path not in needed and _source_folder(entry.path) not in sources:
            yield entry
    kept_beside = (runs.note_path, runs.records_path, runs.stages_path)
    wanted = {place(note.id) for note in (*ended, *going_on) for place in kept_beside}
    yield from (entry for entry in root.entries("runs") if entry.path not in wanted)
    held = {found.path for found in leases.all_of(root) if found.is_held}
    yield from (entry for entry in root.entries(leases.FOLDER) if entry.path not in held)
    yield from root.debris()


def _needed(
    kept: list[Manifest], ended: list[Note], going_on: list[Note], entries: list[Entry], root: Root
) -> set[str]:
    """What can be reached from manifests and from what ended runs used, and all that is newer than a broken-off one."""
    since_s = min((note.written_s for note in going_on), default=float("inf")) - CLOCK_S
    if since_s > time.time() and going_on:  # the clock was set back since that run began: nothing says what is newer
        since_s = 0.0
    recent = {entry.path for entry in entries if entry.modified_s >= since_s}
    used = recent.union(*(runs.records_of(note, root) for note in ended))
    records = [entry.path for entry in entries if entry.path in used and entry.path.startswith("cache/")]
    files = used.union(_files_of(kept, records, root))
    present = {entry.path for entry in entries}
    notes_of_none = {entry.path for entry in entries if _is_fresh_note(entry)}
    return files | fetched.named_in(sorted(files & present), root) | notes_of_none


def _is_fresh_note(entry: Entry) -> bool:
    """Whether it says that an address has no picture, and may still be believed."""
    is_note = entry.path.startswith(f"{FETCHED_FOLDER}/") and not is_picture(entry.path)
    return is_note and entry.modified_s >= time.time() - NOTE_S


def _going_on(notes: list[Note]) -> list[Note]:
    """Runs that have not ended and may be started again: no later one of the same flow has ended."""
    ended_s = {note.flow: note.written_s for note in sorted(notes, key=lambda note: note.written_s) if note.finished}
    return [note for note in notes if not note.finished and note.written_s >= ended_s.get(note.flow, 0.0)]


def _files_of(manifests: list[Manifest], records: Iterable[str], root: Root) -> Iterator[str]:
    """The paths that manifests and records refer to."""
    for manifest in manifests:
        yield from (ref["path"] for ref in refs_of(manifest.to_json()))
    for record in records:
        try:
            yield from (ref["path"] for ref in refs_of(result_of(record, root)))
        except DocumentError as error:  # it does not count: what it names is computed again
            log.warning("left out: %s", error)


def _run_folder(path: str) -> str:
    """The folder of the published run that a file belongs to; empty for any other file."""
    return "/".join(PurePosixPath(path).parts[:3]) if path.startswith(f"{snapshots.RUNS}/") else ""


def _source_folder(path: str) -> str:
    """The generated source that a file belongs to: of use as a whole only."""
    return "/".join(PurePosixPath(path).parts[:2]) if path.startswith("sources/") else ""
