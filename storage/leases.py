"""Leases: which processes use a root right now, one small file each, rewritten while its holder lives.

    leases/<kind>-<random>.json

Flows hold shared leases beside each other. A command that deletes files of other runs takes an exclusive lease: it
writes the lease, then checks whether a flow holds one. A flow writes its lease, then waits until no exclusive one is
left. Of two processes that start in the same instant at least one sees the other, since both write before they read.

A holder that was not heard of for `LOST_S`, on another machine, may be dead or only cut off. An exclusive holder takes
its lease: deletes it, then raises the pointer's fence. The one that was cut off cannot write its lease again, and
cannot publish: it looks for its lease after it has read the pointer's version, which its put of the pointer expects.

What one process at a time may do, such as a night of one source and settings, has a claim: a file of a known name that
names its holder's lease. Who finds it with a living holder waits; else it is replaced, by a conditional put. On a store
without these, who puts it looks a second later whether it has stayed.

How long ago a lease was written is told by the store's clock alone: whoever looks compares it with the lease that it
has just written itself. The clocks of machines may differ, and jump.
"""

import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from storage import documents
from storage.documents import DocumentError
from storage.roots import ConflictError, Entry, Root, StoreError

FOLDER = "leases"
BEAT_S = 20.0  # how often a holder rewrites its lease
LOST_S = 600.0  # on another machine, a lease not rewritten for so long is lost
LOOK_S = 1.0  # how often a waiting process checks again
MEND = "delete it where nothing is at work on the root; after ten minutes it does not count any more"
MEND_CLAIM = "delete it where nothing is at work on the root; it does not count"

log = logging.getLogger("tastegraph")


class BusyError(RuntimeError):
    """Another process uses the root: deleting files now would break it."""


class LostError(RuntimeError):
    """This process's lease was taken, so it must neither publish nor delete."""


@dataclass(frozen=True)
class Lease:
    """A process that uses a root. Field names are those in the file."""

    kind: str  # the flow's name, or the command's
    is_alone: bool  # exclusive: its holder deletes files that others may use
    since: str
    machine: str
    pid: int
    beat_s: float  # when it was last written, seconds since 1970 by its holder's clock; decides nothing
    started: str = ""  # when the process began, as the kernel counts: another process may get its pid
    stage: str = ""  # what it was at when the lease was last written

    def is_held(self, age_s: float) -> bool:
        """Whether the holder is alive: by its process on this machine, by the lease's age on another one."""
        if self.machine == _machine():
            return _is_running(self.pid, self.started)
        return age_s <= LOST_S

    def __str__(self) -> str:
        stage = f", in {self.stage}" if self.stage else ""
        return f"{self.kind} (process {self.pid} on {self.machine.partition(' ')[0]}, since {self.since}{stage})"


@dataclass(frozen=True)
class Found:
    """A lease below a root."""

    path: str
    lease: Lease
    is_held: bool  # by a living process


@dataclass(frozen=True)
class Claim:
    """Who does what one process at a time may do."""

    lease: str  # the path of its lease


