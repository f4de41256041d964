"""The hourly budget of requests, kept in a file: it survives restarts and covers all processes that share the file.

The documented limit is 3,600 requests an hour for a key, over all its users (Flickr's developer guide, "Limits").
"""

import time
from collections.abc import Callable
from pathlib import Path

from storage.settings.flickr import BudgetConfig
from storage.sources.flickr import sqlite

LONGEST_QUEUE_S = 2 * 3600.0  # the longest possible wait; caps a wait after the clock was set back
BUSY_S = 60.0  # how long to wait for another process's transaction


class Budget:
    """A token bucket whose only state is the time at which it is full again, in one row of SQLite.

    The bucket holds `burst` requests, which count toward the hourly limit: the rest of the limit is the refill rate.
    """

    def __init__(
        self,
        file: Path,
        config: BudgetConfig,
        clock: Callable[[], float] = time.time,  # wall clock: the row outlives the process
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.file, self.config, self.clock, self.sleep = file, config, clock, sleep
        self.refill_s = 3600 / (config.requests_per_hour - config.burst)
        file.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite.connect(file, BUSY_S)
        self._connection.executescript("""
            PRAGMA synchronous = NORMAL;  -- survives a kill without waiting for the disk at every request
            CREATE TABLE IF NOT EXISTS budget (full_at REAL NOT NULL);""")

    def close(self) -> None:
        self._connection.close()

    def take(self) -> None:
        """Wait until a request is allowed, and count it. It counts even if the process dies while it waits."""
        wait_s = self._move(lambda full_at: full_at + self.refill_s) - self.config.burst * self.refill_s
        if wait_s > 0:
            self.sleep(wait_s)

    def pause(self, seconds: float) -> None:
        """Allow no request for so long, in any process: the server requires it."""
        empty_at = seconds + (self.config.burst - 1) * self.refill_s
        self._move(lambda full_at: max(full_at, self.clock() + empty_at))

    def _move(self, later: Callable[[float], float]) -> float:
        """Seconds until the bucket is full, after `later` moved that time."""
        self._connection.execute("BEGIN IMMEDIATE")  # from here on, other processes wait
        now = self.clock()
        (full_at,) = self._connection.execute("SELECT max(full_at) FROM budget").fetchone()
        latest = now + self.config.burst * self.refill_s + LONGEST_QUEUE_S
        full_at = later(min(max(full_at or now, now), latest))
        self._connection.execute("DELETE FROM budget")
        self._connection.execute("INSERT INTO budget VALUES (?)", (full_at,))
        self._connection.execute("COMMIT")
        return full_at - now
