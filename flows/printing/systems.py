"""What comparisons and tuning print."""

import shlex
from typing import Any

from rich.box import SIMPLE_HEAD

from flows.printing.common import print_json, print_tags, tags_for_programs
from flows.terminal import say, say_table


def print_comparison(compared: Any, root: Any, as_json: bool) -> None:
    """The systems of a comparison in order, slice by slice."""
    from storage import parquet
    from tasks.pages.comparison import board

    results, comparisons = (
        parquet.read(ref, root).to_pylist() for ref in (compared.leaderboard.results, compared.leaderboard.comparisons)
    )
    if as_json:
        entries = {entry.system: entry for entry in compared.entries}
        print_json(
            {
                "id": compared.id,
                "folder": compared.folder,
                "features": compared.features,
                "results": results,
                "comparisons": comparisons,
                "settings": {name: entry.settings for name, entry in entries.items()},
                "left_out": {name: entry.lacking for name, entry in entries.items() if entry.lacking},
                "failed": {entry.system: entry.error for entry in compared.failed},
                "tags": tags_for_programs(compared.tags),
            }
        )
        return
    deciding = (compared.metric, compared.k)
    tests = {
        (row["protocol"], row["slice"], row["system"]): (f"{row['difference']:+.4f}", f"{row['p_holm']:.4f}")
        for row in comparisons
        if (row["metric"], row["k"]) == deciding
    }
    num_tests = 0  # of one part: the systems that are tested against the first
    for part in board(results, *deciding):
        num_tests = max(num_tests, len(part["rows"]) - 1)
        say()
        say(f"{part['protocol']}, {part['slice']} images")
        second = ("recall", compared.k) if compared.metric == "ndcg" else None
        names = [f"{metric}@{k}" if k else metric for metric, k in (deciding, second or deciding)]
        columns = ("system", names[0], "95 % interval", *names[1 : 1 + bool(second)], "difference", "p", "fit s")
        rows = []
        for row in part["rows"]:
            figure = row["figures"][deciding]
            rows.append(
                (
                    row["system"],
                    f"{figure['value']:.4f}",
                    f"{figure['low']:.4f}–{figure['high']:.4f}",
                    *([f"{row['figures'][second]['value']:.4f}"] if second else []),
                    *tests.get((part["protocol"], part["slice"], row["system"]), ("", "")),
                    f"{row['fit_s']:.1f}",
                )
            )
        say_table(columns, rows, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    over = f"; p is Holm-corrected over {num_tests} systems" if num_tests > 1 else ""
    say(f"difference and p: a paired test over users against the best other system{over}")
    if compared.features:
        say(f"features of images: {compared.features}")
    for entry in compared.entries:
        if entry.error or entry.lacking:
            say(entry.line, "red" if entry.error else "")
    print_tags(compared.tags)
    say(f"  report      {compared.folder}/index.html")
    say(f"  figures     {compared.folder}/results.parquet")


def print_tuned(tuned: Any, root: Any, as_json: bool) -> None:
    """The settings that were tried, best first, and those of a night with the best."""
    from flows.settings import assignments_of
    from storage import parquet

    assignments = [] if tuned.lacking else assignments_of(tuned.system, tuned.settings)
    trials = parquet.read(tuned.trials, root).to_pylist() if tuned.trials else []
    if as_json:
        fields = ("system", "settings", "metric", "k", "value", "default_value", "lacking")
        print_json(
            {
                **{key: getattr(tuned, key) for key in fields},
                "trials": trials,
                "nightly": assignments,
                "tags": tags_for_programs(tuned.tags),
            }
        )
        return
    if tuned.lacking:
        say(f"{tuned.system} needs {', '.join(tuned.lacking)}, which the source does not have")
        return
    metric = f"{tuned.metric}@{tuned.k}" if tuned.k else tuned.metric
    best_first = sorted(trials, key=lambda row: (-row["value"], row["trial"]))
    shown = ((row["trial"], f"{row['value']:.4f}", f"{row['fit_s']:.1f}", row["settings"]) for row in best_first)
    say_table(("trial", f"{metric} on validation", "fit s", "settings"), shown)
    print_tags(tuned.tags)
    say("To publish with the best of these, give `tastegraph nightly` your --config, if any, and these settings:")
    say("  " + " ".join(f"--set {shlex.quote(assignment)}" for assignment in assignments))