class _Own:
    """A lease that this process holds."""

    def __init__(self, root: Root, kind: str, *, is_alone: bool) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self.root, self.path = root, f"{FOLDER}/{kind}-{uuid.uuid4().hex}.json"
        self.lease = Lease(kind, is_alone, since, _machine(), os.getpid(), 0.0, _started(os.getpid()))
        self.num_users = 1  # blocks of this process that share it
        self._version: str | None = None
        self._written = _ticks()
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._beat, name=f"lease of {kind}", daemon=True)

    def begin(self) -> None:
        self.write()
        self._thread.start()

    def end(self) -> None:
        """Delete the lease. A store that does not let it expire by itself: what was done under it stays done."""
        self._ended.set()
        self._thread.join()
        try:
            self.root.delete(self.path)
        except StoreError as error:
            log.warning("the lease stays until it expires in %.0f minutes: %s", LOST_S / 60, error)

    def write(self) -> None:
        """Write the lease, or rewrite it. Raises LostError where it was taken."""
        with self._lock:
            self.lease = replace(self.lease, beat_s=time.time(), stage=_stage[0])
            try:
                self.root.swap(self.path, documents.dump(self.lease), self._version)
            except ConflictError:
                # Nobody else writes it: it is gone, or an earlier put arrived although it seemed to fail.
                self._version = self._found()
                self.root.swap(self.path, documents.dump(self.lease), self._version)
            self._version = self._found()
            self._written = _ticks()

    def _found(self) -> str:
        entry = self.root.entry(self.path)
        if entry is None:
            raise self._lost()
        return entry.version

    def check(self) -> None:
        """Raises LostError where the lease was taken."""
        if not self.root.exists(self.path):
            raise self._lost()

    def keep(self) -> None:
        """Rewrite the lease if that is overdue, as after a pause of the machine. Raises LostError."""
        if _ticks() - self._written > LOST_S / 2:
            self.write()

    def _lost(self) -> LostError:
        return LostError(
            f"{self.root.url(self.path)}: the lease of this {self.lease.kind} was taken, as it was not rewritten for "
            f"{LOST_S / 60:.0f} minutes: this machine or its way to the store stood still; nothing is published or "
            f"deleted any more: start it again, and it resumes"
        )

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self.write()
            except LostError as error:
                log.error("%s", error)
                return
            except Exception as error:  # the store cannot be reached; the next beat may reach it
                log.warning("the lease could not be rewritten, which is tried again: %s", error)


_own: list[_Own] = []  # what this process holds
_own_lock = threading.Lock()
_stage = [""]  # what this process is at


@contextmanager
def shared(root: Root, kind: str) -> Iterator[None]:
    """Use the root beside other flows; waits until no exclusive lease is left. Within itself it is one lease."""
    with _held(root, kind, is_alone=False) as own:
        announced = ""
        while holders := [lease for lease in held_by_others(root, own.path) if lease.is_alone]:
            if announced != str(holders[0]):
                announced = str(holders[0])
                log.info("waiting for %s to end", announced)
            time.sleep(LOOK_S)
        yield


@contextmanager
def exclusive(root: Root, kind: str, fence: Callable[[Root], None]) -> Iterator[list[Lease]]:
    """Use the root alone: no flow starts meanwhile. Yields the leases of the processes that already use it.

    Takes the lost leases of other machines, and then calls `fence`, which keeps their holders from publishing. Raises
    BusyError if another process holds an exclusive lease.
    """
    with _held(root, kind, is_alone=True) as own:
        found = [other for other in all_of(root) if other.path != own.path]
        holders = [other.lease for other in found if other.is_held]
        if exclusive_holders := [lease for lease in holders if lease.is_alone]:
            raise BusyError(f"{root.address}: {exclusive_holders[0]} is running; try again when it has ended")
        _take_lost(found, root, fence)
        yield holders


@contextmanager
def claimed(root: Root, path: str, kind: str, fence: Callable[[Root], None]) -> Iterator[bool]:
    """Be the only process that holds the claim at `path`; yields whether that took waiting for another one.

    The claim of a dead process is replaced; the lost lease of one on another machine is taken, as `exclusive` does.

    Args:
        kind: of the shared lease, which this process holds around this.
    """
    own, waited_for = next(own for own in _own_on(root) if own.lease.kind == kind), ""
    while holder := _claim(root, path, own.path, fence):
        if waited_for != holder.path:
            waited_for = holder.path
            log.info("waiting for %s to end, which is at the same; what it has done is reused", holder.lease)
        time.sleep(LOOK_S)
    try:
        yield bool(waited_for)
    finally:
        try:
            if _lease_of(root, path) == own.path:
                root.delete(path)
        except StoreError as error:  # it ends with this process's lease
            log.warning("%s", error)


def note_stage(stage: str) -> None:
    """From the next beat on the leases of this process say what it is at."""
    _stage[0] = stage


def check(root: Root) -> None:
    """Raises LostError where a lease that this process holds on the root was taken."""
    for own in _own_on(root):
        own.check()


def keep(root: Root) -> None:
    """As `check`, for before each of many deletions: it asks the store only after a pause."""
    for own in _own_on(root):
        own.keep()


