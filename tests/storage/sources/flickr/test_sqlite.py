"""Files of SQLite that several processes write."""

import sqlite3
from contextlib import closing

import pytest

from storage.sources.flickr import sqlite


class Refused(sqlite3.Connection):
    """A connection that SQLite refuses at first, as it does where two processes open a new file at once."""

    left = 2

    def execute(self, statement: str, *arguments: object) -> sqlite3.Cursor:
        if "journal_mode" in statement and Refused.left:
            Refused.left -= 1
            raise sqlite3.OperationalError("database is locked")
        return super().execute(statement, *arguments)


@pytest.mark.parametrize(("refusals", "timeout_s", "opens"), [(2, 5.0, True), (1000, 0.05, False)])
def test_a_file_that_another_process_is_making_is_waited_for(tmp_path, monkeypatch, refusals, timeout_s, opens):
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **how: real(*args, factory=Refused, **how))
    monkeypatch.setattr(Refused, "left", refusals)

    if opens:
        with closing(sqlite.connect(tmp_path / "file", timeout_s)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    else:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite.connect(tmp_path / "file", timeout_s)
