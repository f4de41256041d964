"""What is checked before Prefect starts."""

import re

import pytest

from flows.startup import StartupError, check_home, check_server
from storage import leases, snapshots
from storage.roots import Root
from tests.flows.processes import BIN, environment, free_port, started, tastegraph, wait_until, without_start


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