def release() -> None:
    """Give back all leases of this process, which ends now and may be in the middle of its work."""
    for own in _own:
        own.end()


def held_by_others(root: Root, own_path: str = "") -> list[Lease]:
    """The leases of living processes, except the one at `own_path`."""
    return [found.lease for found in all_of(root) if found.path != own_path and found.is_held]


def all_of(root: Root) -> list[Found]:
    """Every lease, also those of dead processes. A damaged one counts as exclusive until it is old."""
    found, entries = [], list(root.entries(FOLDER))
    ours = {own.path for own in _own_on(root)}
    now_s = max((entry.modified_s for entry in entries if entry.path in ours), default=time.time())
    for entry in entries:
        try:
            lease = documents.read(root, entry.path, Lease, MEND)
        except DocumentError as error:
            log.warning("%s", error)
            lease = _damaged(entry)
        if lease:  # else released just now
            found.append(Found(entry.path, lease, lease.is_held(now_s - entry.modified_s)))
    return found


def _claim(root: Root, path: str, own_path: str, fence: Callable[[Root], None]) -> Found | None:
    """Enter our lease in the claim; the lease of the living process that is entered there, if any."""
    while True:
        entry, holder = root.entry(path), _lease_of(root, path)  # the version first: what is read is that one, or newer
        found = [lease for lease in all_of(root) if lease.path == holder != own_path]
        if found and found[0].is_held:
            return found[0]
        _take_lost(found, root, fence)
        with suppress(ConflictError):
            root.swap(path, documents.dump(Claim(own_path)), entry.version if entry else None)
            if _stays(root, path, own_path):
                return None


def _stays(root: Root, path: str, own_path: str) -> bool:
    """Whether a claim that was just put is ours: of puts in the same instant, a lesser store lets the last one stay."""
    if root.honours_conditions():
        return True
    time.sleep(LOOK_S)
    return _lease_of(root, path) == own_path


def _lease_of(root: Root, path: str) -> str | None:
    """The path of the lease that a claim names; None where there is no claim that can be read."""
    try:
        claim = documents.read(root, path, Claim, MEND_CLAIM)
    except DocumentError as error:
        log.warning("%s", error)
        return None
    return claim.lease if claim else None


def _take_lost(found: list[Found], root: Root, fence: Callable[[Root], None]) -> None:
    """Take the lost leases of other machines among these."""
    lost = [other for other in found if not other.is_held and other.lease.machine != _machine()]
    for other in lost:
        log.warning("taken, as it was not rewritten for %.0f minutes: the lease of %s", LOST_S / 60, other.lease)
        root.delete(other.path)
    if lost:
        fence(root)


def _damaged(entry: Entry) -> Lease:
    name = PurePosixPath(entry.path).name
    since = datetime.fromtimestamp(entry.modified_s, UTC).isoformat(timespec="seconds")
    return Lease(f"the damaged lease {name}", True, since, "unknown", 0, entry.modified_s)


@contextmanager
def _held(root: Root, kind: str, *, is_alone: bool) -> Iterator[_Own]:
    with _own_lock:
        own = next((own for own in _own_on(root) if own.lease.kind == kind and not is_alone), None)
        if own:
            own.num_users += 1
    if own is None:
        own = _Own(root, kind, is_alone=is_alone)
        own.begin()
        _own.append(own)
    try:
        yield own
    finally:
        with _own_lock:
            own.num_users -= 1
            is_last = own.num_users == 0
            if is_last:
                _own.remove(own)
        if is_last:
            own.end()


def _own_on(root: Root) -> list[_Own]:
    return [own for own in _own if own.root == root]


def _machine() -> str:
    """The machine, its boot and its container: within these a process id is unique."""
    boot, container = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    marks = [platform.node(), boot.read_text().strip() if boot.exists() else ""]
    return " ".join([*marks, str(container.readlink()) if container.is_symlink() else ""])


def _is_running(pid: int, started: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process of another user
        return True
    return not started or started == _started(pid)


def _ticks() -> float:
    """Seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty for one that ended, or where there is no /proc."""
    with suppress(OSError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in ("Z", "X") else fields[18]
    return ""
