"""Output of the command line: tables for a person, JSON for a program."""

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.box import SIMPLE_HEAD

from flows.terminal import say, say_table

if TYPE_CHECKING:
    from flows.plan import NightPlan
    from storage.manifests import Manifest
    from storage.roots import Root

SHOWN_NAMES = 12  # of files that are ignored


def print_published(published: Any, root: str, run: "Manifest | None" = None) -> None:
    """The outcome of a night, and where its tables lie; with its manifest, its figures and what was quarantined."""
    from storage.roots import Root

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
    if run:
        _say_headlines(run)
    for table, rows in published.rows.items():
        say(f"  {rows:>10,} rows  {published.folder}/{table}/")
    say(f"  report      {published.folder}/report/index.html")
    if published.is_current:
        say(f"  pointer     {Root(root).url('exports/current.json')}")
        say(f"  look at it  tastegraph serve --root {shlex.quote(root)}")


def print_plan(plan: "NightPlan", as_json: bool) -> None:
    """What each stage would do, and why."""
    if as_json:
        print_json({**asdict(plan), "is_all_there": plan.is_all_there})
        return
    words = {"reused": "is reused", "runs": "runs", "waits": "waits"}
    say_table(
        ("stage", "would", "why"),
        (
            (
                planned.stage,
                ", ".join(
                    f"{words[outcome]}{f' ({count:,} parts)' if count > 1 else ''}"
                    for outcome, count in planned.parts.items()
                ),
                "; ".join(planned.why),
            )
            for planned in plan.stages
        ),
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    if plan.compared_with:
        say(f"Compared with run {plan.compared_with}, which is current. A stage that waits runs if its input changes.")
    if plan.is_all_there:
        say("All results are there: the night would publish nothing new.")
    elif plan.decided_by:
        after = f": {', '.join(plan.following)}" if plan.following else ""
        say(f"What {plan.decided_by} finds decides about the stages after it{after}.")


def _say_headlines(run: "Manifest") -> None:
    """The run's headline figures beside those of popularity and of chance, and what was quarantined."""
    from models.evaluation.headlines import HEADLINES, headline_of

    systems = list(dict.fromkeys((run.system, "popularity", "random")))
    rows = []
    for protocol, metric in HEADLINES:
        found = [headline_of(run.metrics, system, protocol, metric) for system in systems]
        if found[0]:
            shown = ("–" if row is None else f"{row['value']:.3f}" for row in found)
            rows.append((f"{protocol} {metric}@{found[0]['k']}", *shown))
    if rows:
        say_table(("metric", *systems), rows, box=SIMPLE_HEAD, pad_edge=False)
    kept_out = run.quarantine.rows if run.quarantine else 0
    which = "; the report's failures and `tastegraph validate` say which, and why"
    say(f"  quarantined {kept_out:,} rows and pictures{which}" if kept_out else "  nothing was quarantined")


def print_finding(found: Any) -> None:
    """What one check of the machine found, and what to do."""
    mark, style = {"ok": ("ok", ""), "note": ("note", "yellow"), "fault": ("FAULT", "red")}[found.verdict]
    say(f"{mark:<6}{found.about:<10}{found.found}", style)
    if found.advice:
        say(f"{'':16}{found.advice}")


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


def print_validation(validation: Any) -> None:
    """The ingest report, each reason with its count, first rows and way out, and whether the night would run."""
    report, rows = validation.report, []
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
    if pictures["to_fetch"]:
        say(f"pictures: {pictures['to_fetch']:,} addresses, which a night would fetch; nothing was fetched now")
    for item in report["tables"].values():
        for note in item.get("notes", ()):
            say(f"{item['file']}: {note}")
        if item.get("unknown_columns"):
            say(f"{item['file']}: ignored columns {', '.join(item['unknown_columns'])}")
    if report.get("unknown_files"):
        say(f"ignored files: {_shortened(report['unknown_files'])}")
    for finding in validation.findings:
        say()
        say(f"{finding.table}: {finding.count:,} {finding.reason}. {finding.advice[0].upper()}{finding.advice[1:]}.")
        for row in finding.first:
            shown = [f"row {row['row']}" if row["row"] is not None else "", row["value"] or "", row["text"] or ""]
            say("  " + "  ".join(part for part in shown if part))
    say()
    say(f"The nightly run would {'not run on' if validation.refusal else 'run on'} this source.")


def _shortened(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


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
    from storage.near_ids import UnknownIdError
    from storage.roots import Root

    output = Root(root)
    pointer = snapshots.current(output)
    if pointer is None:
        raise nothing_published(root)
    if not pointer.rows[name]:
        raise ValueError(f"run {pointer.run_id} exports no {name}: its system has none")
    lists = pl.scan_parquet(snapshots.dataset(output, pointer, name), glob=False)
    rows = lists.filter((pl.col(key) == wanted) & (pl.col("rank") <= k)).sort("rank").collect()
    if rows.is_empty():
        ids = lists.select(key).unique().sort(key).collect()[key].to_list()
        raise UnknownIdError(key, wanted, f"{name} of run {pointer.run_id}", ids)
    if as_json:
        print_json(rows.to_dicts())
        return
    say(f"{name} of {wanted}, run {pointer.run_id}")  # a table's title would be cut into lines
    why = _main_reasons(output, pointer, wanted) if name == "recommendations" else {}
    shown = (
        (row["rank"], row[found], f"{row['score']:.4f}", *([why.get(row[found], "")] if why else []))
        for row in rows.iter_rows(named=True)
    )
    say_table(("rank", found, "score", *(["mostly because"] if why else [])), shown)


def _main_reasons(output: "Root", pointer: Any, user: str) -> dict[str, str]:
    """The largest share of each of the user's scores, in words, by image; {} where the run has no reasons."""
    import polars as pl

    from models.ensemble.reason_words import reason_in_words
    from storage import snapshots

    if not pointer.rows.get("reasons"):
        return {}
    rows = pl.scan_parquet(snapshots.dataset(output, pointer, "reasons"), glob=False)
    largest = rows.filter(pl.col("user_id") == user).sort("share", descending=True).unique("image_id", keep="first")
    return {
        row["image_id"]: reason_in_words(row["signal"], row["because"])
        for row in largest.collect().iter_rows(named=True)
    }


def print_runs(root: str, output: "Root", as_json: bool) -> None:
    """The published runs, newest first."""
    from storage import history, snapshots

    runs, current = snapshots.runs(output), snapshots.current(output)
    if as_json:
        print_json({"current": current.run_id if current else None, "runs": [run.to_json() for run in runs]})
        return
    if not runs:
        raise nothing_published(root)
    withdrawn = history.withdrawn(snapshots.changes(output))
    for run in runs:
        is_current = current is not None and run.run_id == current.run_id
        _say_run(run, " (current)" if is_current else " (rolled back)" if run.run_id in withdrawn else "")


def print_run(run_id: str, output: "Root", as_json: bool) -> None:
    """One run, published or not, and what each of its stages took."""
    from storage import snapshots
    from tasks.runtime.runs import stages_of

    stages = stages_of(run_id, output)
    try:
        run = snapshots.manifest(output, run_id)
    except FileNotFoundError as error:
        if not stages:
            raise FileNotFoundError(f"{error}; `tastegraph show` lists all runs") from error
        run = None
    if as_json:
        print_json({"run": run and run.to_json(), "stages": stages})
        return
    if run:
        _say_run(run, " (current)" if snapshots.current_id(output) == run_id else "")
    else:
        say(f"{run_id}  was not published", "bold")
    if not stages:
        say("  stages   nothing is noted of them")
        return
    shown = (
        (
            row["stage"],
            *(f"{row[name]:.1f}" for name in ("started_s", "elapsed_s", "cpu_s")),
            f"{row['peak_bytes'] / 2**20:,.0f}",
            ", ".join(f"{row[name]} {name}" for name in ("ran", "reused", "failed") if row[name]),
            f"{row['rows']:,}",
            f"{row['bytes'] / 2**20:,.1f}",
        )
        for row in stages
    )
    columns = ("stage", "start s", "s", "CPU s", "peak MiB", "task runs", "rows", "MiB")
    say_table(columns, shown, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    total_s, cpu_s = (sum(row[name] for row in stages) for name in ("elapsed_s", "cpu_s"))
    say(f"  {total_s:.1f} s in stages, {cpu_s:.1f} CPU s")


def _say_run(run: "Manifest", mark: str) -> None:
    from models.evaluation.headlines import HEADLINES
    from tasks.settings.limits import RECALL

    failed = [outcome.name for outcome in run.gate if outcome.verdict == "hold"]
    size = sum(file.bytes for file in run.files) / 2**20
    rows = ", ".join(f"{count:,} {name}" for name, count in run.rows.items())
    figures = ", ".join(figure(run, protocol, metric) for protocol, metric in HEADLINES)
    say(f"{run.run_id}{mark}  {run.generated_at}", "bold")
    say(f"  source   {run.source}")
    say(f"  system   {run.system}")
    say(f"  metrics  {figures}")
    say(f"  gate     {'passed' if not failed else 'failed: ' + '; '.join(failed)}")
    for outcome in run.gate:
        if outcome.name.startswith(RECALL):
            say(f"  {outcome.name:<8} {outcome.message}")
    say(f"  rows     {rows} ({size:.1f} MiB)")


def print_history(root: str, output: "Root", as_json: bool) -> None:
    """Which run became current when, newest first."""
    from storage import snapshots

    changes = snapshots.changes(output)[::-1]
    if as_json:
        print_json([asdict(change) for change in changes])
        return
    if not changes:
        if current := snapshots.current_id(output):
            say(f"Run {current} is current; nothing is noted of how it became so.")
            return
        raise nothing_published(root)
    for change in changes:
        instead, why = change.previous and f" in place of {change.previous}", change.why and f": {change.why}"
        say(f"{change.at}  {change.action:<8}  {change.run_id}{instead or ''}, by {change.by}{why}")


def print_settings(loaded: Any, root: str | None, as_json: bool, *, changed: bool) -> None:
    """Each setting with its value and where it came from, and where the current run had another one."""
    from flows.setting_sources import masked, shown
    from models.settings.names import flatten

    run_id, of_run = _settings_of_current(root) if root else (None, {})
    rows, missing = {}, object()
    for name, value in sorted(flatten(loaded.config).items()):
        origin, before = loaded.origins[name], of_run.get(name, missing)
        differs = run_id is not None and before != (list(value) if isinstance(value, tuple) else value)
        if changed and origin == "default" and not differs:
            continue
        rows[name] = {"value": masked(value, name), "from": origin}
        if differs:
            rows[name]["current_run"] = None if before is missing else masked(before, name)
    if as_json:
        print_json({"current_run": run_id, "settings": rows})
        return
    columns, lines = ("setting", "value", "from"), []
    for name, row in rows.items():
        beside = shown(row["current_run"], name) if "current_run" in row else ""
        lines.append((name, shown(row["value"], name), row["from"], *([beside] if run_id else [])))
    say_table((*columns, f"in run {run_id}") if run_id else columns, lines)


def _settings_of_current(root: str) -> tuple[str | None, dict[str, Any]]:
    """The current run's id, and its settings as `section.key`, as far as its manifest says them."""
    from storage import snapshots
    from storage.roots import Root

    def flat(value: dict[str, Any], before: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in value.items():
            found |= flat(item, f"{before}{key}.") if isinstance(item, dict) else {f"{before}{key}": item}
        return found

    pointer = snapshots.current(Root(root))
    if pointer is None:
        raise nothing_published(root)
    return pointer.run_id, flat(snapshots.manifest(Root(root), pointer.run_id).settings)


def print_moved(moved: Any, root: str, as_json: bool) -> None:
    """What `rollback` and `publish` did."""
    if as_json:
        print_json(asdict(moved))
        return
    if not moved.is_moved:
        say(f"Nothing to do: run {moved.run_id} is current.")
        return
    instead = f", in place of {moved.previous}" if moved.previous else ""
    say(f"Run {moved.run_id} is current{instead} ({moved.seconds:.2f} s).", "bold")
    if moved.withdrawn:
        say(f"  No night makes the tables of {', '.join(moved.withdrawn)} current again, only `tastegraph publish`.")
    say(f"  pointer     {root.rstrip('/')}/exports/current.json")


def print_difference(runs: "tuple[Manifest, Manifest]", differences: Sequence[Any], as_json: bool) -> None:
    """The figures of two runs, and how their lists differ."""
    from models.evaluation.headlines import HEADLINES

    if as_json:
        print_json({"runs": [run.run_id for run in runs], "lists": {item.table: asdict(item) for item in differences}})
        return
    for run in runs:
        say(f"{run.run_id}  {', '.join(figure(run, protocol, metric) for protocol, metric in HEADLINES)}")
    for item in differences:
        share = f" ({item.changed / item.in_both:.0%})" if item.in_both else ""
        owner = item.owner.removesuffix("_id")
        say()
        say(f"{item.table}: {item.changed:,} of {item.in_both:,} lists{share} have other images", "bold")
        say(f"  {item.reordered:,} have the same images in another order")
        say(f"  {item.only_in[0]:,} are in {runs[0].run_id} alone, {item.only_in[1]:,} in {runs[1].run_id} alone")
        say(f"  new images per list: {item.entered_mean:.2f} on average, {item.entered_most} at most")
        say(f"  new images per changed list: {item.entered_median:g} in the median")
        for title, first, rows in (
            (f"{owner}s whose lists changed most", f"{owner}_id", item.most_changed),
            ("images that entered most lists", "image_id", item.entered),
            ("images that left most lists", "image_id", item.left),
        ):
            if rows:
                say(f"  {title}")
                say_table((first, "entered", "left"), ((row.id, row.entered, row.left) for row in rows))


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
