"""Leases: which processes use a root right now, one small file each, rewritten while its holder lives.

    leases/<kind>-<random>.json

Flows hold shared leases beside each other. A command that deletes files of other runs takes an exclusive lease: it
writes the lease, then checks whether a flow holds one. A flow writes its lease, then waits until no exclusive one is
left. Of two processes that start in the same instant at least one sees the other, since both write before they read.
"""

import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from storage.roots import Root, StoreError

FOLDER = "leases"
BEAT_S = 20.0  # how often a holder rewrites its lease
LOST_S = 600.0  # a lease that was not rewritten for so long has no holder; clocks must differ by less
LOOK_S = 1.0  # how often a waiting process checks again

log = logging.getLogger("tastegraph")


class BusyError(RuntimeError):
    """Another process uses the root: deleting files now would break it."""


@dataclass(frozen=True)
class Lease:
    """A process that uses a root. Field names are those in the file."""

    kind: str  # the flow's name, or the command's
    is_alone: bool  # exclusive: its holder deletes files that others may use
    since: str
    machine: str
    pid: int
    beat_s: float  # when it was last written, seconds since 1970

    def is_held(self) -> bool:
        """Whether the holder is alive: by its process on this machine, by the lease's age on another one."""
        if time.time() - self.beat_s > LOST_S:
            return False
        return self.machine != _machine() or _is_running(self.pid)

    def __str__(self) -> str:
        return f"{self.kind} (process {self.pid} on {self.machine.partition(' ')[0]}, since {self.since})"


@contextmanager
def shared(root: Root, kind: str) -> Iterator[None]:
    """Use the root beside other flows; waits until no exclusive lease is left."""
    with _held(root, kind, is_alone=False) as path:
        announced = ""
        while holders := [lease for lease in held_by_others(root, path) if lease.is_alone]:
            if announced != str(holders[0]):
                announced = str(holders[0])
                log.info("waiting for %s to end", announced)
            time.sleep(LOOK_S)
        yield


@contextmanager
def exclusive(root: Root, kind: str) -> Iterator[list[Lease]]:
    """Use the root alone: no flow starts meanwhile. Yields the leases of the processes that already use it.

    Raises BusyError if another process holds an exclusive lease.
    """
    with _held(root, kind, is_alone=True) as path:
        holders = held_by_others(root, path)
        if exclusive_holders := [lease for lease in holders if lease.is_alone]:
            raise BusyError(f"{root.address}: {exclusive_holders[0]} is running; try again when it has ended")
        yield holders


def held_by_others(root: Root, own_path: str = "") -> list[Lease]:
    """The leases of living processes, except the one at `own_path`."""
    return [lease for path, lease in all_of(root) if path != own_path and lease.is_held()]


def all_of(root: Root) -> list[tuple[str, Lease]]:
    """Every lease with its path, also those of dead processes."""
    found = []
    for entry in root.entries(FOLDER):
        try:
            found.append((entry.path, Lease(**json.loads(root.read(entry.path)))))
        except FileNotFoundError:
            continue  # released just now
    return found


@contextmanager
def _held(root: Root, kind: str, *, is_alone: bool) -> Iterator[str]:
    path, since = f"{FOLDER}/{kind}-{uuid.uuid4().hex}.json", datetime.now(UTC).isoformat(timespec="seconds")
    ended = threading.Event()

    def write() -> None:
        lease = Lease(kind, is_alone, since, _machine(), os.getpid(), time.time())
        root.write(path, json.dumps(asdict(lease)).encode())

    def beat() -> None:
        while not ended.wait(BEAT_S):
            try:
                write()
            except OSError as error:  # the store cannot be reached; the next beat may reach it
                log.warning("%s: the lease could not be rewritten: %s", path, error)

    write()
    thread = threading.Thread(target=beat, name=f"lease of {kind}", daemon=True)
    thread.start()
    try:
        yield path
    finally:
        ended.set()
        thread.join()
        with suppress(StoreError):  # no permission to delete: the lease expires after LOST_S
            root.delete(path)


def _machine() -> str:
    """The machine, its boot and its container: within these a process id is unique."""
    boot, container = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    marks = [platform.node(), boot.read_text().strip() if boot.exists() else ""]
    return " ".join([*marks, str(container.readlink()) if container.is_symlink() else ""])


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process of another user
        return True
    return True
