"""The commands of docs/running.md against a real server and worker; the units of deploy/systemd on PostgreSQL."""

import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from storage import snapshots
from storage.roots import Root
from tests import world
from tests.flows.processes import environment, free_port, started, wait_until

PROJECT = Path(__file__).parents[2]


def _documented() -> dict[str, list[str]]:
    """The three terminals of docs/running.md: server, worker, and the run."""
    blocks = re.findall(r"```sh\n(.*?)```", (PROJECT / "docs" / "running.md").read_text(), re.DOTALL)
    server, worker, run = (block.strip().splitlines() for block in blocks[:3])
    return {"server": server, "worker": worker, "run": run}


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _is_scheduled(url: str, deployment: str) -> bool:
    """Whether Prefect's scheduler has planned runs of a deployment."""
    wanted = {
        "deployments": {"name": {"any_": [deployment]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    return bool(httpx.post(f"{url}/flow_runs/filter", json=wanted, timeout=30).json())


def test_the_documented_commands_run_a_night_on_a_server_and_a_worker(source, tmp_path):
    terminals, port, root = _documented(), free_port(), tmp_path / "root"
    api = f"http://127.0.0.1:{port}/api"
    env = environment(tmp_path / "prefect", PREFECT_SERVER_API_PORT=str(port))
    env |= {"TASTEGRAPH_RECOMMEND__RESERVE": "9", "TASTEGRAPH_TRAINING__EPOCHS": "9999"}  # the parameter says fewer
    commands = {name: "\n".join(lines).replace("http://127.0.0.1:4200/api", api) for name, lines in terminals.items()}
    log = tmp_path / "log"
    with started(commands["server"], env, log, PROJECT) as server:
        wait_until(lambda: _is_up(api), "the server", server, log, step_s=0.2)
        with started(f"set -e\n{commands['worker']}", env, log, PROJECT) as worker:
            wait_until(lambda: "Worker 'ProcessWorker" in log.read_text(), "the worker", worker, log, step_s=0.2)
            run = commands["run"].replace("source=demo", f"source={source}").replace("$PWD/tastegraph-data", str(root))
            run += f" --param config='{json.dumps(world.SETTINGS)}'"
            done = subprocess.run(
                run, check=False, shell=True, env=env, cwd=PROJECT, capture_output=True, text=True, timeout=300
            )
        wait_until(lambda: _is_scheduled(api, "nightly"), "the scheduled night", server, log, step_s=0.5)

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:] + log.read_text()[-3000:]
    pointer = json.loads((root / "exports" / "current.json").read_text())
    assert pointer["rows"]["recommendations"] > 0
    settings = snapshots.manifest(Root(str(root)), pointer["run_id"]).settings
    assert settings["recommend"]["reserve"] == 9
    assert settings["training"]["epochs"] == world.SETTINGS["training"]["epochs"]


POSTGRES = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
UNITS = PROJECT / "deploy" / "systemd"


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[str]:
    """The address of an empty database of a PostgreSQL server of its own, made as docs/running.md says."""
    if POSTGRES is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    # It refuses to run as root; sockets need a short path that its user can enter.
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    programs, port = Path(POSTGRES).parent, free_port()
    home = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    shutil.chown(home, user)

    def run(*command: object) -> None:
        as_user = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []
        subprocess.run([*as_user, *map(str, command)], check=True, cwd="/", timeout=120, stdout=subprocess.DEVNULL)

    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={home} -c fsync=off"
    try:
        run(programs / "initdb", "--pgdata", home / "data", "--auth", "trust", "--no-sync", "--username", user)
        run(programs / "pg_ctl", "--pgdata", home / "data", "--log", home / "log", "--wait", "-o", options, "start")
        ask = ("psql", "--host", "127.0.0.1", "--port", port, "--username", user)
        for statement in DATABASE:
            run(*ask, "--dbname", "prefect" if "EXTENSION" in statement else "postgres", "--command", statement)
        yield f"127.0.0.1:{port}/prefect"
    finally:
        if (home / "data" / "postmaster.pid").exists():
            run(programs / "pg_ctl", "--pgdata", home / "data", "--mode", "immediate", "stop")
        shutil.rmtree(home)


DATABASE = re.findall(r"psql .*--command \"(.*?)\"", (PROJECT / "docs" / "running.md").read_text())


def _command(unit: str) -> str:
    """What a unit starts, from this checkout's environment."""
    line = re.search(r"^ExecStart=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)
    assert line is not None
    return line[1].replace("/srv/tastegraph/app/.venv/bin/", "")


def test_the_units_run_a_night_with_the_servers_database_in_postgresql(postgresql, source, tmp_path):
    port, root, log = free_port(), tmp_path / "root", tmp_path / "log"
    text = (UNITS / "tastegraph.env").read_text()
    text = text.replace("127.0.0.1:5432/prefect", postgresql).replace("4200", str(port))
    text = text.replace("/srv/tastegraph/app", str(PROJECT)).replace("/srv/tastegraph", str(tmp_path))
    units = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    env = {**environment(tmp_path / "prefect"), **units}
    api = units["PREFECT_API_URL"]
    with started(_command("tastegraph-server.service"), env, log, PROJECT) as server:
        wait_until(lambda: _is_up(api), "the server", server, log, step_s=0.2)
        for command in ("prefect work-pool create tastegraph --type process", "prefect --no-prompt deploy --all"):
            subprocess.run(shlex.split(command), check=True, env=env, cwd=PROJECT, capture_output=True, timeout=120)
        with started(_command("tastegraph-worker.service"), env, log, PROJECT) as worker:
            wait_until(lambda: "Worker 'ProcessWorker" in log.read_text(), "the worker", worker, log, step_s=0.2)
            parameters = {"source": str(source), "root": str(root), "config": world.SETTINGS}
            run = ["prefect", "deployment", "run", "nightly/adhoc", "--watch", "--params", json.dumps(parameters)]
            done = subprocess.run(run, check=False, env=env, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:] + log.read_text()[-3000:]
    assert json.loads((root / "exports" / "current.json").read_text())["rows"]["recommendations"] > 0
    assert not list(tmp_path.rglob("prefect.db"))
