"""Published runs: one immutable snapshot per run, and a small pointer, written last, that says which is current.

    exports/current.json                                      the pointer
    exports/history/000001.json                               a change of the pointer (storage/history.py)
    exports/runs/run_id=<run_id>/<table>/part-00000.parquet
    exports/runs/run_id=<run_id>/report/index.html            the page, its pictures, and what it was rendered from
    exports/runs/run_id=<run_id>/manifest.json                written when all else of the run is in its place

A run without a manifest is one whose publishing was killed: nobody reads it, and publishing it again completes it.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from storage import documents, history, leases
from storage.documents import DocumentError
from storage.history import Change
from storage.manifests import MEND_MANIFEST, Manifest, PublishedFile
from storage.refs import Ref, copy
from storage.roots import ConflictError, Entry, Root
from storage.tables.schema import SCHEMA_VERSION

POINTER = "exports/current.json"
RUNS = "exports/runs"
MEND_POINTER = "`tastegraph verify --repair` writes it again, and so does the next night that passes the gate"

log = logging.getLogger("tastegraph")


class PublishedError(ValueError):
    """The run id is taken by a published run with other tables."""


@dataclass(frozen=True)
class Pointer:
    """Where a published run's tables lie: what `exports/current.json` holds."""

    run_id: str
    generated_at: str
    schema_version: str
    paths: dict[str, list[str]]  # each table's files, below the root
    rows: dict[str, int]  # each table's
    checksums: dict[str, str]  # each file's sha256
    metrics: Any
    fence: int = 0  # raised where the lease of a process is taken, so that it cannot move the pointer any more
    change: Change | None = None  # how it came to point there; runs of version 0.2 did not say

    @classmethod
    def of(cls, manifest: Manifest) -> "Pointer":
        """The pointer to the run with this manifest, current or not."""
        return cls(
            run_id=manifest.run_id,
            generated_at=manifest.generated_at,
            schema_version=manifest.schema_version,
            paths={name: [file.path for file in manifest.table_files(name)] for name in manifest.rows},
            rows=dict(manifest.rows),
            checksums={file.path: file.sha256 for file in manifest.table_files()},
            metrics=manifest.metrics,
        )


def publish(
    root: Root,
    manifest: Manifest,
    tables: Mapping[str, Sequence[Ref]],
    report: Mapping[str, bytes],
    *,
    current: bool,
    action: str = "night",
    why: str = "",
    after: str | None = None,
) -> Manifest:
    """Publish a run and return its manifest; with `current`, make it the one that readers follow.

    Killed anywhere and called again, it ends with the same files. A run that is published already keeps its manifest
    and its report where the tables are the same: lost tables are put back, and only the pointer may still move.

    Args:
        manifest: all of it but rows and files, which are set here; also the schema version where it has none.
        tables: each table's files, in the order in which they are read.
        report: the files of `report/` by name, `index.html` among them.
        action, why: for the history.
        after: the run that must be current still; None: whichever.
    Raises:
        PublishedError: the run id is taken by a run with other tables.
        ConflictError: somebody else published this run, or made another one current, since the call began; or `after`
            is not current.
        LostError: this process's lease on the root was taken meanwhile; the pointer was not moved.
        DamagedError: a file of `tables` holds other bytes than its digest names; nothing was published.
        ValueError: a run id that cannot be part of a path, or a manifest that JSON cannot hold.
    """
    before = _seen(root)
    if current:
        _refuse_other(before, after, root)
    place = folder(manifest.run_id)
    sources = {
        f"{place}/{name}/part-{part:05d}.parquet": (name, ref)
        for name, refs in sorted(tables.items())
        for part, ref in enumerate(refs)
    }
    files = [PublishedFile(name, path, ref.rows, ref.bytes, ref.sha256) for path, (name, ref) in sources.items()]
    pages = {f"{place}/report/{name}": content for name, content in report.items()}
    complete = replace(
        manifest,
        schema_version=manifest.schema_version or SCHEMA_VERSION,
        rows={name: sum(ref.rows for ref in refs) for name, refs in sorted(tables.items())},
        files=(*files, *(page_file(path, content) for path, content in pages.items())),
    )
    data = _json(complete.to_json())  # before anything is written, as it may refuse

    published = _manifest(root, f"{place}/manifest.json")
    if published and published.table_files() != files:
        raise PublishedError(
            f"{root.url(place)}: run {manifest.run_id} was published at {published.generated_at} with other tables, "
            f"and what is published never changes; publish under another run id"
        )
    for path, (_, ref) in sources.items():
        if not replace(ref, path=path).is_whole(root):
            copy(ref, path, root)
    if not published:
        for left in {entry.path for entry in root.entries(place)} - sources.keys():
            root.delete(left)
        for path, content in pages.items():
            root.write(path, content)
        root.swap(f"{place}/manifest.json", data, None)
    if current:
        _follow(root, Pointer.of(published or complete), before, action, why)
    return published or complete


