"""Output of the command line: tables for a person, JSON for a program."""

import json
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from storage.manifests import Manifest

out = Console()


def print_published(published: Any, root: str) -> None:
    """The outcome of a night, and where its tables lie."""
    if not published.is_new:
        out.print(f"\nNothing to do: run [bold]{published.run_id}[/bold] already holds these tables.")
    state = "is current" if published.is_current else "was kept, but not made current"
    out.print(f"\nRun [bold]{published.run_id}[/bold] {state}.")
    for reason in published.reasons:
        out.print(f"[red]  {reason}[/red]")
    for warning in published.warnings:
        out.print(f"[yellow]  warning: {warning}[/yellow]")
    for table, rows in published.rows.items():
        out.print(f"  {rows:>10,} rows  {published.folder}/{table}/", soft_wrap=True)
    out.print(f"  report      {published.folder}/report/index.html", soft_wrap=True)
    if published.is_current:
        out.print(f"  pointer     {root.rstrip('/')}/exports/current.json", soft_wrap=True)


def print_crawled(crawled: Any) -> None:
    """How much was requested from Flickr, and the tables and pictures that came out."""
    out.print(f"\n{crawled.requests:,} requests, {crawled.pictures_asked:,} pictures asked for", highlight=False)
    for table, rows in crawled.rows.items():
        out.print(f"  {rows:>10,} rows  {crawled.out}/{table}.parquet", soft_wrap=True, highlight=False)
    for outcome, count in crawled.pictures.items():
        out.print(f"  {count:>10,} pictures {outcome}", soft_wrap=True, highlight=False)
    for what, count in crawled.unread.items():
        out.print(f"  {count:>10,} users: {what}", soft_wrap=True, highlight=False)


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
        out.print(f"\n{part['protocol']}, {part['slice']} images", soft_wrap=True, highlight=False)
        second = ("recall", compared.k) if compared.metric == "ndcg" else None
        names = [f"{metric}@{k}" if k else metric for metric, k in (deciding, second or deciding)]
        table = Table("system", names[0], "95 % interval", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name in (*names[1 : 1 + bool(second)], "difference", "p", "fit s"):
            table.add_column(name)
        for row in part["rows"]:
            figure = row["figures"][deciding]
            table.add_row(
                row["system"],
                f"{figure['value']:.4f}",
                f"{figure['low']:.4f}–{figure['high']:.4f}",
                *([f"{row['figures'][second]['value']:.4f}"] if second else []),
                *tests.get((part["protocol"], part["slice"], row["system"]), ("", "")),
                f"{row['fit_s']:.1f}",
            )
        out.print(table)
    over = f"; p is Holm-corrected over {num_tests} systems" if num_tests > 1 else ""
    out.print(f"difference and p: a paired test over users against the best other system{over}", soft_wrap=True)
    if compared.features:
        out.print(f"features of images: {compared.features}", soft_wrap=True, highlight=False)
    for entry in compared.entries:
        if entry.error or entry.lacking:
            out.print(f"[red]{entry.line}[/red]" if entry.error else entry.line, soft_wrap=True, highlight=False)
    print_tags(compared.tags)
    out.print(f"  report      {compared.folder}/index.html", soft_wrap=True)
    out.print(f"  figures     {compared.folder}/results.parquet", soft_wrap=True)


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
        out.print(f"{tuned.system} needs {', '.join(tuned.lacking)}, which the source does not have")
        return
    metric = f"{tuned.metric}@{tuned.k}" if tuned.k else tuned.metric
    table = Table("trial", f"{metric} on validation", "fit s", "settings")
    for row in sorted(trials, key=lambda row: (-row["value"], row["trial"])):
        table.add_row(str(row["trial"]), f"{row['value']:.4f}", f"{row['fit_s']:.1f}", row["settings"])
    out.print(table)
    print_tags(tuned.tags)
    out.print("To publish with the best of these, give `tastegraph nightly` your --config, if any, and these settings:")
    options = " ".join(f"--set {shlex.quote(assignment)}" for assignment in assignments)
    out.print(f"  {options}", soft_wrap=True, highlight=False, markup=False)


def print_tags(tags: Any) -> None:
    """What tags tell of held-out favorites, in yellow where figures may be too high."""
    if tags:
        line = f"tags: {tags.line}"
        out.print(f"[yellow]{line}[/yellow]" if tags.is_warning else line, soft_wrap=True, highlight=False)


def print_ingest(report: dict[str, Any]) -> None:
    """The ingest report for a person."""
    table = Table("table", "file", "read", "kept", "quarantined")
    for name, item in report["tables"].items():
        reasons = ", ".join(f"{count} {reason}" for reason, count in item["quarantined"].items()) or "0"
        if item["forgotten"]:
            reasons += f"; {item['forgotten']} forgotten"
        table.add_row(name, item["file"] or "-", str(item["read"]), str(item["kept"]), reasons)
    pictures = report["pictures"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in pictures["quarantined"].items()) or "0"
    num_pictures = pictures["decoded"] + sum(pictures["quarantined"].values())
    table.add_row("pictures", "images.path", str(num_pictures), str(pictures["decoded"]), reasons)
    out.print(table)


def print_import(report: dict[str, Any]) -> None:
    """Rows read, kept and left out of a download, for a person."""
    table = Table("table", "read", "kept", "left out")
    for name, account in report["tables"].items():
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in account["left_out"].items()) or "0"
        named = f" + {account['named_elsewhere']:,} named elsewhere" if account["named_elsewhere"] else ""
        table.add_row(name, f"{account['read']:,}{named}", f"{account['kept']:,}", reasons)
    out.print(table)
    for what, count in report["notes"].items():
        out.print(f"  {count:,} {what}", soft_wrap=True, highlight=False)


def print_list(root: str, name: str, key: str, wanted: str, found: str, k: int, as_json: bool) -> None:
    """One list of the current export, recommendations or similar images."""
    import polars as pl

    from storage import snapshots
    from storage.roots import Root

    output = Root(root)
    pointer = snapshots.current(output)
    if pointer is None:
        raise ValueError(
            f"{output.address}: nothing is published below this root; run `tastegraph nightly --root {root}` first"
        )
    if not pointer.rows[name]:
        raise ValueError(f"run {pointer.run_id} exports no {name}: its system has none")
    rows = (
        pl.scan_parquet(snapshots.dataset(output, pointer, name))
        .filter((pl.col(key) == wanted) & (pl.col("rank") <= k))
        .sort("rank")
        .collect()
    )
    if rows.is_empty():
        raise ValueError(f"{key} {wanted!r} has no row in {name} of run {pointer.run_id}")
    if as_json:
        print_json(rows.to_dicts())
        return
    out.print(
        f"{name} of {wanted}, run {pointer.run_id}", soft_wrap=True, highlight=False
    )  # a table's title would be cut into lines
    table = Table("rank", found, "score")
    for row in rows.to_dicts():
        table.add_row(str(row["rank"]), row[found], f"{row['score']:.4f}")
    out.print(table)


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
    """Output for a program."""
    typer.echo(json.dumps(value, indent=2))
