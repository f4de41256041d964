"""What a night and the commands before it print."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD

from flows.terminal import say, say_table

if TYPE_CHECKING:
    from flows.plan import NightPlan
    from storage.manifests import Manifest

from flows.printing.common import nothing_published, print_json, say_headlines

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
        say_headlines(run)
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
