"""A night that is killed again and again, or not alone, ends as one that was left in peace."""

import os
import re
import signal
from pathlib import Path

import pytest
import yaml

from flows import settings
from flows.nightly import nightly
from storage import snapshots
from storage.roots import Root
from tests import world
from tests.flows.processes import BIN, environment, started, tastegraph, wait_until

SETTINGS = {**world.SETTINGS, "training": {"epochs": 30, "checkpoint_steps": 2}}

# What is there at the moment of each kill, and not yet there before it.
KILL_WHEN = {
    "in ingest": "tables/users/*.parquet",
    "between two shards of pictures": "shards/pixels/*.arrow",
    "after word2vec": "tables/token_vectors/*.parquet",
    "in the middle of training": "checkpoints/*/step-000000004.*.safetensors",
    "while embedding": "tables/image_embeddings/*.parquet",
    "while recommending": "tables/recommendations/*.parquet",
    "while publishing": "exports/runs/*/image_embeddings/*.parquet",
}


@pytest.fixture
def arguments(source, tmp_path) -> list[str]:
    """All that a night's command needs but its root."""
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(SETTINGS))
    return ["nightly", "--source", str(source), "--config", str(file), "--root"]


@pytest.fixture
def env(prefect_server, tmp_path) -> dict[str, str]:
    return environment(tmp_path / "prefect", PREFECT_API_URL=prefect_server)


def _exported(root: Path) -> dict[str, bytes]:
    (folder,) = (root / "exports" / "runs").iterdir()
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.parquet"))}


def test_a_night_killed_in_every_phase_ends_with_the_same_bytes_and_does_nothing_twice(
    source, arguments, env, tmp_path
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    nightly(str(source), str(whole), settings.validate(SETTINGS))

    for number, (when, pattern) in enumerate(KILL_WHEN.items()):
        log = tmp_path / f"killed-{number}.log"
        with started([str(BIN / "tastegraph"), *arguments, str(broken)], env, log) as process:
            wait_until(lambda pattern=pattern: any(broken.glob(pattern)), when, process, log, step_s=0.002)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, f"{when}: the night was over before it could be killed"
        assert not (broken / "exports" / "current.json").exists()
    (begun,) = (broken / "runs").glob("*.json")
    made = {file: file.stat().st_mtime_ns for kind in ("shards", "tables") for file in (broken / kind).rglob("*.*")}
    last = tastegraph(*arguments, broken, env=env)
    assert last.returncode == 0, last.stderr[-3000:]

    assert f"run_id={begun.stem}" in {folder.name for folder in (broken / "exports" / "runs").iterdir()}
    assert _exported(broken) == _exported(whole)
    assert len(_exported(whole)) >= 4
    assert all(file.stat().st_mtime_ns == time_ns for file, time_ns in made.items())
    reused = {line.split()[0] for line in last.stderr.splitlines() if line.endswith("reused")}
    assert {"ingest", "decode-images", "learn-vectors", "sample-triplets", "train-cdl", "evaluate"} <= reused


def test_a_night_that_is_asked_to_stop_says_so_and_can_be_started_again(arguments, env, tmp_path):
    root = tmp_path / "root"
    for number, file in (signal.SIGTERM, "checkpoints/*/step-000000004.*"), (signal.SIGINT, "checkpoints/*/*12.*"):
        log = tmp_path / f"{number.name}.log"
        with started([str(BIN / "tastegraph"), *arguments, str(root)], env, log) as process:
            wait_until(lambda file=file: any(root.glob(file)), "training", process, log)
            process.send_signal(number)
            assert process.wait(timeout=60) == 128 + number
        assert "Traceback" not in log.read_text()
        assert log.read_text().splitlines()[-1].startswith("tastegraph: stopped")
    again = tastegraph(*arguments, root, env=env)

    assert again.returncode == 0, again.stderr[-3000:]
    assert (root / "exports" / "current.json").exists()


def test_of_two_equal_nights_at_once_the_second_waits_for_the_first_and_finds_its_work(arguments, env, tmp_path):
    root, logs = Root(str(tmp_path / "root")), [tmp_path / "one.log", tmp_path / "two.log"]
    command = [str(BIN / "tastegraph"), *arguments, root.address]
    with started(command, env, logs[0]) as one:
        wait_until(lambda: any(root.entries("tables")), "the ingest", one, logs[0])
        with started(command, env, logs[1]) as two:
            wait_until(lambda: "waiting for" in logs[1].read_text(), "the second night", two, logs[1])
            codes = [one.wait(timeout=300), two.wait(timeout=300)]
    pointer, said = snapshots.current(root), logs[1].read_text()

    assert codes == [0, 0], logs[0].read_text() + said
    assert re.search(rf"waiting for nightly \(process {one.pid} on \S+, since [^)]+\) to end, .* same", said)
    assert " ran in " not in said
    assert pointer is not None
    assert [manifest.run_id for manifest in snapshots.runs(root)] == [pointer.run_id]
    assert {path: root.digest(path) for path in pointer.checksums} == pointer.checksums
