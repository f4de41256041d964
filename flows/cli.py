"""The command line. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 finished but not made current."""

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From an image community's raw data to versioned recommendations in Parquet.",
)
crawl_app = typer.Typer(no_args_is_help=True, help="From a living community to a source directory.")
app.add_typer(crawl_app, name="crawl")
out = Console()

FAILED, USAGE, NOT_CURRENT = 1, 2, 3

SourceOption = Annotated[str, typer.Option(help="A source directory, local or s3://BUCKET/PREFIX; or demo.")]
RootOption = Annotated[str, typer.Option(help="Where everything made lies, local or s3://BUCKET/PREFIX.")]
ConfigOption = Annotated[str | None, typer.Option(help="A YAML file of settings, or `paper`.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be repeated.")]
ProtocolOption = Annotated[
    Literal["paper", "auc", "full", "cold", "time"], typer.Option(help="Which split, and what is measured.")
]
TestOption = Annotated[str | None, typer.Option(help="Held-out favorites for the protocol full; by default drawn.")]
ValidationOption = Annotated[
    str | None, typer.Option(help="Favorites to choose settings on, beside --test; by default drawn.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]


@app.command()
def nightly(
    source: SourceOption = "demo",
    root: RootOption = "tastegraph-data",
    config: ConfigOption = None,
    set_: SetOption = None,
    run_id: Annotated[str | None, typer.Option(help="Name of the run; by default the time.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ingest, train, recommend, and publish: the whole night."""
    prepare_prefect(root)
    from flows.nightly import nightly as flow  # Prefect reads its settings when it is first imported
    from flows.settings import load

    published = flow(source, root, load(config, set_), run_id)
    if as_json:
        _print_json({key: getattr(published, key) for key in published.__dataclass_fields__})
    else:
        _print_published(published, root)
    raise typer.Exit(0 if published.is_current else NOT_CURRENT)


@app.command()
def validate(
    source: SourceOption,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """The ingest report alone, pictures included; exit 1 where the nightly run would refuse the source."""
    from flows.settings import load
    from storage.roots import Root
    from tasks.validate import validate as report_on

    settings = load(config, set_)
    report = report_on(Root(source), settings.ingest, settings.images)
    if as_json:
        _print_json(report)
        return
    _print_ingest(report)


@app.command("import")
def import_(
    name: Annotated[
        str,
        typer.Argument(help="Which layout; an unknown name is answered with those there are."),
    ],
    path: Annotated[Path, typer.Argument(help="The unpacked download: its folder, or for dvbpr its file.")],
    source: Annotated[Path, typer.Option("--out", help="The source directory to write, a local folder.")],
    threshold: Annotated[float | None, typer.Option(help="Ratings from here on are favorites; by default 4.")] = None,
    images: Annotated[
        Path | None, typer.Option("--images", "--posters", help="A folder of pictures, each named by its image's id.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier import wrote.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a public data set, as it is downloaded, as a source directory; says what it left out, and why."""
    from storage.sources.importers import IMPORTERS, ImportConfig, import_source

    if name not in IMPORTERS:
        raise typer.BadParameter(f"there is no importer {name!r}, but there are {', '.join(sorted(IMPORTERS))}")
    _clean_up_when_stopped()
    report = import_source(name, path, source, ImportConfig(threshold=threshold, images=images), overwrite)
    if as_json:
        _print_json(report)
        return
    _print_import(report)
    out.print(f"  source      {source}/", soft_wrap=True, highlight=False)
    out.print(f"  check it    tastegraph validate --source {source}", soft_wrap=True, highlight=False)


@app.command()
def evaluate(
    root: RootOption,
    test: Annotated[Path, typer.Option(help="Held-out favorites: columns user_id, image_id; Parquet, CSV or JSONL.")],
    as_json: JsonOption = False,
) -> None:
    """Score the current export's model on held-out favorites, ranking all images but the known favorites."""
    from storage.roots import Root
    from tasks.evaluate import score_file

    figures = score_file(test, Root(root))
    if as_json:
        _print_json(figures)
        return
    title = f"{figures['users']} users of {test.name}, run {figures['run_id']}"
    out.print(title, soft_wrap=True, highlight=False)
    table = Table("metric", "value", "95 % interval")
    for row in figures["metrics"]:
        table.add_row(f"{row['metric']}@{row['k']}", f"{row['value']:.4f}", f"{row['low']:.4f} to {row['high']:.4f}")
    out.print(table)
    for line in figures["left_out"]:
        out.print(line)


@app.command()
def compare(
    source: SourceOption = "demo",
    root: RootOption = "tastegraph-data",
    systems: Annotated[str, typer.Option(help="Names with commas between them, or all.")] = "all",
    protocol: ProtocolOption = "full",
    test: TestOption = None,
    validation: ValidationOption = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each system is fitted with.")] = 1,
    budget: Annotated[int, typer.Option(min=0, help="Settings tried of each system; 0: the defaults.")] = 0,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit and measure systems on one split; exit 1 where one of them fails."""
    prepare_prefect(root)
    from flows.compare import compare as flow
    from flows.settings import load
    from storage.roots import Root

    compared = flow(source, root, systems, protocol, test, validation, seeds, budget, load(config, set_))
    _print_comparison(compared, Root(root), as_json)
    raise typer.Exit(FAILED if compared.failed else 0)


@app.command()
def tune(
    source: SourceOption,
    root: RootOption,
    system: Annotated[str, typer.Option(help="The system's name.")],
    budget: Annotated[int, typer.Option(min=1, help="How many settings are tried, the defaults first.")] = 20,
    protocol: ProtocolOption = "full",
    test: TestOption = None,
    validation: ValidationOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Choose a system's settings on validation, never on the test."""
    prepare_prefect(root)
    from flows.settings import load
    from flows.tune import tune as flow
    from storage.roots import Root

    tuned = flow(source, root, system, protocol, test, validation, budget, load(config, set_))
    _print_tuned(tuned, Root(root), as_json)
    raise typer.Exit(FAILED if tuned.lacking else 0)


@crawl_app.command("flickr")
def crawl_flickr(
    out_: Annotated[Path, typer.Option("--out", help="The source directory; what a crawl remembers lies below it.")],
    user: Annotated[list[str] | None, typer.Option(help="A seed, by id or user name; may be repeated.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group of seeds, by id; may be repeated.")] = None,
    seed_file: Annotated[Path | None, typer.Option(help="Seeds, one a line; a group as group:ID.")] = None,
    max_users: Annotated[int, typer.Option(min=1, help="Users read in all.")] = 1000,
    depth: Annotated[int, typer.Option(min=0, help="Steps over contacts and groups; 0: the seeds alone.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a crawl that did not end.")] = False,
    config: Annotated[str | None, typer.Option(help="A YAML file of the crawl's settings.")] = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Crawl Flickr from seeds; the key comes from FLICKR_API_KEY or the Prefect Secret flickr-api-key."""
    prepare_prefect(str(out_ / ".crawl"))
    from flows.crawl import crawl as flow
    from flows.settings import load_as
    from storage.sources.flickr.crawl import FlickrConfig

    settings = load_as(FlickrConfig, config, set_)
    crawled = flow(str(out_), user, group, str(seed_file) if seed_file else None, max_users, depth, resume, settings)
    if as_json:
        _print_json({key: getattr(crawled, key) for key in crawled.__dataclass_fields__})
    else:
        _print_crawled(crawled)


@app.command()
def recommend(
    root: RootOption,
    user: Annotated[str, typer.Option(help="The user's id.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """What a user gets, from the current export."""
    _print_list(root, "recommendations", "user_id", user, "image_id", k, as_json)


@app.command()
def similar(
    root: RootOption,
    image: Annotated[str, typer.Option(help="The image's id.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Which images are like an image, from the current export."""
    _print_list(root, "similar_images", "image_id", image, "similar_image_id", k, as_json)


@app.command()
def show(root: RootOption, as_json: JsonOption = False) -> None:
    """The current and earlier runs: when, from what, metrics, gate, sizes."""
    from storage import snapshots
    from storage.roots import Root
    from tasks.gate import GATED
    from tasks.scoring import system_of

    place = Root(root)
    runs, current = snapshots.runs(place), snapshots.current(place)
    if as_json:
        _print_json({"current": current.run_id if current else None, "runs": runs})
        return
    if not runs:
        raise ValueError(f"{place.address}: nothing is published here; run `tastegraph nightly --root {root}` first")
    for run in runs:
        is_current = current is not None and run["run_id"] == current.run_id
        failed = [item["name"] for item in run["gate"] if not item["passed"] and not item["is_warning"]]
        size = sum(file["bytes"] for file in run["files"]) / 2**20
        rows = ", ".join(f"{count:,} {name}" for name, count in run["rows"].items())
        figures = ", ".join(_figure(run, protocol, metric) for protocol, metric in GATED)
        out.print(
            f"[bold]{run['run_id']}[/bold]{' (current)' if is_current else ''}  {run['generated_at']}", highlight=False
        )
        out.print(f"  source   {run['source']}", soft_wrap=True, highlight=False)
        out.print(f"  system   {system_of(run)}", soft_wrap=True, highlight=False)
        out.print(f"  metrics  {figures}", soft_wrap=True, highlight=False)
        out.print(
            f"  gate     {'passed' if not failed else 'failed: ' + '; '.join(failed)}", soft_wrap=True, highlight=False
        )
        out.print(f"  rows     {rows} ({size:.1f} MiB)", soft_wrap=True, highlight=False)


@app.command()
def forget(
    root: RootOption,
    user: Annotated[list[str] | None, typer.Option(help="A user's id; may be repeated.")] = None,
    image: Annotated[list[str] | None, typer.Option(help="An image's id; may be repeated.")] = None,
    source: Annotated[str | None, typer.Option(help="A source: all in its table of tombstones, known or not.")] = None,
    even_if_unknown: Annotated[
        bool, typer.Option("--even-if-unknown", help="Also ids that nothing here names yet.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Forget users and images for good: tombstones, the current export without them, no file left that names them."""
    if not user and not image and not source:
        raise typer.BadParameter("name at least one --user, --image or --source")
    from storage.roots import Root
    from storage.sources import directory
    from tasks.forget import forget as forget_in

    named = {"user": frozenset(user or ()), "image": frozenset(image or ())}
    told = directory.tombstones_of(Root(source)) if source else {}
    done = forget_in(named, Root(root), told=told, even_if_unknown=even_if_unknown)
    if as_json:
        _print_json({key: getattr(done, key) for key in done.__dataclass_fields__})
        return
    out.print(f"Forgot {done.users} users and {done.images} images.", highlight=False)
    if done.run_id:
        out.print(f"Run {done.run_id} is current{', published without them' if done.is_new else ''}.", highlight=False)
    out.print(f"Deleted {done.files:,} files, {done.bytes:,} bytes; the next night makes anew what it needs.")


@app.command()
def gc(
    root: RootOption,
    keep: Annotated[int, typer.Option(min=1, help="How many published runs stay, beside the current one.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete old runs, and all that neither a published run, nor a run that has not ended, refers to."""
    from storage.roots import Root
    from tasks.retention import collect

    done = collect(Root(root), keep, dry_run=dry_run)
    if as_json:
        paths = [entry.path for entry in done.deleted]
        counts = {"files": len(paths), "bytes": done.bytes, "dry_run": dry_run}
        _print_json({**counts, "kept_runs": done.kept_runs, "waiting_for": done.waiting_for, "deleted": paths})
        return
    for folder, (files, size) in done.by_folder.items():
        out.print(f"  {files:>8,} files  {size:>16,} bytes  {folder}/", highlight=False)
    said = "Would delete" if dry_run else "Deleted"
    out.print(f"{said} {len(done.deleted):,} files, {done.bytes:,} bytes; kept {len(done.kept_runs)} published runs.")
    for holder in done.waiting_for:
        out.print(f"Only old runs were looked at, as {holder} is at work; run it again later.", soft_wrap=True)


def main() -> None:
    """Run the command line; an error that a person can mend is one line and no traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("tastegraph").setLevel(logging.INFO)
    from storage.leases import BusyError
    from storage.roots import ConflictError, StoreError

    try:
        app()
    except (ValueError, OSError, BusyError, ConflictError, StoreError) as error:
        if _wants_traceback():
            raise
        typer.echo(f"tastegraph: {error}", err=True)
        sys.exit(USAGE if type(error).__name__ == "SettingsError" else FAILED)


def prepare_prefect(root: str) -> None:
    """Prefect's settings and signals for a run from the command line; what the user set stays."""
    from storage.roots import Root, scratch_folder

    home = scratch_folder() if Root(root).is_remote else Path(Root(root).address)
    for name, value in {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # a cold home migrates its database first
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait slow a shared machine down severalfold
        # Prefect shows a failure as two tracebacks of fifty lines; `main` says in one line what is wrong.
        "PREFECT_LOGGING_LEVEL": "WARNING" if _wants_traceback() else "CRITICAL",
    }.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)  # Prefect's server makes no parents
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(number: int, _frame: Any) -> NoReturn:
    """End a run that is asked to stop as one that ends by itself, so that Prefect's server ends with it."""
    typer.echo(
        "tastegraph: stopped; start it again the same way (a crawl with --resume), and it goes on from here", err=True
    )
    sys.exit(128 + number)


def _clean_up_when_stopped() -> None:
    """Let a command that is asked to stop remove what it has begun to write."""

    def stop(number: int, _frame: Any) -> NoReturn:
        typer.echo("tastegraph: stopped; nothing was written", err=True)
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _wants_traceback() -> bool:
    return bool(os.environ.get("TASTEGRAPH_TRACEBACK"))


def _print_published(published: Any, root: str) -> None:
    if not published.is_new:
        out.print(f"\nNothing to do: run [bold]{published.run_id}[/bold] holds these very tables.")
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


def _print_crawled(crawled: Any) -> None:
    out.print(f"\n{crawled.requests:,} requests, {crawled.pictures_asked:,} pictures asked for", highlight=False)
    for table, rows in crawled.rows.items():
        out.print(f"  {rows:>10,} rows  {crawled.out}/{table}.parquet", soft_wrap=True, highlight=False)
    for outcome, count in crawled.pictures.items():
        out.print(f"  {count:>10,} pictures {outcome}", soft_wrap=True, highlight=False)
    for what, count in crawled.unread.items():
        out.print(f"  {count:>10,} users: {what}", soft_wrap=True, highlight=False)


def _print_comparison(compared: Any, root: Any, as_json: bool) -> None:
    from storage import parquet
    from tasks.comparison_page import board

    results, comparisons = (
        parquet.read(ref, root).to_pylist() for ref in (compared.standings.results, compared.standings.comparisons)
    )
    if as_json:
        entries = {entry.system: entry for entry in compared.entries}
        _print_json(
            {
                "id": compared.id,
                "folder": compared.folder,
                "results": results,
                "comparisons": comparisons,
                "settings": {name: entry.settings for name, entry in entries.items()},
                "left_out": {name: entry.lacking for name, entry in entries.items() if entry.lacking},
                "failed": {entry.system: entry.error for entry in compared.failed},
            }
        )
        return
    leading = (compared.metric, compared.k)
    tests = {
        (row["protocol"], row["slice"], row["system"]): (f"{row['difference']:+.4f}", f"{row['p_value']:.4f}")
        for row in comparisons
        if (row["metric"], row["k"]) == leading
    }
    for part in board(results, *leading):
        out.print(f"\n{part['protocol']}, {part['slice']} images", soft_wrap=True, highlight=False)
        beside = ("recall", compared.k) if compared.metric == "ndcg" else None
        names = [f"{metric}@{k}" if k else metric for metric, k in (leading, beside or leading)]
        table = Table("system", names[0], "95 % interval", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name in (*names[1 : 1 + bool(beside)], "difference", "p", "fit s"):
            table.add_column(name)
        for row in part["rows"]:
            figure = row["figures"][leading]
            table.add_row(
                row["system"],
                f"{figure['value']:.4f}",
                f"{figure['low']:.4f}–{figure['high']:.4f}",
                *([f"{row['figures'][beside]['value']:.4f}"] if beside else []),
                *tests.get((part["protocol"], part["slice"], row["system"]), ("", "")),
                f"{row['fit_s']:.1f}",
            )
        out.print(table)
    out.print("difference and p: a paired test over users against the best other system", soft_wrap=True)
    for entry in compared.entries:
        if entry.error or entry.lacking:
            out.print(f"[red]{entry.line}[/red]" if entry.error else entry.line, soft_wrap=True, highlight=False)
    out.print(f"  report      {compared.folder}/index.html", soft_wrap=True)
    out.print(f"  figures     {compared.folder}/results.parquet", soft_wrap=True)


def _print_tuned(tuned: Any, root: Any, as_json: bool) -> None:
    from storage import parquet

    trials = parquet.read(tuned.trials, root).to_pylist() if tuned.trials else []
    if as_json:
        kept = ("system", "settings", "metric", "k", "value", "default_value", "lacking")
        _print_json({**{key: getattr(tuned, key) for key in kept}, "trials": trials})
        return
    if tuned.lacking:
        out.print(f"{tuned.system} needs {', '.join(tuned.lacking)}, which the source does not tell")
        return
    metric = f"{tuned.metric}@{tuned.k}" if tuned.k else tuned.metric
    table = Table("trial", f"{metric} on validation", "fit s", "settings")
    for row in sorted(trials, key=lambda row: (-row["value"], row["trial"])):
        table.add_row(str(row["trial"]), f"{row['value']:.4f}", f"{row['fit_s']:.1f}", row["settings"])
    out.print(table)


def _print_ingest(report: dict[str, Any]) -> None:
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


def _print_import(report: dict[str, Any]) -> None:
    """What was read, kept and left out of a download, for a person."""
    table = Table("table", "read", "kept", "left out")
    for name, account in report["tables"].items():
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in account["left_out"].items()) or "0"
        named = f" + {account['named_elsewhere']:,} named elsewhere" if account["named_elsewhere"] else ""
        table.add_row(name, f"{account['read']:,}{named}", f"{account['kept']:,}", reasons)
    out.print(table)
    for what, count in report["notes"].items():
        out.print(f"  {count:,} {what}", soft_wrap=True, highlight=False)


def _print_list(root: str, name: str, key: str, wanted: str, found: str, k: int, as_json: bool) -> None:
    import polars as pl

    from storage import snapshots
    from storage.roots import Root

    place = Root(root)
    pointer = snapshots.current(place)
    if pointer is None:
        raise ValueError(f"{place.address}: nothing is published here; run `tastegraph nightly --root {root}` first")
    if not pointer.rows[name]:
        raise ValueError(f"run {pointer.run_id} exports no {name}: its system gives none")
    rows = (
        pl.scan_parquet(snapshots.dataset(place, pointer, name))
        .filter((pl.col(key) == wanted) & (pl.col("rank") <= k))
        .sort("rank")
        .collect()
    )
    if rows.is_empty():
        raise ValueError(f"{key} {wanted!r} has no row in {name} of run {pointer.run_id}")
    if as_json:
        _print_json(rows.to_dicts())
        return
    out.print(f"{name} of {wanted}, run {pointer.run_id}", soft_wrap=True, highlight=False)  # a title is cut into lines
    table = Table("rank", found, "score")
    for row in rows.to_dicts():
        table.add_row(str(row["rank"]), row[found], f"{row['score']:.4f}")
    out.print(table)


def _figure(run: dict[str, Any], protocol: str, metric: str) -> str:
    """The exported system's figure over all images, at the longest list measured."""
    from tasks.scoring import system_of

    rows = [
        row
        for row in run["metrics"]
        if (row["protocol"], row["slice"], row["metric"], row["system"]) == (protocol, "all", metric, system_of(run))
    ]
    if not rows:
        return f"{protocol} {metric} not measured"
    longest = max(rows, key=lambda row: row["k"])
    return f"{protocol} {metric}@{longest['k']} {longest['value']:.3f} [{longest['low']:.3f}, {longest['high']:.3f}]"


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))
