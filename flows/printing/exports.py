"""What commands print that read what is published."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD

from flows.terminal import say, say_table

if TYPE_CHECKING:
    from storage.manifests import Manifest
    from storage.roots import Root

from flows.printing.common import figure, nothing_published, print_json


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