def make_current(
    root: Root, manifest: Manifest, action: str, why: str, *, after: str | None, withdrawn: Sequence[str] = ()
) -> Pointer:
    """Make a published run current, whose files the caller has looked at, and return the pointer.

    Args:
        action, why, withdrawn: for the history.
        after: the run that must be current still; None: whichever.
    Raises:
        ConflictError: another run is current than `after`, or becomes so meanwhile.
        LostError: as `publish`.
    """
    before = _seen(root)
    _refuse_other(before, after, root)
    return _follow(root, Pointer.of(manifest), before, action, why, withdrawn)


def current(root: Root) -> Pointer | None:
    """The pointer to the current run; None where no run was made current yet. Raises DocumentError where damaged."""
    try:
        data = root.read(POINTER)
    except FileNotFoundError:
        return None
    return _pointer(documents.parse_object(data, root.url(POINTER), MEND_POINTER), root)


def current_id(root: Root) -> str | None:
    """The current run's id; None where there is no pointer, or none that can be read."""
    return _seen(root).run_id


def changes(root: Root, at_most: int | None = None) -> list[Change]:
    """The changes of the pointer, the oldest first; damaged files are named in the log and left out.

    Args:
        at_most: only so many of the latest.
    """
    pointer = _seen(root).pointer
    found, damaged = history.read(root, pointer.change if pointer else None, at_most)
    for error in damaged:
        log.warning("left out: %s", error)
    return found


def withhold(root: Root, is_named: Callable[[str], bool]) -> None:
    """Blot out, in the history and the pointer, what a person wrote, where it names somebody who is to be forgotten."""
    history.withhold(root, is_named)
    seen = _seen(root)
    if seen.entry and seen.pointer and seen.pointer.change:
        left = replace(seen.pointer, change=history.without(seen.pointer.change, is_named))
        if left != seen.pointer:
            root.swap(POINTER, _json(asdict(left)), seen.entry.version)


def last_current(root: Root, published: Sequence[Manifest]) -> Manifest | None:
    """The run to point to where the pointer is lost: the last that the history names, else the newest that passed.

    Args:
        published: all runs, the newest first.
    """
    by_id = {manifest.run_id: manifest for manifest in published}
    named = [change.run_id for change in reversed(changes(root)) if change.run_id in by_id]
    passed = (manifest for manifest in published if manifest.is_current)
    return by_id[named[0]] if named else next(passed, None)


def restore_pointer(root: Root, to: Manifest) -> Pointer:
    """Write a lost or damaged pointer again, as it was where the history ends with this run."""
    seen, (files, _) = _seen(root), history.read(root, None)
    if not files or files[-1].run_id != to.run_id:
        return _follow(root, Pointer.of(to), seen, "repair", "the pointer was lost or damaged")
    leases.check(root)
    pointer = replace(Pointer.of(to), fence=seen.fence, change=files[-1])
    root.swap(POINTER, _json(asdict(pointer)), seen.entry.version if seen.entry else None)
    return pointer


