"""Compare all that is published or cached below a root with its sha256, name what is damaged, and repair it.

| what | its sha256 stands in |
|---|---|
| tables, reports | the run's manifest; for the current run in the pointer too |
| `comparisons/` | `comparison.json` |
| `tables/`, `shards/`, `checkpoints/`, `pictures/` | the file's name |

A cached file that is damaged is deleted: the next run that needs it computes it again. A published file is put back
from its cached copy, or the other way round.
"""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from storage import leases, snapshots
from storage.documents import DocumentError
from storage.images import FETCHED_FOLDER
from storage.manifests import Manifest
from storage.refs import Ref, copy
from storage.roots import DamagedError, Entry, Root
from storage.snapshots import POINTER, Pointer
from tasks.night import mending
from tasks.night.mending import Fault
from tasks.runtime.records import WRITTEN_BY_STAGES, refs_of, result_of

NAMED = re.compile(r"(?:^|[/.-])([0-9a-f]{24}|[0-9a-f]{64})\.[a-z]+$")  # by the whole sha256, or how it begins


@dataclass
class Verified:
    """What was compared, and what is wrong."""

    files: int = 0
    bytes: int = 0
    lost: int = 0  # files that records name and that are not there: the next run that needs one computes it again
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong any more."""
        return all(fault.is_mended for fault in self.faults)


def verify(root: Root, *, repair: bool = False) -> Verified:
    """Read every published and cached file and compare it with its sha256; `repair` mends what can be mended."""
    found = Verified()
    with leases.shared(root, "verify") if repair else nullcontext():
        # Cached files first: what is left of them is whole, and may be put in the place of published ones.
        copies = {file.sha256: file.ref for manifest in _manifests(root) for file in manifest.table_files()}
        found.faults += _cached(copies, found, root, repair=repair)
        found.faults += _records(found, root, repair=repair)
        found.faults += _pointer(root, repair=repair)
        found.faults += _other_manifests(root)
        for manifest in _manifests(root):
            found.files += len(manifest.files)
            found.bytes += sum(file.bytes for file in manifest.files)
            found.faults += _published(manifest, root, repair=repair)
        found.faults += _comparisons(found, root, repair=repair)
    return found


def _manifests(root: Root) -> list[Manifest]:
    return snapshots.runs(root, skip_damaged=True)


def _cached(copies: dict[str, Ref], found: Verified, root: Root, *, repair: bool) -> Iterator[Fault]:
    entries = [entry for folder in (*WRITTEN_BY_STAGES, FETCHED_FOLDER) for entry in root.entries(folder.rstrip("/"))]
    expected = {entry: match[1] for entry in entries if (match := NAMED.search(entry.path))}
    with ThreadPoolExecutor() as threads:  # a digest is computed outside Python's own lock
        for (entry, name), digest in zip(expected.items(), threads.map(_digest(root), expected), strict=True):
            found.files += 1
            found.bytes += entry.size
            if digest is None or digest.startswith(name):
                continue
            problem = f"damaged: its sha256 is {digest}, by its name it begins with {name}"
            yield replace(_drop(entry.path, root, repair=repair), problem=problem)
            copied = next((ref for sha256, ref in copies.items() if sha256.startswith(name)), None)
            if repair and copied and copied.is_whole(root):
                copy(copied, entry.path, root)


def _digest(root: Root) -> Callable[[Entry], str | None]:
    def digest(entry: Entry) -> str | None:
        try:
            return root.digest(entry.path)
        except FileNotFoundError:  # deleted since it was listed
            return None

    return digest


def _records(found: Verified, root: Root, *, repair: bool) -> Iterator[Fault]:
    lost = set[str]()
    for entry in list(root.entries("cache")):
        try:
            refs = list(refs_of(result_of(entry.path, root)))
        except FileNotFoundError:
            continue
        except DocumentError as error:
            yield replace(_drop(entry.path, root, repair=repair), problem=_problem(error, entry.path, root))
            continue
        lost |= {ref["path"] for ref in refs if not root.exists(ref["path"])}
    found.lost = len(lost)


def _problem(error: DocumentError, path: str, root: Root) -> str:
    """What is wrong with a file, without its name."""
    return str(error).removeprefix(f"{root.url(path)}: ")


def _drop(path: str, root: Root, *, repair: bool) -> Fault:
    """A fault of a file that stages write again: it is deleted."""
    if not repair:
        return Fault(path, "", "`--repair` deletes it, and the next run that needs it computes it again")
    root.delete(path)
    if root.exists(path):
        return Fault(path, "", f"not deleted, as {root.link_above(path)} leads out of the root")
    return Fault(path, "", "deleted; the next run that needs it computes it again", is_mended=True)


def _pointer(root: Root, *, repair: bool) -> Iterator[Fault]:
    """Faults of the pointer and of the current run's manifest, of which each can be written again from the other."""
    last = snapshots.last_current(root, _manifests(root))
    try:
        pointer = snapshots.current(root)
        problem = "lost" if pointer is None and last else None
    except DocumentError as error:
        pointer, problem = None, _problem(error, POINTER, root)
    if problem and last:
        outcome = f"points to run {last.run_id}, the last that was current"
        if repair:
            snapshots.restore_pointer(root, last)
        yield Fault(POINTER, problem, f"{'it ' if repair else 'with `--repair` it '}{outcome}", is_mended=repair)
    elif problem:
        yield Fault(POINTER, problem, "no run is left that it could point to; the next night publishes one")
    elif pointer:
        yield from _manifest_of(pointer, root, repair=repair)


