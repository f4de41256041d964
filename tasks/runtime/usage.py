"""What this process uses while something runs: seconds, CPU seconds, and the peak of its memory."""

import os
import resource
import threading
import time
from dataclasses import dataclass
from pathlib import Path

SAMPLE_S = 0.05  # a peak that is shorter may be missed
STATM = Path("/proc/self/statm")


@dataclass
class Usage:
    """Amounts of one measurement, or of several added up."""

    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0

    def add(self, other: "Usage") -> None:
        self.elapsed_s += other.elapsed_s
        self.cpu_s += other.cpu_s
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)


class Measured:
    """A block of code whose usage is in `usage` when it has ended."""

    def __enter__(self) -> "Measured":
        self.usage = Usage(peak_bytes=_resident_bytes())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)
        self._start_s, self._start_cpu_s = time.monotonic(), _cpu_s()
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.usage.elapsed_s, self.usage.cpu_s = time.monotonic() - self._start_s, _cpu_s() - self._start_cpu_s
        self._ended.set()
        self._thread.join()
        self._note()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            self._note()

    def _note(self) -> None:
        self.usage.peak_bytes = max(self.usage.peak_bytes, _resident_bytes())


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _resident_bytes() -> int:
    """The process's memory now; where the system does not say, its highest so far."""
    try:
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
