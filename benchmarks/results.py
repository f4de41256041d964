"""docs/results.md: every system on every set, by `tastegraph compare`, beside what others measured and published.

    TASTEGRAPH_DATA=... python benchmarks/results.py --root DIR --budget 6 --seeds 3

Each comparison is the very command that the page names. One that was killed goes on where it stopped, and one that is
done is not done again; `--sets`, `--protocols` and `--systems` run a part of them. The page is written from whatever
lies below the root, and from docs/results.jsonl, which keeps all that the page shows, a comparison a line: roots come
and go. `--only-write` runs nothing. Of several comparisons of one kind the page shows the one with the largest budget;
of these the one with the most seeds, with the most systems, the last. Others below the root of the same split, budget
and seeds, of other systems or from another machine, are joined with it: of a system measured twice the last counts.
What is left has a second table, which compares nothing: those settings had fewer chances, or their users' figures,
which a paired test takes, are gone.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from comparisons.asked import COMPARISONS
from comparisons.found import Found, find
from comparisons.page import page_of

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
RECORD = PAGE.with_suffix(".jsonl")


def main() -> None:
    """Run what is asked for, and write the page."""
    options = _options()
    failed = [] if options.only_write else _run(options)
    left = [Found.read(results.parent) for results in Path(options.root).glob("comparisons/*/results.parquet")]
    kept = [Found.recorded(line) for line in RECORD.read_text().splitlines()]
    found = [(asked, find(asked, left, kept)) for asked in COMPARISONS]
    PAGE.write_text(page_of(found))
    RECORD.write_text("".join(f"{item.record}\n" for _, items in found for item in items))
    print(f"{PAGE}: {sum(bool(items) for _, items in found)} of {len(found)} comparisons")
    if failed:
        sys.exit(f"not all systems could be measured: {'; '.join(failed)}")


def _run(options: argparse.Namespace) -> list[str]:
    """The comparisons asked for, one process after the other; the names of those that failed."""
    failed = []
    for asked in COMPARISONS:
        name = f"{asked.set}, {asked.protocol}"
        if asked.set not in options.sets or asked.protocol not in options.protocols:
            continue
        data = os.environ.get("TASTEGRAPH_DATA", "")
        if asked.set != "demo" and not (Path(data) / asked.set).is_dir():
            print(f"{name}: skipped, TASTEGRAPH_DATA names no folder that holds {asked.set}", flush=True)
            continue
        command = asked.command(data, options.root, options.systems, options.seeds, options.budget)
        print(f"-- {name}: {' '.join(command)}", flush=True)
        program = [sys.executable, "-c", "from flows.cli import main; main()"]
        if subprocess.run([*program, *command[1:]], check=False).returncode:
            failed.append(name)
    return failed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the comparisons of docs/results.md, and write the page.")
    sets, protocols = (sorted({getattr(asked, key) for asked in COMPARISONS}) for key in ("set", "protocol"))
    parser.add_argument("--root", required=True, help="where everything made lies")
    parser.add_argument("--sets", type=_names(sets), default=sets, help=f"with commas: {', '.join(sets)}")
    parser.add_argument("--protocols", type=_names(protocols), default=protocols, help=", ".join(protocols))
    parser.add_argument("--systems", default="all", help="names with commas (default all)")
    parser.add_argument("--seeds", type=int, default=1, help="how many a system is fitted with (default 1)")
    parser.add_argument("--budget", type=int, default=0, help="settings tried of each system (default 0: none)")
    parser.add_argument("--only-write", action="store_true", help="write the page from what lies below the root")
    return parser.parse_args()


def _names(known: list[str]) -> Any:
    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {', '.join(known)}")
        return chosen

    return names


if __name__ == "__main__":
    main()