def restore_manifest(root: Root, system: str, model: str) -> Manifest:
    """Write the current run's lost or damaged manifest again, from the pointer and the files of the run.

    It lacks what no file says: settings, inputs, the gate's outcomes, what the next night may build on.

    Args:
        system, model: what learned the run.
    Raises:
        ValueError: no pointer, or one of its files is lost or damaged.
    """
    pointer = current(root)
    if pointer is None:
        raise DocumentError(f"{root.url(POINTER)}: lost too, so no manifest can be written again")
    files = []
    for table, paths in pointer.paths.items():
        for path in paths:
            entry, sha256 = root.entry(path), pointer.checksums[path]
            if entry is None:
                raise DocumentError(f"{root.url(path)}: lost, like the manifest of its run, so it cannot be put back")
            num_rows = pq.read_metadata(root.local(path, sha256)).num_rows
            files.append(PublishedFile(table, path, num_rows, entry.size, sha256))
    place = folder(pointer.run_id)
    pages = list(root.entries(f"{place}/report"))
    files += [PublishedFile(None, page.path, 0, page.size, root.digest(page.path)) for page in pages]
    rebuilt = Manifest(
        run_id=pointer.run_id,
        generated_at=pointer.generated_at,
        metrics=pointer.metrics,
        system=system,
        model=model,
        is_current=True,
        schema_version=pointer.schema_version,
        rows=pointer.rows,
        files=tuple(files),
        further={"rebuilt": f"from {POINTER}, as the manifest was lost"},
    )
    root.write(f"{place}/manifest.json", _json(rebuilt.to_json()))
    return rebuilt


def manifest(root: Root, run_id: str) -> Manifest:
    """What a published run holds, and how it came about.

    Raises FileNotFoundError where there is no such run, DocumentError where its manifest is damaged.
    """
    if found := _manifest(root, f"{folder(run_id)}/manifest.json"):
        return found
    raise FileNotFoundError(f"{root.url(RUNS)}: no run {run_id} was published here")


def runs(root: Root, *, skip_damaged: bool = False) -> list[Manifest]:
    """The manifests of all published runs, the newest first, current or not.

    Raises DocumentError for a damaged one, or leaves it out.
    """
    manifests = []
    for path in (entry.path for entry in root.entries(RUNS) if re.fullmatch(f"{RUNS}/[^/]+/manifest.json", entry.path)):
        try:
            found = _manifest(root, path)
        except DocumentError as error:
            if not skip_damaged:
                raise
            log.warning("left out: %s", error)
            continue
        if found:  # an old run may be deleted while we look
            manifests.append(found)
    return sorted(manifests, key=lambda found: (found.generated_at, found.run_id), reverse=True)


def dataset(root: Root, pointer: Pointer, table: str) -> list[Path]:
    """Local Parquet files with a table's rows, in order, to be scanned. Raises ValueError for an unknown table."""
    if table not in pointer.paths:
        raise ValueError(f"run {pointer.run_id} has no table {table}; it has {', '.join(sorted(pointer.paths))}")
    return [root.local(path, pointer.checksums[path]) for path in pointer.paths[table]]


def folder(run_id: str) -> str:
    """Where a run is published, below the root. Raises ValueError for a run id that cannot be part of a path."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", run_id):
        raise ValueError(f"run id {run_id!r}: write letters, digits and . _ - only, and no . or - in front")
    return f"{RUNS}/run_id={run_id}"


def page_file(path: str, content: bytes) -> PublishedFile:
    """A page of a report with these bytes, as a manifest names it."""
    return PublishedFile(None, path, 0, len(content), hashlib.sha256(content).hexdigest())


def raise_fence(root: Root) -> None:
    """Change the pointer's version and nothing that it points to: whoever has read it must read it again."""
    while entry := root.entry(POINTER):
        try:
            found = documents.parse_object(root.read(POINTER), root.url(POINTER), MEND_POINTER)
            root.swap(POINTER, _json(found | {"fence": _fence_of(found) + 1}), entry.version)
        except (ConflictError, FileNotFoundError):  # somebody published just now
            continue
        return


