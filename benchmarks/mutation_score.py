"""The share of mutants that tests kill, by module: `mutmut results --all true | python benchmarks/mutation_score.py`.

`make mutants` ends with it. Mutants that no run has checked yet are left out. A mutant whose tests ran into the time
limit counts as killed; one that no test calls counts as a survivor.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable

KILLED = ("killed", "timeout", "segfault")  # the last: the tests' process ended


def main() -> None:
    lines = list(sys.stdin)
    print("\n".join([*survivors(lines), "", *table(lines)]))


def survivors(lines: Iterable[str]) -> list[str]:
    """The lines of mutants that were checked and not killed."""
    return [line.strip() for line in lines if line.strip().rpartition(": ")[2] not in (*KILLED, "not checked")]


def table(lines: Iterable[str]) -> list[str]:
    """A row for each module with a checked mutant, and one for all: its name, killed and checked mutants, the share.

    Args:
        lines: `module.mutant: verdict`, as mutmut prints them.
    """
    verdicts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        name, _, verdict = line.strip().rpartition(": ")
        if name and verdict != "not checked":
            module = name.rpartition(".")[0]
            for counted in (module, "all"):
                verdicts[counted][verdict] += 1
    rows = ["| module | killed | of | share |", "|---|---|---|---|"]
    for module in sorted(verdicts, key=lambda module: (module == "all", module)):
        killed, checked = sum(verdicts[module][verdict] for verdict in KILLED), verdicts[module].total()
        rows.append(f"| {module} | {killed} | {checked} | {killed / checked:.3f} |")
    return rows


if __name__ == "__main__":
    main()
