"""docs/results.md and docs/leaderboard.md: every system on every set, by `tastegraph compare`, beside others' figures.

    TASTEGRAPH_DATA=... python benchmarks/results.py --root DIR --budget 6 --seeds 3
    TASTEGRAPH_DATA=... python benchmarks/results.py --root DIR --sets ciao-trust --budget 6 --seeds 3 --anew
    python benchmarks/results.py --only-write

Each comparison prints the command that it runs. One that was interrupted is resumed, and a finished one is not run
again; `--sets`, `--protocols` and `--systems` run a part of them. The pages are written from all runs below the root,
and from docs/results.jsonl, which has a line for each run with all that the pages show, so that roots may be deleted:
one table can be made anew without the others. `--only-write` runs nothing. With `--anew`, recorded runs of the chosen
comparisons are dropped where the root has a finished one.

Of several runs of one comparison the pages show the one with the largest budget; of these the one with the most seeds,
then with the most systems, then the last. Other runs below the root of the same split, budget and seeds, of other
systems or from another machine, are joined with it: of a system measured twice the last counts. Systems of all other
runs are in a second table of results.md without tests: they had less tuning or fewer seeds, or their users' metrics,
which a paired test needs, are not available any longer.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from comparisons.board import board_of
from comparisons.page import page_of
from comparisons.plan import COMPARISONS, Comparison
from comparisons.runs import Run, runs_of

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
RECORD = PAGE.with_suffix(".jsonl")
BOARD = PAGE.with_name("leaderboard.md")


def main() -> None:
    """Run the chosen comparisons, and write the page."""
    options = _options()
    failed = [] if options.only_write else _run(options)
    roots = [Path(options.root)] if options.root else []
    finished = [Run.read(file.parent) for root in roots for file in root.glob("comparisons/*/results.parquet")]
    recorded = [Run.recorded(line) for line in RECORD.read_text().splitlines()]
    shown = shown_runs(finished, recorded, lambda comparison: options.anew and _is_chosen(comparison, options))
    PAGE.write_text(page_of(shown))
    BOARD.write_text(board_of([(comparison, runs) for comparison, runs in shown if comparison.on_leaderboard]))
    RECORD.write_text("".join(f"{run.record}\n" for _, runs in shown for run in runs))
    print(f"{PAGE}, {BOARD}: {sum(bool(runs) for _, runs in shown)} of {len(shown)} comparisons")
    if failed:
        sys.exit(f"not all systems could be measured: {'; '.join(failed)}")


def shown_runs(
    finished: list[Run], recorded: list[Run], is_anew: Callable[[Comparison], bool]
) -> list[tuple[Comparison, list[Run]]]:
    """The runs of each comparison; without the recorded ones where it is made anew and has a finished run."""
    shown = []
    for comparison in COMPARISONS:
        anew = runs_of(comparison, finished, []) if is_anew(comparison) else []
        shown.append((comparison, anew or runs_of(comparison, finished, recorded)))
    return shown


def _run(options: argparse.Namespace) -> list[str]:
    """Run the chosen comparisons, one process after the other; the names of those that failed."""
    failed = []
    for comparison in COMPARISONS:
        name = f"{comparison.set}, {comparison.protocol}"
        if not _is_chosen(comparison, options):
            continue
        data = os.environ.get("TASTEGRAPH_DATA", "")
        if comparison.set != "demo" and not (Path(data) / comparison.set).is_dir():
            print(f"{name}: skipped, TASTEGRAPH_DATA names no folder with {comparison.set}", flush=True)
            continue
        command = comparison.command(data, options.root, options.systems, options.seeds, options.budget)
        print(f"-- {name}: {' '.join(command)}", flush=True)
        program = [sys.executable, "-c", "from flows.cli import main; main()"]
        if subprocess.run([*program, *command[1:]], check=False).returncode:
            failed.append(name)
    return failed


def _is_chosen(comparison: Comparison, options: argparse.Namespace) -> bool:
    return comparison.set in options.sets and comparison.protocol in options.protocols


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the comparisons of docs/results.md, and write the pages.")
    sets, protocols = (sorted({getattr(comparison, key) for comparison in COMPARISONS}) for key in ("set", "protocol"))
    parser.add_argument("--root", help="the folder of all outputs; needed but with --only-write")
    parser.add_argument("--sets", type=_names(sets), default=sets, help=f"with commas: {', '.join(sets)}")
    parser.add_argument("--protocols", type=_names(protocols), default=protocols, help=", ".join(protocols))
    parser.add_argument("--systems", default="all", help="names with commas (default all)")
    parser.add_argument("--seeds", type=int, default=1, help="fits of each system (default 1)")
    parser.add_argument("--budget", type=int, default=0, help="settings tried of each system (default 0: none)")
    parser.add_argument("--only-write", action="store_true", help="write the pages from finished runs, run nothing")
    parser.add_argument("--anew", action="store_true", help="drop recorded runs of what the root has a finished run of")
    options = parser.parse_args()
    if not options.root and not options.only_write:
        parser.error("--root is needed to run comparisons")
    return options


def _names(choices: list[str]) -> Any:
    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(choices):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {', '.join(choices)}")
        return chosen

    return names


if __name__ == "__main__":
    main()
