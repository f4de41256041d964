"""What `deploy/` holds: units, image, compose file and cluster's objects, each checked by the tool that reads it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate
from prefect.utilities.templating import apply_values

PROJECT = Path(__file__).parents[1]
DEPLOY = PROJECT / "deploy"
BIN = Path(sys.executable).parent
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace("/srv/tastegraph/app/.venv/bin", str(BIN)))
    checked = subprocess.run(["systemd-analyze", "verify", here], check=False, capture_output=True, text=True)
    assert (checked.returncode, [line for line in checked.stderr.splitlines() if unit.name in line]) == (0, [])


def test_who_runs_is_known_to_a_server_that_was_started_again(tmp_path: Path) -> None:
    """Else Prefect cancels the runs of deployments that it does not know: each asks for its place every few minutes."""
    name = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"
    pages = ("deploy/systemd/tastegraph.env", "deploy/Dockerfile", "docs/running.md")
    (place,) = {re.findall(rf"{name}=(\S+)", (PROJECT / page).read_text())[0] for page in pages}
    env = {**os.environ, "PREFECT_HOME": str(tmp_path), name: place}

    def on_a_server(statement: str) -> str:
        code = (
            "import asyncio\nfrom datetime import timedelta\nfrom uuid import UUID, uuid4\n"
            "from prefect.server.concurrency.lease_storage import get_concurrency_lease_storage\n"
            f"async def main():\n    {statement}\nstorage = get_concurrency_lease_storage()\nasyncio.run(main())"
        )
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    lease = on_a_server("print((await storage.create_lease([uuid4()], timedelta(minutes=5))).id)")
    on_a_server(f"assert await storage.renew_lease(UUID({lease!r}), timedelta(minutes=5))")


def test_the_image_follows_the_rules_of_hadolint() -> None:
    checked = subprocess.run(
        [BIN / "hadolint", DEPLOY / "Dockerfile"], check=False, capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout


def test_the_image_copies_all_that_the_package_needs() -> None:
    copied = re.findall(r"^COPY (.*) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert {"flows", "tasks", "models", "storage", "pyproject.toml", "constraints.txt", "prefect.yaml"} <= names
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in names} <= set(ignored)
    assert all((PROJECT / name).exists() for name in names)


@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    not shutil.which("docker") or subprocess.run(["docker", "info"], check=False, capture_output=True).returncode,
    reason="no Docker daemon is at hand",
)
def test_the_image_is_built_and_its_command_runs() -> None:
    build = ["docker", "build", "--file", DEPLOY / "Dockerfile", "--tag", "tastegraph:test", PROJECT]
    subprocess.run(build, check=True, timeout=1500)
    subprocess.run(["docker", "run", "--rm", "tastegraph:test", "tastegraph", "--help"], check=True, timeout=120)


def test_services_of_the_compose_file_wait_for_services_that_exist() -> None:
    (compose,) = documents("compose.yaml")
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= services.keys(), name
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other], (name, other)
    builds = [service["build"] for service in services.values() if "build" in service]
    assert all((DEPLOY / build["context"] / build["dockerfile"]).is_file() for build in builds)
    # Nothing but Prefect's UI is reached from outside, and that from this host alone.
    assert [port for service in services.values() for port in service.get("ports", [])] == ["127.0.0.1:4200:4200"]


def test_worker_and_pool_are_objects_that_kubernetes_takes() -> None:
    for document in documents("kubernetes/worker.yaml"):
        validate(document, "1.30", strict=True)
    pool = json.loads((DEPLOY / "kubernetes" / "pool.json").read_text())
    values = {name: item["default"] for name, item in pool["variables"]["properties"].items() if "default" in item}
    job = apply_values(pool["job_configuration"], {**values, "command": ["prefect", "flow-run", "execute"], "env": []})
    manifest = job["job_manifest"]
    manifest["metadata"]["labels"] = {}
    validate(manifest, "1.30", strict=True)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "32Gi", "nvidia.com/gpu": 1}


def test_each_value_that_the_pool_uses_is_a_variable_of_it() -> None:
    pool = json.loads((DEPLOY / "kubernetes" / "pool.json").read_text())
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(pool["job_configuration"])))
    assert used == set(pool["variables"]["properties"])
