"""What the checks of a machine, a crawl, and a change of the current run print."""

from dataclasses import asdict
from typing import Any

from flows.printing.common import print_json
from flows.terminal import say


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
