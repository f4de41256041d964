"""Faults of Prefect: its server killed, silent or with a locked database; a worker killed in the middle of a night."""

import os
import random
import shlex
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from storage.roots import Root
from tests.faults.forked import forks
from tests.faults.local import command
from tests.faults.trials import SYSTEMS, Bench, Count, Outcome, exported
from tests.flows.processes import environment, free_port, processes_of

PROJECT = Path(__file__).parents[2]
DEPLOYMENT = "nightly/adhoc"
END = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
RUN_S = 480.0  # the most that a run of a deployment may take; Prefect keeps the place of a dead one for 300 s


def own(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """The night's own server killed, or silent, or its database locked, in the middle of a night."""
    count = bench.count(f"Prefect's server of the night killed, silent or locked, {system}")
    bench.prepare(system)
    kinds = {"killed": 0.0, "silent": 20.0, "locked": 20.0}
    for trial in range(count.tried, times):
        root, home, after = bench.fresh("away"), bench.fresh("away-prefect"), rng.uniform(0, 6)
        kind, seconds = list(kinds.items())[trial % len(kinds)]

        def away(
            night: subprocess.Popen[str],
            root: Path = root,
            home: Path = home,
            kind: str = kind,
            seconds: float = seconds,
            after: float = after,
        ) -> None:
            _wait_for_tables(root, lambda: night.poll() is not None)
            time.sleep(after)
            _disturb(kind, seconds, [pid for pid, _ in processes_of(home) if pid != night.pid], home)

        ended = command(bench, root, home, system, meanwhile=away)
        outcome, what = bench.judge(root, system, ended)
        count.note(outcome, f"{trial}: {kind} for {seconds:.0f} s, {after:.1f} s after the ingest: {what}")
    return count


def outer(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """The server of PREFECT_API_URL killed and started again, silent, or its database locked, in the middle."""
    count, name = bench.count(f"Prefect's outer server killed, silent or locked, {system}"), bench.prepare(system)
    kinds = (("killed", 60.0), ("silent", 20.0), ("locked", 20.0), ("killed", 5.0), ("silent", 60.0))
    with Outer(bench.folder / "outer").running() as server, forks(bench.folder, server.env) as forked:
        here = replace(bench, forks=forked)
        for trial in range(count.tried, times):
            root, after = bench.fresh("outer"), rng.uniform(0, bench.seconds[name] * 0.7)
            kind = kinds[trial % len(kinds)]

            def away(pid: int, root: Path = root, kind: tuple[str, float] = kind, after: float = after) -> None:
                _wait_for_tables(root, lambda: not Path(f"/proc/{pid}").exists())
                time.sleep(after)
                server.disturb(*kind)

            ended = here.night(root, system, meanwhile=away)
            server.wait()
            outcome, what = here.judge(root, system, ended)
            when = f"{kind[0]} for {kind[1]:.0f} s, {after:.1f} s after the ingest, {ended.seconds:.0f} s in all"
            count.note(outcome, f"{trial}: {when}: {what}")
    return count


def workers(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """A deployment's night whose worker or process is killed, or whose server is restarted; then another night."""
    count, name = bench.count(f"worker killed, {system}"), bench.prepare(system)
    kinds = ("worker", "worker and night", "night", "server for 10 s")
    with Outer(bench.folder / "worked").running() as server:
        server.deploy()
        for trial in range(count.tried, times):
            kind, after = kinds[trial % len(kinds)], rng.uniform(0, bench.seconds[name])
            outcome, what = _work(bench, system, server, kind, after, bench.folder / f"worker-{trial}")
            count.note(outcome, f"{trial}: {kind}, {after:.1f} s after the ingest: {what}")
    return count


def restarts(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """A deployment's night whose server is away for half a minute in its middle: that night itself ends whole."""
    count = bench.count(f"server of a deployment away for 30 s, {system}")
    bench.prepare(system)
    with Outer(bench.folder / "restarted").running() as server:
        server.deploy()
        for trial in range(count.tried, times):
            root, home, after = bench.fresh("restarted-root"), bench.folder / f"restart-{trial}", rng.uniform(0, 5)
            with server.worker(home):
                run = server.begin({"source": bench.source, "root": str(root), "config": SYSTEMS[system]})
                _wait_for_tables(root, lambda run=run: server.state(run) in END)
                time.sleep(after)
                is_inside = not exported(Root(str(root)))
                server.disturb("killed", 30)
                server.wait()
                state = server.end_of(run, RUN_S)
            wrong = bench.differing(root, system)
            where = "inside" if is_inside else "after its end"
            what = f"{trial}: {after:.1f} s after the ingest, {where}: {state} {wrong}"
            count.note("survived" if state == "COMPLETED" and not wrong else "lost", what)
    return count


def _work(bench: Bench, system: str, server: "Outer", kind: str, after: float, home: Path) -> tuple[Outcome, str]:
    root = bench.fresh("worked-root")
    parameters = {"source": bench.source, "root": str(root), "config": SYSTEMS[system]}
    with server.worker(home) as worker:
        run = server.begin(parameters)
        _wait_for_tables(root, lambda: server.state(run) in END)
        time.sleep(after)
        pids = [pid for pid, _ in processes_of(home)]
        if kind == "server for 10 s":
            server.disturb("killed", 10)
            server.wait()
        nights = [pid for pid in pids if pid != worker.pid]
        for pid in {"worker": [worker.pid], "worker and night": pids, "night": nights}.get(kind, []):
            _send(signal.SIGKILL, pid)
        first = server.end_of(run, 0 if kind == "worker and night" else RUN_S)
    if exported(Root(str(root))) not in ({}, bench.expected[system]):
        return "lost", f"ended {first}: the pointer is not whole"
    with server.worker(home.with_name(f"{home.name}-again")):
        again = server.end_of(server.begin(parameters), RUN_S)
    if again != "COMPLETED":
        return "lost", f"ended {first}; the night afterwards ended {again}: {server.log.read_text()[-1500:]}"
    if wrong := bench.differing(root, system):
        return "lost", f"ended {first}; differs: {wrong}"
    return "survived", f"ended {first}"


class Outer:
    """A server as docs/running.md starts it, with the settings of deploy/systemd, whose database is a file."""

    def __init__(self, home: Path) -> None:
        self.home, self.log, port = home, home.with_suffix(".log"), free_port()
        self.url = f"http://127.0.0.1:{port}/api"
        lines = (PROJECT / "deploy" / "systemd" / "tastegraph.env").read_text().splitlines()
        given = dict(line.split("=", 1) for line in lines if line.startswith("PREFECT_SERVER_"))
        ours = {"PREFECT_API_URL": self.url, "PREFECT_SERVER_API_PORT": str(port), "OMP_NUM_THREADS": "1"}
        self.env = environment(home, **(given | ours), TASTEGRAPH_HOME=str(PROJECT), PYTHONPATH=str(PROJECT))
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator["Outer"]:
        self._start()
        try:
            self.wait()
            yield self
        finally:
            self._kill()

    def wait(self) -> None:
        """Return when it answers."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/health", timeout=2).status_code == 200:
                    return
            time.sleep(0.2)
        raise RuntimeError(f"Prefect's server does not answer:\n{self.log.read_text()[-3000:]}")

    def disturb(self, kind: str, seconds: float) -> None:
        """Keep it from its work for so long."""
        if kind == "killed":
            self._kill()
            time.sleep(seconds)
            self._start()
        else:
            _disturb(kind, seconds, [pid for pid, _ in processes_of(self.home)], self.home)

    def deploy(self) -> None:
        pool, deployment = "work-pool create tastegraph --type process", f"--no-prompt deploy --name {DEPLOYMENT}"
        for line in f"prefect {pool}", f"prefect {deployment}":
            subprocess.run(shlex.split(line), check=True, env=self.env, cwd=PROJECT, capture_output=True, timeout=300)

    @contextmanager
    def worker(self, home: Path) -> Iterator[subprocess.Popen[bytes]]:
        """A worker, whose Prefect home is `home`; at the end it and its nights are killed."""
        line = "prefect worker start --pool tastegraph --type process"
        with self._spawn(line, {**self.env, "PREFECT_HOME": str(home)}) as process:
            try:
                yield process
            finally:
                for pid, _ in processes_of(home):
                    _send(signal.SIGKILL, pid)

    def begin(self, parameters: Mapping[str, Any]) -> str:
        """The id of a run that begins as soon as a worker has it."""
        deployment = httpx.get(f"{self.url}/deployments/name/{DEPLOYMENT}", timeout=30).json()["id"]
        wanted = {"parameters": dict(parameters), "state": {"type": "SCHEDULED"}}
        address = f"{self.url}/deployments/{deployment}/create_flow_run"
        return str(httpx.post(address, json=wanted, timeout=30).raise_for_status().json()["id"])

    def state(self, run: str) -> str:
        try:
            return str(httpx.get(f"{self.url}/flow_runs/{run}", timeout=30).json()["state"]["type"])
        except httpx.HTTPError:
            return "unknown"

    def end_of(self, run: str, seconds: float) -> str:
        """The state in which a run ended, or in which it is after so long."""
        end = time.monotonic() + seconds
        while (state := self.state(run)) not in END and time.monotonic() < end:
            time.sleep(0.5)
        return state

    def _start(self) -> None:
        self._process = self._spawn("prefect server start", self.env)

    def _spawn(self, line: str, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as stream:
            return subprocess.Popen(
                shlex.split(line), env=env, cwd=PROJECT, stdout=stream, stderr=stream, start_new_session=True
            )

    def _kill(self) -> None:
        assert self._process
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _disturb(kind: str, seconds: float, pids: list[int], home: Path) -> None:
    if kind == "killed":
        for pid in pids:
            _send(signal.SIGKILL, pid)
    elif kind == "silent":
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in pids:
                _send(number, pid)
            time.sleep(seconds if number == signal.SIGSTOP else 0)
    else:
        with closing(sqlite3.connect(home / "prefect.db", timeout=30)) as database:
            database.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)


def _send(number: int, pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait_for_tables(root: Path, is_over: Callable[[], bool]) -> None:
    while not (root / "tables").exists() and not is_over():
        time.sleep(0.01)
