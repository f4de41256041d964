"""Output of the command line: tables for a person, JSON for a program."""

import json
import math
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE_HEAD

from flows.terminal import say, say_table

if TYPE_CHECKING:
    from storage.manifests import Manifest


def print_published(published: Any, root: str) -> None:
    """The outcome of a night, and where its tables lie."""
    if not published.is_new:
        say()
        say(f"Nothing to do: run {published.run_id} already holds these tables.")
    state = "is current" if published.is_current else "was kept, but not made current"
    say()
    say(f"Run {published.run_id} {state}.", "bold")
    for reason in published.reasons:
        say(f"  {reason}", "red")
    for warning in published.warnings:
        say(f"  warning: {warning}", "yellow")
    for table, rows in published.rows.items():
        say(f"  {rows:>10,} rows  {published.folder}/{table}/")
    say(f"  report      {published.folder}/report/index.html")
    if published.is_current:
        say(f"  pointer     {root.rstrip('/')}/exports/current.json")


def print_crawled(crawled: Any) -> None:
    """How much was requested from Flickr, and the tables and pictures that came out."""
    say()
    say(f"{crawled.requests:,} requests, {crawled.pictures_asked:,} pictures asked for")
    for table, rows in crawled.rows.items():
        say(f"  {rows:>10,} rows  {crawled.out}/{table}.parquet")
    for outcome, count in crawled.pictures.items():
        say(f"  {count:>10,} pictures {outcome}")
    for what, count in crawled.unread.items():
        say(f"  {count:>10,} users: {what}")


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
                "tags": _tags(compared.tags),
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
                "tags": _tags(tuned.tags),
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


def print_tags(tags: Any) -> None:
    """What tags tell of held-out favorites, in yellow where figures may be too high."""
    if tags:
        say(f"tags: {tags.line}", "yellow" if tags.is_warning else "")


def print_ingest(report: dict[str, Any]) -> None:
    """The ingest report for a person."""
    rows = []
    for name, item in report["tables"].items():
        reasons = ", ".join(f"{count} {reason}" for reason, count in item["quarantined"].items()) or "0"
        if item["forgotten"]:
            reasons += f"; {item['forgotten']} forgotten"
        rows.append((name, item["file"] or "-", item["read"], item["kept"], reasons))
    pictures = report["pictures"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in pictures["quarantined"].items()) or "0"
    num_pictures = pictures["decoded"] + sum(pictures["quarantined"].values())
    rows.append(("pictures", "images.path", num_pictures, pictures["decoded"], reasons))
    say_table(("table", "file", "read", "kept", "quarantined"), rows)


def print_import(report: dict[str, Any]) -> None:
    """Rows read, kept and left out of a download, for a person."""
    rows = []
    for name, account in report["tables"].items():
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in account["left_out"].items()) or "0"
        named = f" + {account['named_elsewhere']:,} named elsewhere" if account["named_elsewhere"] else ""
        rows.append((name, f"{account['read']:,}{named}", f"{account['kept']:,}", reasons))
    say_table(("table", "read", "kept", "left out"), rows)
    for what, count in report["notes"].items():
        say(f"  {count:,} {what}")


def print_list(root: str, name: str, key: str, wanted: str, found: str, k: int, as_json: bool) -> None:
    """One list of the current export, recommendations or similar images."""
    import polars as pl

    from storage import snapshots
    from storage.roots import Root

    output = Root(root)
    pointer = snapshots.current(output)
    if pointer is None:
        raise nothing_published(root)
    if not pointer.rows[name]:
        raise ValueError(f"run {pointer.run_id} exports no {name}: its system has none")
    rows = (
        pl.scan_parquet(snapshots.dataset(output, pointer, name), glob=False)
        .filter((pl.col(key) == wanted) & (pl.col("rank") <= k))
        .sort("rank")
        .collect()
    )
    if rows.is_empty():
        raise ValueError(f"{key} {wanted!r} has no row in {name} of run {pointer.run_id}")
    if as_json:
        print_json(rows.to_dicts())
        return
    say(f"{name} of {wanted}, run {pointer.run_id}")  # a table's title would be cut into lines
    shown = ((row["rank"], row[found], f"{row['score']:.4f}") for row in rows.iter_rows(named=True))
    say_table(("rank", found, "score"), shown)


def nothing_published(root: str) -> ValueError:
    """The error of a command that reads what a night published, and the command that would publish it."""
    command = f"tastegraph nightly --root {shlex.quote(root)}"
    return ValueError(f"{root}: nothing is published below this root; run `{command}` first")


def figure(run: "Manifest", protocol: str, metric: str) -> str:
    """The exported system's figure over all images, for the longest list measured."""
    from models.evaluation.headlines import headline_of

    row = headline_of(run.metrics, run.system, protocol, metric)
    if row is None:
        return f"{protocol} {metric} not measured"
    return f"{protocol} {metric}@{row['k']} {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _tags(tags: Any) -> dict[str, Any] | None:
    """The account of tags for a program; None where images have no tags."""
    return {**asdict(tags), "line": tags.line, "is_warning": tags.is_warning} if tags else None


def print_json(value: Any) -> None:
    """Output for a program: JSON, which has no nan and no infinity; these are null."""
    typer.echo(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