@dataclass(frozen=True)
class _Seen:
    """The pointer as it was when it was looked at."""

    entry: Entry | None  # its version is what a put of the next one expects
    fence: int  # 0 where there is no pointer, or none that can be read
    pointer: Pointer | None  # None, too, where it cannot be read

    @property
    def run_id(self) -> str | None:
        return self.pointer.run_id if self.pointer else None


def _seen(root: Root) -> _Seen:
    entry, fence, pointer = root.entry(POINTER), 0, None  # the version first: what is read is that one, or newer
    with suppress(FileNotFoundError, DocumentError):
        found = documents.parse_object(root.read(POINTER), root.url(POINTER), MEND_POINTER)
        fence = _fence_of(found)
        pointer = _pointer(found, root)
    return _Seen(entry, fence, pointer)


def _refuse_other(seen: _Seen, after: str | None, root: Root) -> None:
    if after and seen.run_id != after:
        raise ConflictError(
            f"{root.url(POINTER)}: run {after} was current when this began, and now {seen.run_id or 'none'} is, so the "
            f"pointer was left as it is; run again"
        )


def _pointer(found: Mapping[str, Any], root: Root) -> Pointer:
    where = root.url(POINTER)
    pointer = documents.checked(found, Pointer, where, MEND_POINTER)
    if unknown := {path for paths in pointer.paths.values() for path in paths} - pointer.checksums.keys():
        raise DocumentError(f"{where}: no checksum of {min(unknown)}; {MEND_POINTER}")
    return pointer


def _fence_of(found: Mapping[str, Any]) -> int:
    value = found.get("fence", 0)
    return value if isinstance(value, int) else 0


def _withdraw_if_lost(root: Root) -> None:
    """Take back a root's first pointer, which no version can protect, where the lease was taken just before it."""
    try:
        leases.check(root)
    except leases.LostError:
        root.delete(POINTER)
        raise


def _follow(root: Root, pointer: Pointer, seen: _Seen, action: str, why: str, withdrawn: Sequence[str] = ()) -> Pointer:
    """Move the pointer, if it is still the one that was seen, and note that in the history; returns what it is now.

    Where it points there already, it stays as it is. What was noted last is noted before anything moves: whoever moved
    the pointer may have been killed before that.
    """
    leases.check(root)  # before the put: who takes this process's lease changes the pointer's version after that
    last = seen.pointer.change if seen.pointer else None
    if last:
        history.write(root, last)
    if seen.pointer and seen.pointer == replace(pointer, fence=seen.pointer.fence, change=last):
        if root.entry(POINTER) != seen.entry:
            raise ConflictError(f"{root.url(POINTER)}: another process wrote it just now; run again")
        return seen.pointer
    change = history.new_change(root, last, action, pointer.run_id, previous=seen.run_id, why=why, withdrawn=withdrawn)
    moved = replace(pointer, fence=seen.fence, change=change)
    root.swap(POINTER, _json(asdict(moved)), seen.entry.version if seen.entry else None)
    if seen.entry is None:
        _withdraw_if_lost(root)
    try:
        history.write(root, change)
    except OSError as error:  # the pointer has moved, which nothing may call a failure any more
        log.warning("the next change of the pointer notes this one, as its file could not be written: %s", error)
    return moved


def _manifest(root: Root, path: str) -> Manifest | None:
    try:
        data = root.read(path)
    except FileNotFoundError:
        return None
    where = root.url(path)
    found = Manifest.from_json(documents.parse_object(data, where, MEND_MANIFEST), where)
    if PurePosixPath(path).parent.name != f"run_id={found.run_id}":
        raise DocumentError(f"{where}: the manifest of another run, {found.run_id!r}; {MEND_MANIFEST}")
    return found


def _json(value: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(value, indent=2, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"run {value['run_id']}: JSON cannot hold its manifest or pointer: {error}") from error
