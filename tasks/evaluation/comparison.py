"""What a comparison found: one entry a system, and the folder that holds its tables and report."""

import json
import os
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from tasks.evaluation.leaderboard import Standings
from tasks.evaluation.records import ComparisonSplit, Scored
from tasks.evaluation.tune import Tuned
from tasks.pages import comparison
from tasks.runtime.digests import canonical, digest


@dataclass(frozen=True)
class Entry:
    """How a system fared: figures for each seed, or the signals that it lacks, or the error that ended it."""

    system: str
    tuned: Tuned | None = None
    scored: list[Scored] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Those that did best on validation; none where nothing was tried: then all are the defaults."""
        return self.tuned.settings if self.tuned else {}

    def tuned_by(self, result: Tuned | Exception) -> "Entry":
        """With the outcome of the tuning."""
        if isinstance(result, Exception):
            return replace(self, error=_said(result))
        return replace(self, tuned=result, lacking=result.lacking)

    def scored_by(self, result: Scored | Exception) -> "Entry":
        """With the outcome of one seed."""
        if isinstance(result, Exception):
            return replace(self, error=_said(result), scored=[])
        if result.lacking:
            return replace(self, lacking=result.lacking)
        return replace(self, scored=[*self.scored, result])

    @property
    def line(self) -> str:
        """How it fared, in one line."""
        if self.error:
            return f"{self.system}: failed: {self.error}"
        if self.lacking:
            return f"{self.system}: left out: it needs {', '.join(self.lacking)}, which the source does not tell"
        figures = [scored.headline for scored in self.scored]
        return f"{self.system}: {np.mean(figures):.4f}"


@dataclass(frozen=True)
class Compared:
    """A finished comparison and where it lies."""

    id: str
    folder: str
    protocol: str
    metric: str
    k: int
    standings: Standings
    entries: list[Entry]

    @property
    def failed(self) -> list[Entry]:
        """The systems that raised an error."""
        return [entry for entry in self.entries if entry.error]


def describe(
    source: str,
    content: str,
    protocol: str,
    files: tuple[str | None, str | None],
    seeds: int,
    budget: int,
    config: Any,
) -> dict[str, Any]:
    """What was asked for: all that the command line said; `files` are those of --test and --validation."""
    test, validation = files
    asked = {"source": source, "content": content, "protocol": protocol, "test": test, "validation": validation}
    return {**asked, "seeds": seeds, "budget": budget, "config": canonical(config, "config")}


def publish_comparison(
    standings: Standings, entries: list[Entry], drawn: ComparisonSplit, asked: dict[str, Any], root: Root
) -> Compared:
    """Write `comparisons/<id>/`: the tables, the page, and in comparison.json what was asked for and chosen, and where.

    The id is made of what was found: the same comparison again is the same folder.
    """
    found = {
        **asked,
        "systems": [
            {
                "system": entry.system,
                "settings": entry.settings,
                "validation": entry.tuned and {"value": entry.tuned.value, "default_value": entry.tuned.default_value},
                "trials": entry.tuned.num_trials if entry.tuned else 0,
                "lacking": entry.lacking,
                "error": entry.error,
            }
            for entry in entries
        ],
        "split": canonical(drawn, "drawn"),
        "files": {"results": standings.results.sha256, "comparisons": standings.comparisons.sha256},
    }
    id_ = f"{asked['protocol']}-{digest(found)[:12]}"
    folder = f"comparisons/{id_}"
    round_ = drawn.final
    root.copy(standings.comparisons.path, f"{folder}/comparisons.parquet")
    for name, figures in standings.users.items():
        root.copy(figures.path, f"{folder}/users/{name}.parquet")
    root.write(f"{folder}/comparison.json", json.dumps({**found, "machine": _machine()}, indent=2).encode())
    page = comparison.render(
        comparison.Comparison(
            id=id_,
            source=asked["source"],
            metric=round_.metric,
            k=round_.k,
            asked=[(key, str(asked[key])) for key in ("protocol", "seeds", "budget")],
            systems=[(entry.system, _settings(entry), entry.line) for entry in entries],
            results=_rows(standings.results, root),
            comparisons=_rows(standings.comparisons, root),
        )
    )
    root.write(f"{folder}/index.html", page)
    root.copy(standings.results.path, f"{folder}/results.parquet")  # last: where it is, the rest is
    return Compared(id_, root.url(folder), round_.protocol, round_.metric, round_.k, standings, entries)


def _machine() -> str:
    """What the seconds are to be read by."""
    cores = f"{os.cpu_count()} CPU cores"
    return f"{cores}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else cores


def _settings(entry: Entry) -> str:
    if entry.tuned is None:
        return "the defaults"
    chosen = ", ".join(f"{key} {value}" for key, value in entry.settings.items()) or "nothing to set"
    return f"{chosen}; {entry.tuned.num_trials} tried"


def _rows(table: Ref, root: Root) -> list[dict[str, Any]]:
    return list(parquet.read(table, root).to_pylist())


def _said(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
