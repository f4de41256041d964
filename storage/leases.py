"""Who works on a root right now: a small file for each, kept fresh while its holder lives.

    leases/<kind>-<random>.json

A flow *shares* the root with other flows. What deletes files of others wants the root for itself: it writes its own
lease, then looks whether a flow holds one, while a flow writes its own and then waits until nobody wants the root for
themselves. Of two that start in the same instant at least one sees the other, as both write before they look.
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
BEAT_S = 20.0  # how often a holder writes its lease anew
LOST_S = 600.0  # a lease that was not written for so long is nobody's; clocks may differ by less
LOOK_S = 1.0  # how often one who waits looks again

log = logging.getLogger("tastegraph")


class BusyError(RuntimeError):
    """Somebody works on the root, so what was asked for would pull files from under them."""


@dataclass(frozen=True)
class Lease:
    """That somebody works on a root."""

    kind: str  # the flow's name, or the command's
    is_alone: bool  # its holder deletes what others may use
    since: str
    machine: str
    pid: int
    beat_s: float  # when it was last written

    def is_held(self) -> bool:
        """Whether its holder is alive: on this machine that is known, of another one after a while."""
        if time.time() - self.beat_s > LOST_S:
            return False
        return self.machine != _machine() or _is_running(self.pid)

    def __str__(self) -> str:
        return f"{self.kind} (process {self.pid} on {self.machine.partition(' ')[0]}, since {self.since})"


@contextmanager
def shared(root: Root, kind: str) -> Iterator[None]:
    """Work on the root beside other flows, once nobody has it for themselves."""
    with _held(root, kind, is_alone=False) as path:
        told = ""
        while holders := [lease for lease in others(root, path) if lease.is_alone]:
            if told != str(holders[0]):
                told = str(holders[0])
                log.info("waiting for %s to end", told)
            time.sleep(LOOK_S)
        yield


@contextmanager
def alone(root: Root, kind: str) -> Iterator[list[Lease]]:
    """Have the root for oneself: no flow begins meanwhile. Yields the leases of those that were there before.

    Raises BusyError where another one has it for itself.
    """
    with _held(root, kind, is_alone=True) as path:
        holders = others(root, path)
        if rivals := [lease for lease in holders if lease.is_alone]:
            raise BusyError(f"{root.address}: {rivals[0]} is under way; try again when it has ended")
        yield holders


def others(root: Root, mine: str = "") -> list[Lease]:
    """The leases that somebody alive holds, but one's own."""
    return [lease for path, lease in all_of(root) if path != mine and lease.is_held()]


def all_of(root: Root) -> list[tuple[str, Lease]]:
    """All leases with their paths, those of the dead too."""
    found = []
    for entry in root.entries(FOLDER):
        try:
            found.append((entry.path, Lease(**json.loads(root.read(entry.path)))))
        except FileNotFoundError:
            continue  # given back just now
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
            except OSError as error:  # the store is away for a moment; the next beat may reach it
                log.warning("%s: the lease could not be kept fresh: %s", path, error)

    write()
    thread = threading.Thread(target=beat, name=f"lease of {kind}", daemon=True)
    thread.start()
    try:
        yield path
    finally:
        ended.set()
        thread.join()
        with suppress(StoreError):  # not allowed to delete: it is nobody's once it is old
            root.delete(path)


def _machine() -> str:
    """This machine since it was started, and this container of it: where a process id means what it says."""
    boot, container = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    marks = [platform.node(), boot.read_text().strip() if boot.exists() else ""]
    return " ".join([*marks, str(container.readlink()) if container.is_symlink() else ""])


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
