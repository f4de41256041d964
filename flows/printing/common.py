"""What several commands print: JSON for programs, figures of a run, tags, and that nothing is published."""

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


def print_json(value: Any) -> None:
    """Output for a program: JSON, which has no nan and no infinity; these are null."""
    typer.echo(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say_headlines(run: "Manifest") -> None:
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


def figure(run: "Manifest", protocol: str, metric: str) -> str:
    """The exported system's figure over all images, for the longest list measured."""
    from models.evaluation.headlines import headline_of

    row = headline_of(run.metrics, run.system, protocol, metric)
    if row is None:
        return f"{protocol} {metric} not measured"
    return f"{protocol} {metric}@{row['k']} {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def print_tags(tags: Any) -> None:
    """What tags tell of held-out favorites, in yellow where figures may be too high."""
    if tags:
        say(f"tags: {tags.line}", "yellow" if tags.is_warning else "")


def tags_for_programs(tags: Any) -> dict[str, Any] | None:
    """The account of tags for a program; None where images have no tags."""
    return {**asdict(tags), "line": tags.line, "is_warning": tags.is_warning} if tags else None


def nothing_published(root: str) -> ValueError:
    """The error of a command that reads what a night published, and the command that would publish it."""
    command = f"tastegraph nightly --root {shlex.quote(root)}"
    return ValueError(f"{root}: nothing is published below this root; run `{command}` first")
