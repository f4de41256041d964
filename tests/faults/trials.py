"""What a trial is: a root with a night, a fault, and what came of it."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from typing import Literal

import yaml

from flows.local_server import LocalServer
from storage import snapshots
from storage.roots import DamagedError, Root
from tests import world
from tests.faults.forked import Ended, Forks, forks, kill_after
from tests.flows.processes import environment

Outcome = Literal["survived", "named", "lost"]

QUICK = {"effort": "low", "tower_steps": 20, "factor_dimensions": 8, "coded_dimensions": 8, "tower_dimensions": 8}
QUICK_FEATURES = {"learning": {"epochs": 1, "channels": [8, 16]}}
SYSTEMS = {
    "default": {**world.SETTINGS, "model": QUICK, "features": QUICK_FEATURES},  # the default system, with its refit
    "cdl": world.SETTINGS,
    "ease": {**world.SETTINGS, "model": {"system": "ease", "refit": False}},  # the least that a night does
}
KILLS_EACH = 8  # of one root at most
OTHER_LISTS = ("--set", "recommend.num_recommendations=9", "--set", "recommend.num_similar=4")


@dataclass
class Count:
    """A scenario's trials by their outcome."""

    scenario: str
    survived: int = 0
    named: int = 0
    lost: int = 0
    said: list[str] = field(default_factory=list)  # of lost trials: what happened, and the end of the log
    results: Path | None = None  # a line of JSON for each trial; those that it has count, and are not tried again

    def __post_init__(self) -> None:
        lines = self.results.read_text().splitlines() if self.results and self.results.exists() else []
        for scenario, outcome, what in map(json.loads, lines):
            if scenario == self.scenario:
                self._enter(outcome, what)

    @property
    def tried(self) -> int:
        return self.survived + self.named + self.lost

    def _enter(self, outcome: Outcome, what: str) -> None:
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome == "lost":
            self.said.append(what)

    def note(self, outcome: Outcome, what: str = "") -> None:
        self._enter(outcome, what)
        if self.results:
            with self.results.open("a") as file:
                file.write(json.dumps([self.scenario, outcome, what]) + "\n")
        sys.stdout.write(f"{outcome:9} {self.scenario}: {what[:2000]}\n")
        sys.stdout.flush()


