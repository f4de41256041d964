"""Whether this machine has what a night needs."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from flows.doctor import examine
from tests.flows.processes import environment, tastegraph
from tests.storage.servers import moto_server, rclone_server


def test_a_machine_that_has_all_is_said_to_have_it_and_nothing_is_left_below_the_root(tmp_path: Path) -> None:
    done = tastegraph("doctor", "--root", tmp_path / "new", "--json", env=environment(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    findings = {item["about"]: item for item in json.loads(done.stdout)}
    assert set(findings) == {"python", "torch", "gpu", "implicit", "pictures", "root", "prefect"}
    assert {item["verdict"] for item in findings.values()} <= {"ok", "note"}
    assert "GiB free" in findings["root"]["found"]
    assert not (tmp_path / "new").exists()


def test_a_server_that_does_not_answer_is_a_fault_with_advice(tmp_path: Path) -> None:
    env = {**environment(tmp_path / "home"), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = tastegraph("doctor", "--root", tmp_path, env=env)
    assert done.returncode == 1
    assert "FAULT prefect   PREFECT_API_URL=http://127.0.0.1:9/api: no Prefect server answers" in done.stdout
    assert "start it, or unset PREFECT_API_URL" in done.stdout


def test_a_root_that_is_a_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (found,) = (found for found in examine(str(tmp_path / "file")) if found.about == "root")
    assert (found.verdict, found.found) == ("fault", f"{tmp_path / 'file'} is no folder")


@pytest.mark.parametrize(("server", "verdict"), [(moto_server, "ok"), (rclone_server, "note")])
def test_a_store_is_written_and_asked_whether_it_honours_conditions(server, verdict, tmp_path, monkeypatch) -> None:
    with server(*([tmp_path / "buckets"] if server is rclone_server else [])) as running:
        root = running.root(monkeypatch, tmp_path / "scratch")
        (found,) = (found for found in examine(root.address) if found.about == "root")
        assert found.verdict == verdict
        assert list(root.entries()) == []


def test_the_version_is_that_of_the_installed_package(tmp_path: Path) -> None:
    done = tastegraph("--version", env=environment(tmp_path / "home"))
    assert done.stdout == f"tastegraph {version('tastegraph')}\n"
