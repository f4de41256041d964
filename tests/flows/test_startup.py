"""What is checked before Prefect starts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from flows.cli import app, line_for_a_person
from flows.startup import StartupError, check_home, check_server
from storage import leases, snapshots
from storage.roots import Root
from storage.sources.flickr.crawl import locked
from tests import frozen
from tests.flows.processes import BIN, environment, free_port, started, tastegraph, wait_until, without_start

SLOW = {"torch", "prefect", "sklearn", "scipy", "gensim", "timm", "duckdb"}  # each takes a command a second or two
TABLES = {"polars", "pyarrow", "boto3"}  # what a root and its tables are read with
IMPORTED = """
import sys
from flows.cli import main
try:
    main()
finally:
    print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


def imported(*arguments: object, env: dict[str, str]) -> set[str]:
    """The packages that a command has imported when it ends."""
    command = [sys.executable, "-c", IMPORTED, *map(str, arguments)]
    ended = subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=60)
    return set(ended.stderr.splitlines()[-1].split())


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path / "prefect")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["config"],
        ["config", "--set", "training.epoch=3"],
        ["validate", "--source", "x", "--set", "ingest.column=3"],
        ["nightly", "--set", "model.system=ese"],
        ["compare", "--set", "training.epoch=3"],
    ],
)
def test_help_settings_and_a_misspelled_one_are_answered_without_a_library_that_takes_long(arguments, env, tmp_path):
    root = ["--root", tmp_path / "root"] if arguments[0] in ("nightly", "compare") else []

    assert imported(*arguments, *root, env=env).isdisjoint(SLOW | TABLES)


@pytest.mark.parametrize("command", [["show"], ["show", "--history"], ["show", "--run", "older"], ["config"], ["diff"]])
def test_what_is_published_is_read_without_prefect_or_torch(command, env, tmp_path):
    root, runs = frozen.root_of_schema_1(tmp_path), ["older", "newest"] if command == ["diff"] else []
    packages = imported(*command, "--root", root, *runs, env=env)

    assert "storage" in packages
    assert packages.isdisjoint(SLOW | {"boto3"})


@pytest.mark.parametrize("command", ["nightly", "validate"])
def test_a_source_is_looked_at_before_prefect_starts(command, env, tmp_path):
    (tmp_path / "source").mkdir()
    root = ["--root", tmp_path / "root"] if command == "nightly" else []
    refused = tastegraph(command, "--source", tmp_path / "source", *root, env=env)

    assert refused.returncode == 1
    assert re.fullmatch(r"tastegraph: .*/source: no table images and .*\n", without_start(refused.stderr))
    assert not (tmp_path / "prefect").exists()
    assert "prefect" not in imported(command, "--source", tmp_path / "source", *root, env=env)


def test_a_home_that_cannot_be_made_is_named_with_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"file/prefect: Not a directory, so nothing was begun; .* PREFECT_HOME"):
        check_home(tmp_path / "file" / "prefect")


def test_a_disk_without_room_is_named_with_what_is_needed(tmp_path):
    check_home(tmp_path / "prefect")
    with pytest.raises(StartupError, match=r"MiB are free on this disk and .* are needed to begin; make room"):
        check_home(tmp_path / "prefect", room=2**80)


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/api", "http://no host/api"])
def test_a_server_that_does_not_answer_is_named(address):
    with pytest.raises(StartupError, match=r"PREFECT_API_URL=http.*: no Prefect server answers there .*; start it"):
        check_server(address.format(port=free_port()), patience_s=0.1)


def test_a_night_without_its_server_ends_in_one_line(tmp_path):
    env = environment(tmp_path / "prefect", PREFECT_API_URL=f"http://127.0.0.1:{free_port()}/api")
    night = tastegraph("nightly", "--root", tmp_path / "root", env=env)

    assert night.returncode == 1
    assert re.fullmatch(
        r"tastegraph: PREFECT_API_URL=.*: no Prefect server answers there .*\n", without_start(night.stderr)
    )


