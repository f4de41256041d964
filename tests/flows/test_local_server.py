"""Prefect's server of one run: its database, its end with the run, and what happens when it dies alone."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from flows import prefect_database
from flows.local_server import LocalServer, _server_in_settings
from flows.prefect_database import DatabaseError, prepare_database
from flows.startup import StartupError

HALF_MIGRATED = "CREATE TABLE flow (id INTEGER); CREATE TABLE alembic_version (version_num VARCHAR(32));"


def database(home: Path) -> tuple[Path, str]:
    home.mkdir(exist_ok=True)
    return home / "prefect.db", f"sqlite+aiosqlite:///{home}/prefect.db"


def tables(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def half_migrated(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(HALF_MIGRATED)


def garbage(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)


@pytest.mark.parametrize("damage", [half_migrated, garbage])
def test_a_database_that_cannot_be_used_is_renamed_and_a_new_one_made(tmp_path, damage: Callable[[Path], None]):
    file, url = database(tmp_path)
    damage(file)
    before = file.read_bytes()[100:]  # the head of a file of SQLite's counts how often it was opened for writing
    (said,) = prepare_database(url)

    assert str(file) in said
    assert "it is prefect.db.damaged now, a new one is made" in said
    assert (tmp_path / "prefect.db.damaged").read_bytes()[100:] == before
    assert {"flow_run", "task_run"} <= tables(file)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert prepare_database(url) == []


def test_a_disk_that_fills_leaves_no_half_of_a_database(tmp_path):
    file, url = database(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(DatabaseError, match=r"prefect.db: Prefect's database cannot be made \(.*\); give it room"):
            prepare_database(url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert not list(tmp_path.iterdir())
    assert prepare_database(url) == []
    assert "flow_run" in tables(file)


def test_a_database_that_another_process_keeps_locked_is_named_and_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(prefect_database, "LOCKED_S", 0.1)
    file, url = database(tmp_path)
    half_migrated(file)
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseError, match=r"prefect.db: another process keeps Prefect's database locked; end it"):
            prepare_database(url)
    assert "flow" in tables(file)


def test_two_servers_may_begin_at_once_on_a_new_home_and_a_killed_one_comes_back(tmp_path, caplog):
    servers = [LocalServer(tmp_path), LocalServer(tmp_path)]
    try:
        for server in servers:
            server.wait()
            assert httpx.get(f"{server.url}/health", timeout=60).json() is True
        os.kill(servers[0]._process.pid, signal.SIGKILL)
        assert httpx.get(f"{servers[0].url}/health", timeout=60).json() is True  # the request waits for the next server
    finally:
        for server in servers:
            server.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "Prefect's server was ended by SIGKILL: it is started again"
    ]


def test_a_server_that_cannot_begin_says_why_in_one_line(tmp_path):
    (tmp_path / "prefect.db").mkdir()
    (tmp_path / "prefect.db.damaged" / "in its way").mkdir(parents=True)
    server = LocalServer(tmp_path)
    try:
        with pytest.raises(StartupError, match=r"^.*prefect.db: Prefect's database cannot be used .*; delete it$"):
            server.wait()
    finally:
        server.stop()


def test_modules_and_broken_settings_in_the_folder_of_the_command_end_in_no_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "profiles.toml"))
    (tmp_path / "httpx.py").write_text("raise SystemExit('imported')")  # a user's module of a library's name
    settings = tmp_path / "prefect.toml"
    settings.write_text("[api]\nurl = 'http://127.0.0.1:9/api'")
    assert _server_in_settings() == "http://127.0.0.1:9/api"

    settings.write_text("[api\nurl = 1")
    with pytest.raises(StartupError, match=r"^prefect.toml: Prefect cannot read its settings: .*; correct the file$"):
        _server_in_settings()


def test_a_server_ends_when_its_run_is_killed(tmp_path):
    code = (
        "import sys; from pathlib import Path; from flows.local_server import LocalServer\n"
        "server = LocalServer(Path(sys.argv[1])); print(server._process.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        pid = int(run.stdout.readline())
        run.kill()
    end = time.monotonic() + 30  # by then it has imported Prefect, and looked
    while _runs(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
