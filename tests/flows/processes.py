"""Commands as a user starts them, in processes of their own that a test ends by itself."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from flows.cli import app

BIN = Path(sys.executable).parent


def environment(prefect_home: Path, **extra: str) -> dict[str, str]:
    """The environment of a user's shell with the project installed, and a Prefect home of the test's own."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_HOME": str(prefect_home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "TASTEGRAPH_LOG": "text",
        "COLUMNS": "200",  # as wide as it takes for a line to be a line
        **extra,
    }


def tastegraph(*arguments: object, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The command line, run to its end; the caller looks at the exit code."""
    command = [str(BIN / "tastegraph"), *map(str, arguments)]
    return subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=300)


def without_start(log: str) -> str:
    """The log of a command but for its first line, which says that it starts."""
    first, _, rest = log.partition("\n")
    return rest if " starts on " in first else log


def answer(*arguments: object) -> Any:
    """What a command answers with --json, in this process: it has imported already what takes a command its seconds.

    For commands that neither start a flow, which sets the environment up for Prefect, nor handle signals.
    """
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


@contextmanager
def started(
    command: list[str] | str, env: Mapping[str, str], log: Path, cwd: Path | None = None
) -> Iterator[subprocess.Popen]:
    """A running command with its own process group, killed at the end; what it prints goes to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdout=output,
            stderr=output,
            start_new_session=True,
            shell=isinstance(command, str),
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the group outlives its leader where a child is left
            process.wait()


def wait_until(
    condition: Callable[[], object],
    what: str,
    process: subprocess.Popen,
    log: Path,
    timeout_s: float = 120,
    step_s: float = 0.01,
) -> None:
    """Return when the condition holds; AssertionError with the end of the log where it never will."""
    end = time.monotonic() + timeout_s
    while not condition():
        ended = process.poll() is not None and not condition()
        assert not ended, f"{what}: the process ended before it\n{log.read_text()[-3000:]}"
        assert time.monotonic() < end, f"{what}: not within {timeout_s} s\n{log.read_text()[-3000:]}"
        time.sleep(step_s)


def processes_of(home: Path) -> list[tuple[int, str]]:
    """Processes whose environment names this home of Prefect's: commands and their servers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"PREFECT_HOME={home}\0".encode() in (folder / "environ").read_bytes():
                found.append((int(folder.name), (folder / "cmdline").read_text().replace("\0", " ")))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
