"""A night that is killed again and again ends as one that was left alone."""

import os
import signal
import time
from pathlib import Path

import pytest
import yaml

from tests import world
from tests.flows.processes import BIN, environment, started, wait_until

SETTINGS = {**world.SETTINGS, "training": {"epochs": 60, "checkpoint_steps": 2}}

# What is there at the moment of each kill, and not yet there before it.
KILL_WHEN = {
    "in ingest": "tables/users/*.parquet",
    "between two shards of pictures": "shards/pixels/*.arrow",
    "after word2vec": "tables/token_vectors/*.parquet",
    "in the middle of training": "checkpoints/*/step-000000004.safetensors",
    "while embedding": "tables/image_embeddings/*.parquet",
    "while recommending": "tables/recommendations/*.parquet",
    "while publishing": "exports/runs/*/image_embeddings/*.parquet",
}


def _command(source: Path, root: Path, settings: Path) -> list[str]:
    return [
        str(BIN / "tastegraph"),
        "nightly",
        "--source",
        str(source),
        "--root",
        str(root),
        "--config",
        str(settings),
        "--run-id",
        "night",
    ]


def _night(source: Path, root: Path, settings: Path, log: Path) -> None:
    with started(_command(source, root, settings), environment(root / "prefect"), log) as process:
        assert process.wait(timeout=300) == 0, log.read_text()[-3000:]


def _exported(root: Path) -> dict[str, bytes]:
    folder = root / "exports" / "runs" / "run_id=night"
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.parquet"))}


def test_a_night_killed_in_every_phase_ends_with_the_same_bytes_and_does_nothing_twice(source, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump(SETTINGS))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _night(source, whole, settings, tmp_path / "whole.log")

    for number, (when, pattern) in enumerate(KILL_WHEN.items()):
        log = tmp_path / f"killed-{number}.log"
        with started(_command(source, broken, settings), environment(broken / "prefect"), log) as process:
            wait_until(lambda pattern=pattern: list(broken.glob(pattern)), when, 120, log, step_s=0.002)
            assert process.poll() is None, f"{when}: the night was over before it could be killed"
            os.killpg(process.pid, signal.SIGKILL)
        assert not (broken / "exports" / "current.json").exists()
        time.sleep(0.1)
    made = {file: file.stat().st_mtime_ns for kind in ("shards", "tables") for file in (broken / kind).rglob("*.*")}
    last = tmp_path / "last.log"
    _night(source, broken, settings, last)

    assert _exported(broken) == _exported(whole)
    assert len(_exported(whole)) >= 4
    assert all(file.stat().st_mtime_ns == time_ns for file, time_ns in made.items())
    stages = dict(line.split(maxsplit=1) for line in last.read_text().splitlines() if line.endswith("reused"))
    assert {"ingest", "learn-vectors", "cluster-vectors", "sample-triplets", "train-cdl"} <= stages.keys()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_night_that_is_asked_to_stop_can_be_started_again(source, tmp_path, signal_number):
    settings, root, log = tmp_path / "settings.yaml", tmp_path / "root", tmp_path / "log"
    settings.write_text(yaml.safe_dump(SETTINGS))
    with started(_command(source, root, settings), environment(root / "prefect"), log) as process:
        wait_until(lambda: list(root.glob("checkpoints/*/*")), "training", 120, log)
        process.send_signal(signal_number)
        assert process.wait(timeout=60) != 0
    _night(source, root, settings, log)

    assert (root / "exports" / "current.json").exists()
