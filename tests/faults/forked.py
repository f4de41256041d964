"""Commands in processes that are forked from one that has imported everything: a night costs its stages alone.

`python -m tests.faults.forked` reads requests from stdin, a line of JSON each, and answers with two: the process, and
how it ended.
"""

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from signal import SIGKILL
from typing import IO, Any

from tasks.runtime.code_version import code_version

LIMIT_S = 300.0  # a command that takes longer is killed, and counts as lost


@dataclass(frozen=True)
class Ended:
    """How a command ended; a negative code is the signal's number."""

    code: int
    log: str
    seconds: float

    @property
    def is_named(self) -> bool:
        """Whether it ended with an error of one line, which the command itself wrote."""
        last = self.log.strip().splitlines()[-1:]
        return self.code in (1, 2, 3) and "Traceback" not in self.log and last != [] and "tastegraph: " in last[0]


class Forks:
    """Runs commands, one at a time."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._log = process, folder / "command.log"

    def run(
        self,
        *arguments: object,
        env: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        constants: Mapping[str, float] | None = None,
        meanwhile: Callable[[int], object] | None = None,
    ) -> Ended:
        """The command line with these arguments, run to its end.

        Args:
            limits: names of resource.RLIMIT_*, with their values.
            constants: names of constants as module.NAME, with other values.
            meanwhile: called in a thread with the number of the process, which it may kill.
        """
        request = {"arguments": [*map(str, arguments)], "env": dict(env or {}), "limits": dict(limits or {})}
        request["constants"] = dict(constants or {})
        began = time.monotonic()
        self._send({**request, "log": str(self._log)})
        pid = self._answer()
        is_over = threading.Event()

        def give_up() -> None:
            is_over.set()
            _kill(pid)

        timer = threading.Timer(LIMIT_S, give_up)
        timer.start()
        if meanwhile:
            threading.Thread(target=meanwhile, args=(pid,), daemon=True).start()
        code = self._answer()
        timer.cancel()
        code = 124 if is_over.is_set() else code  # as timeout(1) says it
        return Ended(code, self._log.read_text(errors="replace"), time.monotonic() - began)

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> int:
        assert self._process.stdout
        return int(self._process.stdout.readline())


def kill_after(seconds: float, *, is_group: bool = False) -> Callable[[int], None]:
    """For `meanwhile`: the command alone is killed, or all processes of its group."""

    def kill(pid: int) -> None:
        time.sleep(seconds)
        with suppress(ProcessLookupError):
            (os.killpg if is_group else os.kill)(pid, SIGKILL)

    return kill


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, SIGKILL)


@contextmanager
def forks(folder: Path, env: Mapping[str, str]) -> Iterator[Forks]:
    """`env` leads to a running Prefect server: Prefect reads it once, when it is imported."""
    command = [sys.executable, "-m", "tests.faults.forked"]
    env = {**env, "PREFECT_LOGGING_LEVEL": "CRITICAL"}  # as the command line sets it before the import
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Forks(process, folder)
        assert process.stdin
        process.stdin.close()


def main() -> None:
    for name in ("flows.cli", "flows.nightly", "flows.local_server", "tasks.upkeep.verify", "tasks.upkeep.retention"):
        import_module(name)
    for name in [name for name in sys.modules if name.startswith(("tasks.", "models.systems."))]:
        code_version(name)  # read once, and not by each night
    sys.stdout.flush()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(**request)
        _tell(sys.stdout, pid)
        _tell(sys.stdout, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _tell(stream: IO[str], number: int) -> None:
    stream.write(f"{number}\n")
    stream.flush()


def _become(
    arguments: list[str], env: dict[str, str], limits: dict[str, int], constants: dict[str, float], log: str
) -> None:
    """This process becomes the command, as far as it can be told from outside."""
    os.setsid()
    os.environ.update(env)
    time.tzset()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))
    for name, number in constants.items():
        place, _, constant = name.rpartition(".")
        owner = resolve_name(place)
        assert hasattr(owner, constant), name
        setattr(owner, constant, number)
    sys.argv = ["tastegraph", *arguments]
    import_module("flows.cli").main()
    os._exit(0)


if __name__ == "__main__":
    main()
