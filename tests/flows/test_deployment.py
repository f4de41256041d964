"""The commands of docs/running.md against a real server and worker."""

import json
import re
import subprocess
import urllib.request
from pathlib import Path

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

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:] + log.read_text()[-3000:]
    pointer = json.loads((root / "exports" / "current.json").read_text())
    assert pointer["rows"]["recommendations"] > 0
    settings = snapshots.manifest(Root(str(root)), pointer["run_id"]).settings
    assert settings["recommend"]["reserve"] == 9
    assert settings["training"]["epochs"] == world.SETTINGS["training"]["epochs"]
