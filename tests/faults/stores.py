"""Faults of an S3 store: kills, and every kind of error on any call of a night."""

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.roots import Root
from tests.faults.forked import kill_after
from tests.faults.trials import Bench, Count
from tests.storage.faulty import Fault, FaultyServer, Plan, faulty
from tests.storage.servers import moto_server

KINDS: dict[str, tuple[Fault, int]] = {
    "503": ("503", 1),
    "503, a burst of 4": ("503", 4),
    "503, for good": ("503", 10**6),
    "500": ("500", 1),
    "reset": ("reset", 1),
    "reset, for good": ("reset", 10**6),
    "silence": ("silence", 1),
    "cut": ("cut", 1),
    "lost answer": ("lost answer", 1),
    "403": ("403", 1),
    "404": ("404", 1),
    "412": ("412", 1),
}


@contextmanager
def bucket(folder: Path) -> Iterator[tuple[FaultyServer, Root, dict[str, str]]]:
    """A store behind a faulty proxy, a root in it, and the environment that leads there."""
    with moto_server() as server, faulty(server) as proxied, pytest.MonkeyPatch.context() as patch:
        before = dict(os.environ)
        root = proxied.root(patch, folder / "scratch")
        yield proxied, root, {name: value for name, value in os.environ.items() if before.get(name) != value}


def kills(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """SIGKILL at a random instant of a first night whose root is in a bucket."""
    count, name = Count(f"SIGKILL, S3, {system}"), bench.prepare(system)
    with bucket(bench.folder) as (_, root, env):
        for trial in range(times):
            here = f"{root.address}/{trial}"
            instant = rng.uniform(0, bench.seconds[name] * 1.5)
            killed = bench.night(here, system, env=env, meanwhile=kill_after(instant))
            outcome, what = bench.judge(here, system, killed, env=env)
            count.note(outcome, f"{trial}: after {instant:.2f} s: {what}")
            shutil.rmtree(bench.folder / "scratch", ignore_errors=True)
    return count


def errors(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """Each kind of error on a random call of a first night, and of the night after it."""
    count = Count(f"S3 errors, {system}")
    bench.prepare(system)
    with bucket(bench.folder) as (proxied, root, env):
        proxied.seen.clear()
        undisturbed = bench.night(f"{root.address}/undisturbed", system, env=env)
        if undisturbed.code:
            raise RuntimeError(undisturbed.log)
        num_calls = len(proxied.seen)
        for trial in range(times):
            name = list(KINDS)[trial % len(KINDS)]
            here, first = f"{root.address}/{trial}", rng.randrange(num_calls)
            fault, length = KINDS[name]
            proxied.seen.clear()
            proxied.plan = _calls(fault, first, length)
            disturbed = bench.night(here, system, env=env)
            proxied.plan = lambda _method, _path: None
            at = next((f"{method} {path}" for method, path, fault in proxied.seen if fault), "no call")
            outcome, what = bench.judge(here, system, disturbed, env=env)
            count.note(outcome, f"{trial}: {name} at call {first} of {num_calls}, {at}: {what}")
            shutil.rmtree(bench.folder / "scratch", ignore_errors=True)
    return count


def _calls(fault: Fault, start: int, length: int) -> Plan:
    """So many calls go wrong, from this one on."""
    calls = iter(range(10**9))

    def plan(_method: str, _path: str) -> Fault | None:
        return fault if start <= next(calls) < start + length else None

    return plan