@dataclass
class Bench:
    """Where trials run: forked commands, a source, and what an undisturbed night exports."""

    forks: Forks
    folder: Path
    source: str
    settings: dict[str, Path]
    env: dict[str, str]
    results: Path | None = None
    expected: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def arguments(self, root: object, system: str, *changes: str, source: str = "") -> list[str]:
        return [
            *("nightly", "--source", source or self.source, "--root", str(root)),
            *("--config", str(self.settings[system])),
            *changes,
        ]

    def night(self, root: object, system: str, *changes: str, **how: object) -> Ended:
        return self.forks.run(*self.arguments(root, system, *changes), **how)  # type: ignore[arg-type]

    def kill_nights(
        self, fresh: Callable[[int], object], system: str, count: Count, times: int, rng: random.Random, **how: object
    ) -> None:
        """Nights killed at random instants until so many are: about half of them with their process groups.

        A night goes on where the killed one stopped, and is killed too, until one comes to its end before its instant:
        its export must be as if nothing had been. Each kill of a root has the outcome of all.

        Args:
            fresh: makes an empty root, given its number.
        """
        self.prepare(system)
        rng.seed(f"{rng.random()} {count.tried}")  # a resumed run has instants of its own
        while count.tried < times:
            root, kills = fresh(count.tried), list[str]()
            while True:
                is_group, instant = rng.random() < 0.5, rng.uniform(0, self.seconds[system])
                may_be_killed = len(kills) < min(KILLS_EACH, times - count.tried)
                killer = kill_after(instant, is_group=is_group) if may_be_killed else None
                ended = self.night(root, system, meanwhile=killer, **how)
                if ended.code == -SIGKILL:
                    kills.append(f"{'group' if is_group else 'leader'} after {instant:.2f} s")
                    if exported(Root(str(root))) in ({}, self.expected[system]):
                        continue
                if not kills:
                    break  # before its instant; it tells nothing
                wrong = self.differing(root, system)
                said = f"{self._of(ended)} {wrong}" if ended.code or wrong else ""
                for number, kill in enumerate(kills, 1):
                    what = f"{kill}, {number} of {len(kills)} of one root: {said}"
                    count.note("lost" if said else "survived", what)
                break

    def count(self, scenario: str) -> Count:
        """A scenario's trials, with those of the file of results."""
        return Count(scenario, results=self.results)

    def prepare(self, system: str, *changes: str) -> str:
        """An undisturbed night, whose export all others must equal; returns its name in `expected`."""
        name = " ".join([system, *changes])
        if name not in self.expected:
            root = self.folder / "undisturbed" / name.replace(" ", "_").replace(".", "_")
            ended = self.night(root, system, *changes)
            if ended.code != 0:
                raise RuntimeError(f"an undisturbed night ended with {ended.code}:\n{ended.log[-3000:]}")
            self.expected[name], self.seconds[name] = exported(Root(str(root))), ended.seconds
        return name

    def finished(self, system: str) -> Path:
        self.prepare(system)
        return self.folder / "undisturbed" / system

    def copy(self, root: Path, name: str) -> Path:
        """A copy of a root; files that are one on the disk stay one."""
        to = self.folder / "trials" / name
        shutil.rmtree(to, ignore_errors=True)
        to.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", root, to], check=True)
        return to

    def fresh(self, name: str) -> Path:
        to = self.folder / "trials" / name
        shutil.rmtree(to, ignore_errors=True)
        to.parent.mkdir(parents=True, exist_ok=True)
        return to

    def judge(
        self, root: object, system: str, disturbed: Ended, *changes: str, env: Mapping[str, str] | None = None
    ) -> tuple[Outcome, str]:
        """After a disturbed night: a plain one must end as if nothing had been.

        survived: the disturbed night was killed or ended well; named: it ended with an error of one line. lost: an
        error without a name, a night that does not end well afterwards, or one whose export differs.
        """
        told = disturbed.code < 0 or disturbed.code == 0 or disturbed.is_named
        if not told:
            return "lost", f"{self._of(disturbed)}"
        again = self.night(root, system, *changes, env=env)
        if again.code != 0:
            return "lost", f"the night afterwards: {self._of(again)}\nthe one before: {self._of(disturbed)}"
        wrong = self.differing(root, system, *changes)
        if wrong:
            return "lost", f"differs after {self._of(disturbed)}: {', '.join(wrong)}"
        return ("survived" if disturbed.code <= 0 else "named"), ""

    def differing(self, root: object, system: str, *changes: str) -> list[str]:
        """The exported files that are not as they should be."""
        found, expected = exported(Root(str(root))), self.expected[" ".join([system, *changes])]
        return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))

    def _of(self, ended: Ended) -> str:
        return f"code {ended.code}, {ended.log.strip()[-1500:]}"


def exported(root: Root) -> dict[str, str]:
    """The sha256 of each Parquet file of the current run; its bytes are compared with the pointer's checksum first."""
    pointer = snapshots.current(root)
    if pointer is None:
        return {}
    folder, found = f"{snapshots.folder(pointer.run_id)}/", {}
    for path, sha256 in pointer.checksums.items():
        try:
            digest = hashlib.sha256(root.read(path)).hexdigest()
        except (FileNotFoundError, DamagedError):
            digest = "lost"
        if path.endswith(".parquet"):
            found[path.removeprefix(folder)] = digest if digest == sha256 else f"{digest}, not {sha256}"
    return found


def write_settings(folder: Path) -> dict[str, Path]:
    """A file of settings for each system."""
    files = {}
    for name, values in SYSTEMS.items():
        files[name] = folder / f"{name}.yaml"
        files[name].write_text(yaml.safe_dump(json.loads(json.dumps(values))))
    return files


@contextmanager
def bench_in(folder: Path, results: Path | None = None) -> Iterator[Bench]:
    """A bench in a folder, with a Prefect server that all of its forked commands share."""
    (folder / "prefect").mkdir()
    server = LocalServer(folder / "prefect")
    try:
        server.wait()
        env = environment(folder / "prefect", PREFECT_API_URL=server.url, OMP_NUM_THREADS="1")
        with forks(folder, env) as forked:
            source = str(world.write_source(folder / "source"))
            yield Bench(forked, folder, source, write_settings(folder), env, results)
    finally:
        server.stop()
