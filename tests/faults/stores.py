"""Faults of an S3 store: kills, and every kind of error on every kind of call, over whole nights."""

import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count as count_up
from itertools import islice, product
from pathlib import Path

import pytest

from storage import snapshots
from storage.roots import Root
from tasks.upkeep.verify import verify
from tests.faults.forked import Ended
from tests.faults.trials import OTHER_LISTS, Bench, Count, Outcome, exported
from tests.storage.faulty import Fault, FaultyServer, Operation, Plan, faulty
from tests.storage.servers import moto_server

FOR_GOOD = 10**6
PARTS: tuple[Operation, ...] = ("multipart begin", "multipart PUT", "multipart end")
OPERATIONS: tuple[Operation, ...] = ("GET", "HEAD", "PUT", "conditional PUT", "COPY", "LIST", "DELETE", *PARTS)
BODIES: tuple[Operation, ...] = ("GET", "LIST")
QUICK = {
    "storage.roots.s3_client.READ_S": 1.0,
    "storage.roots.s3_client.OUTAGE_S": 0.0,
    "botocore.retries.standard.ExponentialBackoff._BASE": 1,
}
CHANGES: dict[str, tuple[str, ...]] = {"first": (), "next": OTHER_LISTS}
IN_PARTS = {"storage.roots.s3_client.PARTS_FROM": 1}


@dataclass(frozen=True)
class Kind:
    """A fault: on how many calls in a row, and whether the night must outlive it, without another start."""

    fault: Fault
    times: int = 1
    seconds: float = 0.0  # instead of `times`: on all calls of any operation, for so long
    is_outlived: bool = True
    operations: tuple[Operation, ...] = OPERATIONS


KINDS = {
    "503": Kind("503"),
    "503, a burst of 4": Kind("503", 4),
    "503, for good": Kind("503", FOR_GOOD, is_outlived=False),
    "500": Kind("500"),
    "403": Kind("403", is_outlived=False),
    "404": Kind("404", is_outlived=False, operations=("GET", "HEAD", "COPY")),
    "409": Kind("409", operations=("conditional PUT",)),
    "412": Kind("412", operations=("conditional PUT",)),
    "silence": Kind("silence"),
    "silence, for good": Kind("silence", FOR_GOOD, is_outlived=False),
    "reset": Kind("reset"),
    "reset, for good": Kind("reset", FOR_GOOD, is_outlived=False),
    "away for 15 s": Kind("reset", seconds=15),
    "reset in the body": Kind("cut", operations=BODIES),
    "short body": Kind("short", operations=BODIES),
    "slow body": Kind("drip", 3, operations=BODIES),
    "lost answer": Kind("lost answer"),
    "no upload": Kind("no upload", operations=("multipart end",)),
    "error in 200": Kind("error in 200", operations=("COPY", "multipart end")),
}
NOTHING: Plan = lambda _operation, _path: None  # noqa: E731


def _cases(rng: random.Random) -> Iterator[tuple[str, str, Operation, float]]:
    """Night, kind, operation, and a share of its calls; each kind on each of its operations of each night, then again.

    Kinds come in turn, those with fewer operations not again before all others are through.
    """
    cases = {name: list(product(CHANGES, [name], kind.operations)) for name, kind in KINDS.items()}
    for of_kind in cases.values():
        rng.shuffle(of_kind)
    longest = max(map(len, cases.values()))
    for row in count_up():
        for of_kind in cases.values():
            if row % longest < len(of_kind):
                yield (*of_kind[row % longest], rng.random())


@contextmanager
def bucket(folder: Path) -> Iterator[tuple[FaultyServer, Root, dict[str, str]]]:
    """A store behind a faulty proxy, a root in it, and the environment that leads there."""
    with moto_server() as server, faulty(server) as proxied, pytest.MonkeyPatch.context() as patch:
        before = dict(os.environ)
        root = proxied.root(patch, folder / "scratch")
        yield proxied, root, {name: value for name, value in os.environ.items() if before.get(name) != value}


