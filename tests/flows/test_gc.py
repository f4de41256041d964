"""Retention beside nights that run, that were killed, and that come after."""

import hashlib
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows import settings
from flows.cli import app
from flows.gc import gc
from flows.nightly import nightly
from storage import leases, snapshots
from storage.roots import Root
from tasks.runtime import ledger
from tests import world
from tests.flows.processes import BIN, answer, environment, started, wait_until

pytestmark = pytest.mark.usefixtures("prefect_server")

SETTINGS = {
    **world.SETTINGS,
    "training": {"epochs": 30, "checkpoint_steps": 2},
    "gate": {
        "metric_fall": [None, None]
    },  # how well a night of CDL does beside one of EASE, with so few users, is chance
}
QUICK = {**world.SETTINGS, "model": {"system": "ease"}}


def run(source: Path, root: Path, config: dict, run_id: str | None = None):
    """One night; returns how it ended, and the stages that ran."""
    state = nightly(str(source), str(root), settings.validate(config), run_id, return_state=True)
    lines = ledger.of_run(str(state.state_details.flow_run_id)).lines.values()
    return state.result(), {line.stage for line in lines if line.ran}


def quick(num_similar: int) -> dict:
    return {**QUICK, "recommend": {"num_recommendations": 10, "num_similar": num_similar}}


@pytest.fixture(scope="module")
def aged(source, tmp_path_factory, prefect_server) -> Path:
    """A root with two published nights, the second one current."""
    root = tmp_path_factory.mktemp("aged")
    run(source, root, quick(4), "first")
    run(source, root, quick(5), "second")
    return root


def collected(root: Path, keep: int = 1) -> dict:
    """What the command says that it did."""
    return dict(answer("gc", "--root", root, "--keep", keep))


def assert_is_whole(root: Path) -> None:
    """Every file that the pointer names is there with its bytes."""
    pointer = snapshots.current(Root(str(root)))
    assert pointer is not None
    assert pointer.rows["recommendations"] == world.NUM_USERS * 10
    for path, sha256 in pointer.checksums.items():
        assert hashlib.sha256((root / path).read_bytes()).hexdigest() == sha256


def test_what_a_night_made_is_cleared_around_it_while_it_runs_after_it_was_killed_and_when_it_has_ended(
    source, aged, tmp_path, prefect_server
):
    root, log, config = Path(shutil.copytree(aged, tmp_path / "root")), tmp_path / "log", tmp_path / "settings.yaml"
    config.write_text(yaml.safe_dump(SETTINGS))
    env = environment(tmp_path / "prefect", PREFECT_API_URL=prefect_server)
    options = {"--source": source, "--root": root, "--config": config}
    command = [str(BIN / "tastegraph"), "nightly", *(str(part) for option in options.items() for part in option)]
    states = "checkpoints/*/step-*.safetensors"

    with started(command, env, log) as night:
        wait_until(lambda: any(root.glob("checkpoints/*/step-000000004.*")), "training", night, log, step_s=0.002)
        beside = collected(root)
        os.kill(night.pid, signal.SIGKILL)
        assert night.wait() == -signal.SIGKILL
    assert beside["waiting_for"]
    assert {path.split("/")[2] for path in beside["deleted"]} == {"run_id=first"}

    # Killed: what it has made stays for it to go on with; what it had in its hands does not.
    (root / ".tmp" / "tmphalf").mkdir()
    (root / ".tmp" / "tmphalf" / "half.arrow").write_bytes(b"half")
    killed, reached = collected(root), {path.name for path in root.glob(states)}
    assert killed["waiting_for"] == []
    assert ".tmp/tmphalf/half.arrow" in killed["deleted"]
    assert leases.all_of(Root(str(root))) == []
    assert any(name.startswith("step-000000004.") for name in reached)

    again_log = tmp_path / "again.log"
    with started(command, env, again_log) as night:
        wait_until(
            lambda: set(root.glob(states)) and max(p.name for p in root.glob(states)) > max(reached),
            "more",
            night,
            again_log,
        )
        assert collected(root)["waiting_for"]
        assert night.wait(timeout=300) == 0, again_log.read_text()
    said = again_log.read_text()
    assert "going on with run" in said
    assert {"ingest", "decode-images"} <= set(re.findall(r"^(\S+) +reused$", said, re.MULTILINE))
    assert_is_whole(root)

    # Ended: the states of its training go, and with them all that only the older runs used.
    ended = collected(root)
    assert [path for path in ended["deleted"] if "/step-" in path]
    assert len(ended["kept_runs"]) == 1
    assert_is_whole(root)
    published, ran = run(source, root, SETTINGS)
    assert ran == set()
    assert published.run_id == ended["kept_runs"][0]


def test_a_person_is_told_what_goes_and_a_flow_does_the_same(source, aged, tmp_path):
    root = Path(shutil.copytree(aged, tmp_path / "root"))
    arguments = ["gc", "--root", str(root), "--keep", "1"]
    printed = CliRunner().invoke(app, [*arguments, "--dry-run"]).stdout
    done = gc(str(root), 1)

    assert "exports/" in printed
    assert f"Would delete {done['files']:,} files, {done['bytes']:,} bytes; kept 1 published runs." in printed
    assert [manifest.run_id for manifest in snapshots.runs(Root(str(root)))] == ["second"]
    assert run(source, root, quick(5))[1] == set()