def _manifest_of(pointer: Pointer, root: Root, *, repair: bool) -> Iterator[Fault]:
    path = f"{snapshots.folder(pointer.run_id)}/manifest.json"
    try:
        manifest = snapshots.manifest(root, pointer.run_id)
        if replace(Pointer.of(manifest), fence=pointer.fence, change=pointer.change) == pointer:
            return
        problem = "says other things than the pointer"
        if not any(mending.problem_of(file, root) for file in manifest.table_files()):
            if repair:
                snapshots.restore_pointer(root, manifest)
            outcome = "written again from the manifest" if repair else "`--repair` writes it again from the manifest"
            yield Fault(POINTER, "says other things than the manifest of its run", outcome, is_mended=repair)
            return
    except FileNotFoundError:
        problem = "lost"
    except DocumentError as error:
        problem = _problem(error, path, root)
    if not repair:
        yield Fault(path, problem, "`--repair` writes it again from the pointer and the files that it names")
        return
    try:
        mending.restore(pointer, root)
        yield Fault(path, problem, "written again from the pointer and the files that it names", is_mended=True)
    except (DocumentError, DamagedError, FileNotFoundError) as error:
        yield Fault(path, problem, f"not written again: {error}")


def _other_manifests(root: Root) -> Iterator[Fault]:
    """Damaged manifests of runs that are not current."""
    try:
        current = snapshots.current(root)
    except DocumentError:
        current = None
    for entry in list(root.entries(snapshots.RUNS)):
        match = re.fullmatch(rf"{snapshots.RUNS}/run_id=([^/]+)/manifest.json", entry.path)
        if match and not (current and match[1] == current.run_id):
            try:
                snapshots.manifest(root, match[1])
            except DocumentError as error:
                yield Fault(entry.path, _problem(error, entry.path, root), "the run is not current")


def _published(manifest: Manifest, root: Root, *, repair: bool) -> Iterator[Fault]:
    if repair:
        yield from mending.mend(manifest, root)
        return
    for file in manifest.files:
        if problem := mending.problem_of(file, root):
            yield Fault(file.path, problem, "`--repair` puts it back if there is a copy")


def _comparisons(found: Verified, root: Root, *, repair: bool) -> Iterator[Fault]:
    """The tables of comparisons; those of each user's figures only where the comparison noted their sha256."""
    for entry in list(root.entries("comparisons")):
        if not entry.path.endswith("/comparison.json"):
            continue
        try:
            files = dict(json.loads(root.read(entry.path))["files"])
        except (ValueError, KeyError, TypeError) as error:
            yield Fault(entry.path, f"no record of a comparison ({error})", "compare again: what is cached is reused")
            continue
        for name, sha256 in files.items():
            path = f"{entry.path.removesuffix('comparison.json')}{name}.parquet"
            found.files += 1
            digest = _digest(root)(Entry(path, 0, ""))
            if digest == sha256:
                continue
            problem = f"damaged: its sha256 is {digest}, expected {sha256}" if digest else "lost"
            copies = [one for one in root.entries("tables") if f"/{sha256[:24]}." in one.path] if repair else []
            if copies:
                copy(Ref(name, copies[0].path, sha256, 0, copies[0].size), path, root)
            outcome = "put back" if copies else "compare again: what is cached is reused"
            yield Fault(path, problem, outcome, bool(copies))