def kills(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """SIGKILL at random instants of a first night whose root is in a bucket."""
    count = bench.count(f"SIGKILL of leader or group, S3, {system}")
    with bucket(bench.folder) as (_, root, env):

        def fresh(number: int) -> str:
            _forget_fetched(bench)
            return f"{root.address}/{number}"

        bench.kill_nights(fresh, system, count, times, rng, env=env)
    return count


def errors(bench: Bench, system: str, times: int, rng: random.Random) -> list[Count]:
    """Each kind of error on a random call of each operation: of a first night, and of one with other lists after it.

    Source and root are in the bucket. The night must end well where the fault passes, and else with an error that names
    the store, and a plain night after it end well; readers see a whole run meanwhile or none; a run is published once.
    """
    counts = {name: bench.count(f"S3, {name}, {system}") for name in KINDS}
    with bucket(bench.folder) as (proxied, root, env):
        trials, cases = _Trials(bench, system, proxied, root, env), enumerate(islice(_cases(rng), times))
        done = sum(count.tried for count in counts.values())
        for number, (night, name, operation, share) in islice(cases, done, None):
            outcome, said = trials.play(number, night, name, operation, share)
            counts[name].note(outcome, f"{number}: {said}")
    return [count for count in counts.values() if count.tried]


def many_errors(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """A first night from a bucket to a bucket of which every tenth call or so goes wrong, each time in another way."""
    count = bench.count(f"S3, many calls of one night, {system}")
    with bucket(bench.folder) as (proxied, root, env):
        trials = _Trials(bench, system, proxied, root, env)
        for trial in range(count.tried, times):
            outcome, said = trials.play_many(f"{root.address}/{trial}", rng.randint(7, 13), rng)
            count.note(outcome, f"{trial}: {said}")
    return count


class _Trials:
    """Nights from a bucket to a bucket, of which some calls go wrong."""

    def __init__(self, bench: Bench, system: str, proxied: FaultyServer, root: Root, env: dict[str, str]) -> None:
        self.bench, self.system, self.proxied, self.root, self.env = bench, system, proxied, root, env
        self.num_calls: dict[str, Counter[str]] = {}  # of an undisturbed night, by operation
        bench.prepare(system)
        for file in Path(bench.source).rglob("*"):
            if file.is_file():
                root.write(f"source/{file.relative_to(bench.source)}", file.read_bytes())

    def play(self, number: int, night: str, name: str, operation: Operation, share: float) -> tuple[Outcome, str]:
        """What came of an error, and what went wrong with which call."""
        kind, here = KINDS[name], f"{self.root.address}/{number}"
        for needed in ("first", night):  # the next night goes on from the first one
            if needed not in self.num_calls:
                self.bench.prepare(self.system, *CHANGES[needed])
                self.num_calls[needed] = self._num_calls(needed)
        if night == "next":
            self._copy("first", here)
        first = int(share * self.num_calls[night][operation])
        disturbed = self._night(here, night, _plan(kind, operation, first), operation, is_quick=not kind.seconds)
        hit = [f"{seen} {path}" for seen, path, fault in self.proxied.seen if fault]
        outcome, said = self._judge(here, night, kind, disturbed) if hit else ("lost", "no call went wrong")
        _forget_fetched(self.bench)
        return outcome, f"{name}, {operation} {first} of a {night} night, {len(hit)} calls as {hit[:1]}: {said}"

    def play_many(self, here: str, every: int, rng: random.Random) -> tuple[Outcome, str]:
        """What came of a first night of which each so many calls goes wrong, in a way that it must outlive."""
        kinds = [kind for kind in KINDS.values() if kind.is_outlived and not kind.seconds]
        wrong, turn, calls = list[str](), threading.Lock(), count_up(1)

        def plan(seen: str, path: str) -> Fault | None:
            with turn:
                if next(calls) % every:
                    return None
                kind = rng.choice([kind for kind in kinds if seen in kind.operations] or kinds[:1])
                wrong.append(f"{kind.fault} at {seen} {path}")
            return kind.fault

        disturbed = self._night(here, "first", plan, PARTS[0])
        outcome, said = self._judge(here, "first", KINDS["503"], disturbed)
        _forget_fetched(self.bench)
        return outcome, f"{len(wrong)} calls: {said} {wrong if outcome == 'lost' else ''}"

    def _num_calls(self, night: str) -> Counter[str]:
        """How often an undisturbed night asks for each operation."""
        here = f"{self.root.address}/{night}"
        if night == "next":
            self._copy("first", here)
        if (ended := self._night(here, night, NOTHING, PARTS[0])).code:
            raise RuntimeError(f"an undisturbed night ended with {ended.code}:\n{ended.log[-3000:]}")
        return Counter(operation for operation, _, _ in self.proxied.seen)

    def _night(self, here: str, night: str, plan: Plan, operation: str, *, is_quick: bool = True) -> Ended:
        self.proxied.seen.clear()
        self.proxied.plan = plan
        constants = (QUICK if is_quick else {}) | (IN_PARTS if operation in PARTS else {})
        arguments = self.bench.arguments(here, self.system, *CHANGES[night], source=f"{self.root.address}/source")
        try:
            return self.bench.forks.run(*arguments, env=self.env, constants=constants)
        finally:
            self.proxied.plan = NOTHING

    def _judge(self, here: str, night: str, kind: Kind, disturbed: Ended) -> tuple[Outcome, str]:
        end = f"code {disturbed.code} {disturbed.log.strip()[-1500:]}"
        if kind.is_outlived and disturbed.code:
            return "lost", f"not outlived: {end}"
        if disturbed.code and not (disturbed.is_named and "s3://" in disturbed.log.strip().splitlines()[-1]):
            return "lost", f"without a name: {end}"
        nights = ["first", "next"][: 1 + (night == "next")]
        whole = [self.bench.expected[" ".join([self.system, *CHANGES[name]])] for name in nights]
        if exported(Root(here)) not in ([{}, *whole] if night == "first" else whole):
            return "lost", f"the pointer is not whole: {sorted(exported(Root(here)).items())} {end}"
        if not disturbed.code and (faults := verify(Root(here)).faults):
            return "lost", f"damaged: {faults} {end}"
        again = self._night(here, night, NOTHING, "") if disturbed.code else disturbed
        if again.code or (wrong := self.bench.differing(here, self.system, *CHANGES[night])):
            said = f"code {again.code} {again.log.strip()[-1500:]}" if again.code else f"differs: {wrong}"
            return "lost", f"the night afterwards: {said}; the one before: {end}"
        moves, published = snapshots.changes(Root(here)), snapshots.runs(Root(here))
        if [len(moves), len(published)] != [len(nights)] * 2:
            return "lost", f"published twice: {moves} {[manifest.run_id for manifest in published]} {end}"
        return ("named" if disturbed.code else "survived"), ""

    def _copy(self, name: str, here: str) -> None:
        source, target = Root(f"{self.root.address}/{name}"), Root(here)
        for entry in source.entries():
            target.write(entry.path, source.read(entry.path))


def _plan(kind: Kind, operation: Operation, first: int) -> Plan:
    """The calls of an operation go wrong from this one on, or all calls do."""
    calls, turn, began = count_up(), threading.Lock(), list[float]()

    def plan(seen: str, _path: str) -> Fault | None:
        if began:
            return kind.fault if time.monotonic() < began[0] + kind.seconds else None
        if seen != operation:
            return None
        with turn:
            call = next(calls)
        if kind.seconds and call >= first:
            began.append(time.monotonic())
        return kind.fault if first <= call < first + kind.times else None

    return plan


def _forget_fetched(bench: Bench) -> None:
    shutil.rmtree(bench.folder / "scratch", ignore_errors=True)