def test_a_night_takes_its_lease_before_prefect_starts(tmp_path):
    root, log, home = Root(str(tmp_path / "root")), tmp_path / "log", tmp_path / "prefect"
    command = [str(BIN / "tastegraph"), "nightly", "--root", root.address]
    with (
        leases.exclusive(root, "gc", snapshots.raise_fence),
        started(command, environment(home), log) as night,
    ):
        wait_until(lambda: "waiting for gc" in log.read_text(), "the lease", night, log)
        assert {lease.kind for lease in leases.held_by_others(root)} == {"gc", "nightly"}
        assert list(home.iterdir()) == []


def test_a_crawl_locks_its_folder_before_prefect_starts(tmp_path):
    out, home = tmp_path / "flickr", tmp_path / "prefect"
    with locked(out):
        refused = tastegraph("crawl", "flickr", "--out", out, "--user", "somebody", env=environment(home))

    assert refused.returncode == 1
    said = without_start(refused.stderr)
    assert re.fullmatch(r"tastegraph: .*/flickr: another crawl is running here; wait for it, .*\n", said)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried 8 GiB"),
        RuntimeError("can't start new thread"),
    ],
)
def test_a_lack_of_memory_is_one_line(error):
    assert re.fullmatch(r"out of memory \(.+\); give it more, .*", str(line_for_a_person(error)))


COMMANDS = {
    "config": [],
    "show": [],
    "show --history": [],
    "show --run": ["one"],
    "diff": ["one", "two"],
    "recommend": ["--user", "u"],
    "similar": ["--image", "i"],
    "evaluate": ["--test", "x.csv"],
    "rollback": [],
    "publish": ["--run", "one"],
    "forget": ["--user", "u", "--even-if-unknown"],
    "verify": [],
    "verify --repair": [],
    "gc": ["--keep", "2"],
    "serve": [],
    "nightly": [],
    "nightly --plan": [],
    "compare": [],
    "tune": ["--source", "demo", "--system", "ease"],
}


def told_of(command: str, root: Path) -> str:
    """The line with which a command ends on a root."""
    arguments = [*command.split(), *COMMANDS[command], "--root", str(root)]
    ended = CliRunner().invoke(app, arguments).exception
    assert ended
    return str(line_for_a_person(ended))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_root_that_is_a_file_or_below_one_is_named_with_the_way_out(command, tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "root"):
        said = told_of(command, root)
        assert said.startswith(f"{tmp_path / 'file'}: Not a directory; a folder belongs there: correct the path"), said


@pytest.mark.parametrize("command", ["config", "show", "recommend", "rollback", "forget", "verify", "gc"])
def test_a_folder_in_the_place_of_a_file_is_named_with_the_way_out(command, tmp_path):
    (tmp_path / "exports" / "current.json").mkdir(parents=True)
    said = told_of(command, tmp_path)
    assert said.startswith(f"{tmp_path / 'exports' / 'current.json'}: Is a directory; a folder lies where a file"), said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("command", ["show", "verify", "nightly --plan", "nightly"])
def test_a_root_without_rights_is_named_with_the_way_out(command, tmp_path):
    root = frozen.root_of_schema_1(tmp_path)
    before = os.geteuid()
    try:
        os.seteuid(65534)
        said = told_of(command, root)
    finally:
        os.seteuid(before)
    assert re.match(rf"{tmp_path}.*: Permission denied; give the user who runs this the right to", said), said


def test_verify_does_not_call_whole_what_is_not_there(tmp_path):
    assert "nothing is published or cached below this root" in told_of("verify", tmp_path / "mistyped")


def test_a_damaged_pointer_is_not_taken_for_a_root_without_a_night(tmp_path):
    root = frozen.root_of_schema_1(tmp_path)
    (root / "exports" / "current.json").write_bytes(b"")
    for command in ("config", "show", "recommend", "evaluate"):
        assert re.match(r".*/exports/current\.json: empty; `tastegraph verify --repair` writes", told_of(command, root))


def test_a_mistake_of_the_program_keeps_its_traceback():
    assert line_for_a_person(RuntimeError("what?")) is None
