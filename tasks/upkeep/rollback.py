"""Make a published run current by hand: an earlier one (`tastegraph rollback`), or any (`tastegraph publish`).

No table is written: the pointer moves, by the same conditional put as a night's. Of a night and a rollback at once, one
moves the pointer, and the other is refused and says so.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from storage import history, leases, snapshots, tombstones
from storage.history import Change
from storage.manifests import Manifest, PublishedFile
from storage.roots import Root
from storage.tombstones import NAMED_IN, Tombstones
from tasks.night.mending import problem_of


class RefusedError(ValueError):
    """The run must not become current; the message says why, and what to do."""


@dataclass(frozen=True)
class Moved:
    """What the pointer did."""

    run_id: str
    previous: str | None
    withdrawn: list[str]  # runs that a rollback went back behind
    is_moved: bool  # False: the run was current already
    seconds: float


def roll_back(root: Root, to: str | None = None, why: str = "", *, read_all: bool = True) -> Moved:
    """Make an earlier run current: `to`, by default the last one before the current that was fit to be.

    Args:
        why: for the history.
        read_all: read every byte of the run's tables and compare it; else only look at the files' sizes.
    Raises:
        RefusedError: no earlier run, or one that is not whole, that the gate held, or that names somebody forgotten.
        BusyError: `gc` or `forget` is at work, which may be about to delete the run.
        ConflictError: somebody else moved the pointer meanwhile.
    """
    start = time.monotonic()
    with leases.exclusive(root, "rollback", snapshots.raise_fence):
        current = _current(root)
        published, changes = snapshots.runs(root, skip_damaged=True), snapshots.changes(root)
        if to == current.run_id:
            return Moved(to, to, [], False, time.monotonic() - start)
        once_current, withdrawn = {change.run_id for change in changes}, history.withdrawn(changes)
        moment = _moments(published, changes)
        fit = sorted((one for one in published if one.is_current or one.run_id in once_current), key=moment)[::-1]
        earlier = (one for one in fit if moment(one) < moment(current) and one.run_id not in withdrawn)
        target = _named(to, root) if to else next(earlier, None)
        if target is None:
            raise RefusedError(
                f"{root.address}: no run before {current.run_id} is left that the gate let through; `tastegraph show` "
                f"lists all"
            )
        if moment(target) >= moment(current):
            raise RefusedError(
                f"run {target.run_id} is not earlier than {current.run_id}, which is current; "
                f"`tastegraph publish --run {target.run_id}` makes it current"
            )
        if target not in fit:
            raise _held(target)
        _check(target, root, read_all=read_all)
        behind = [one.run_id for one in fit if moment(target) < moment(one) < moment(current)]
        ids = [current.run_id, *behind]
        snapshots.make_current(root, target, "rollback", why, after=current.run_id, withdrawn=ids)
    return Moved(target.run_id, current.run_id, ids, True, time.monotonic() - start)


def publish_run(root: Root, run_id: str, why: str = "", *, force: bool = False, read_all: bool = True) -> Moved:
    """Make a published run current; with `force` also one that the gate held. Raises as `roll_back`."""
    start = time.monotonic()
    with leases.exclusive(root, "publish", snapshots.raise_fence):
        previous, target = snapshots.current_id(root), _named(run_id, root)
        if run_id == previous:
            return Moved(run_id, previous, [], False, time.monotonic() - start)
        if not target.is_current and not force:
            raise _held(target)
        _check(target, root, read_all=read_all)
        snapshots.make_current(root, target, "publish", why, after=previous)
    return Moved(run_id, previous, [], True, time.monotonic() - start)


def _current(root: Root) -> Manifest:
    """What is current, as a manifest of which only id and time count where its own is lost."""
    pointer = snapshots.current(root)
    if pointer is None:
        raise RefusedError(
            f"{root.address}: nothing is current here; `tastegraph publish --run ID` makes a run current"
        )
    return Manifest(run_id=pointer.run_id, generated_at=pointer.generated_at, metrics=None)


def _named(run_id: str, root: Root) -> Manifest:
    try:
        return snapshots.manifest(root, run_id)
    except FileNotFoundError as error:
        raise RefusedError(f"{error}, or it was deleted; `tastegraph show` lists all runs") from error


def _held(target: Manifest) -> RefusedError:
    failed = [f"{outcome.name}: {outcome.message}" for outcome in target.gate if outcome.verdict == "hold"]
    return RefusedError(
        f"the gate held run {target.run_id} ({'; '.join(failed) or 'it does not say why'}); "
        f"`tastegraph publish --run {target.run_id} --force --why TEXT` makes it current even so"
    )


def _moments(published: list[Manifest], changes: list[Change]) -> Callable[[Manifest], tuple[str, int, str]]:
    """What runs sort by: their times, and where the clock was set back between two nights, the nights' order."""
    times, latest, of_night = {one.run_id: one.generated_at for one in published}, "", dict[str, tuple[str, int]]()
    for change in changes:
        if change.action == "night" and change.run_id in times and change.run_id not in of_night:
            latest = max(latest, times[change.run_id])
            of_night[change.run_id] = latest, change.number
    return lambda one: (*of_night.get(one.run_id, (one.generated_at, 0)), one.run_id)


def _check(manifest: Manifest, root: Root, *, read_all: bool) -> None:
    """Raises RefusedError where a table's file is lost or damaged, or names somebody who was forgotten."""
    files, forgotten = manifest.table_files(), tombstones.read(root)

    def problem(file: PublishedFile) -> str | None:
        entry = root.entry(file.path)
        if entry and entry.size != file.bytes:
            return f"damaged: {entry.size:,} bytes, and {file.bytes:,} in the manifest"
        return problem_of(file, root) if read_all or not entry else None

    with ThreadPoolExecutor() as threads:
        for file, found in zip(files, threads.map(problem, files), strict=True):
            if found:
                raise RefusedError(
                    f"run {manifest.run_id} is not whole, so the pointer was left as it is: {root.url(file.path)} "
                    f"is {found}; `tastegraph verify --repair` puts it back where a copy is left, or name another run"
                )
    for file in files:
        if _names_any(forgotten, file, root):
            raise RefusedError(
                f"run {manifest.run_id} names somebody who was forgotten, so the pointer was left as it is: "
                f"{root.url(file.path)}; run `tastegraph forget` again, which deletes such runs, or name another run"
            )


def _names_any(forgotten: Tombstones, file: PublishedFile, root: Root) -> bool:
    if not forgotten.digests:
        return False
    rows = pl.scan_parquet(root.local(file.path, file.sha256), glob=False)
    names = set(rows.collect_schema().names())
    return any(
        forgotten.among(kind, rows.select(pl.col(name).unique()).collect()[name])
        for kind in NAMED_IN
        for name in names.intersection(NAMED_IN[kind])
    )
