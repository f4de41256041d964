"""Files of SQLite that several processes write."""

import sqlite3
import time
from pathlib import Path


def connect(file: Path, timeout_s: float) -> sqlite3.Connection:
    """A connection that others do not keep from reading; each statement waits so long for those who write.

    Several processes may open a new file at once. SQLite then refuses all but one at once, whatever they would wait:
    two that want to change the file's mode could wait for each other.
    """
    connection = sqlite3.connect(file, timeout=timeout_s, isolation_level=None)
    end = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return connection
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                connection.close()
                raise
            time.sleep(0.01)
