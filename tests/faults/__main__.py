"""Break nights in every way there is, and count what came of it: `make faults`, or `python -m tests.faults --help`.

survived: the night, or the plain one after it, ended with the very bytes of an undisturbed one. named: it ended with an
error of one line, and the plain night after it, without the fault, with these bytes. lost: anything else.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults import local, servers, stores
from tests.faults.trials import SYSTEMS, Bench, Count, bench_in

Scenario = Callable[[Bench, str, int, random.Random], Count | list[Count]]

# With the share of --kills that each is tried, and at least once; the systems that take part.
SCENARIOS: dict[str, tuple[Scenario, float, tuple[str, ...]]] = {
    "kills": (local.kills, 1.0, ("default", "cdl")),
    "kills-s3": (stores.kills, 0.5, ("cdl",)),
    "kills-command": (local.kills_of_commands, 0.2, ("cdl",)),
    "damages": (local.damages, 2.0, ("default", "cdl")),
    "errors-s3": (stores.errors, 1.2, ("ease",)),
    "errors-s3-many": (stores.many_errors, 0.3, ("cdl",)),
    "full-disk": (local.full_disks, 0.6, ("default", "cdl")),
    "full-disk-prefect": (local.full_disks_with_prefect, 0.2, ("cdl",)),
    "read-only": (local.read_only_folders, 1.0, ("cdl",)),
    "two-hosts": (local.two_hosts, 0.15, ("cdl",)),
    "server": (servers.own, 0.3, ("cdl",)),
    "server-outer": (servers.outer, 0.5, ("cdl",)),
    "restarts": (servers.restarts, 0.1, ("cdl",)),
    "workers": (servers.workers, 0.4, ("cdl",)),
    "clocks": (local.clocks, 0.2, ("cdl",)),
    "memory": (local.little_memory, 0.5, ("cdl",)),
}


def main() -> None:
    options = _options()
    began, counts = time.monotonic(), []
    folder = Path(tempfile.mkdtemp(prefix="tastegraph-faults-"))
    try:
        with bench_in(folder, options.results) as bench:
            for name in options.scenarios:
                scenario, share, systems = SCENARIOS[name]
                for system in systems:
                    if system in options.systems:
                        times = max(1, round(share * options.kills))
                        counts += _play(scenario, bench, system, times, random.Random(f"{name} {options.seed}"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _say()
    for count in counts:
        for said in count.said:
            _say(f"LOST  {count.scenario}: {said}\n")
    _say(f"{'scenario':60}{'tried':>8}{'survived':>10}{'named':>8}{'lost':>6}")
    for count in [*counts, _sum(counts)]:
        numbers = f"{count.tried:>8}{count.survived:>10}{count.named:>8}{count.lost:>6}"
        _say(f"{count.scenario:60}{numbers}")
    _say(f"seed {options.seed}, {time.monotonic() - began:.0f} s")
    sys.exit(1 if any(count.lost for count in counts) else 0)


def _play(scenario: Scenario, bench: Bench, system: str, times: int, rng: random.Random) -> list[Count]:
    began = time.monotonic()
    try:
        found = scenario(bench, system, times, rng)
    except local.ImpossibleError as error:
        found = Count(f"not here ({error})")
    counts = found if isinstance(found, list) else [found]
    for count in counts:
        _say(f"{count.scenario}: {count.lost} of {count.tried} lost, {count.named} named")
    _say(f"{time.monotonic() - began:.0f} s")
    return counts


def _sum(counts: list[Count]) -> Count:
    every = Count("all")
    for count in counts:
        every.survived, every.named, every.lost = (
            every.survived + count.survived,
            every.named + count.named,
            every.lost + count.lost,
        )
    return every


def _say(line: str = "") -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="how many kills; the other scenarios go with it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="a file of what was tried: given again, the run goes on after it")
    parser.add_argument("--scenarios", type=lambda text: text.split(","), default=list(SCENARIOS), metavar="NAME,NAME")
    parser.add_argument("--systems", type=lambda text: text.split(","), default=list(SYSTEMS), metavar="NAME,NAME")
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(SCENARIOS):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    return options


if __name__ == "__main__":
    main()
