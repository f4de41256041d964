"""The result of a comparison: an entry per system, and the folder with its tables and report."""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from storage import parquet
from storage.refs import Ref, copy
from storage.roots import Root
from tasks.data.tag_leak import TagAccount
from tasks.evaluation.leaderboard import Leaderboard
from tasks.evaluation.records import ComparisonSplit, Scored
from tasks.evaluation.tune import Tuned
from tasks.pages import comparison
from tasks.runtime.digests import canonical, digest


@dataclass(frozen=True)
class Entry:
    """One system of a comparison: its figures for each seed, the signals that it lacks, or the error it ended with."""

    system: str
    given: dict[str, Any] = field(default_factory=dict)  # the system's settings of the request that are no defaults
    tuned: Tuned | None = None
    scored: list[Scored] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Those that did best on validation; where nothing was tuned the given ones, else the defaults."""
        return self.tuned.settings if self.tuned else self.given

    def tuned_by(self, result: Tuned | Exception) -> "Entry":
        """The entry with the outcome of its tuning."""
        if isinstance(result, Exception):
            return replace(self, error=_message(result))
        return replace(self, tuned=result, lacking=result.lacking)

    def scored_by(self, result: Scored | Exception) -> "Entry":
        """The entry with the outcome of one more seed; the first that fails decides."""
        if self.error or self.lacking:
            return self
        if isinstance(result, Exception):
            return replace(self, error=_message(result), scored=[])
        if result.lacking:
            return replace(self, lacking=result.lacking)
        return replace(self, scored=[*self.scored, result])

    @property
    def line(self) -> str:
        """The entry in one line."""
        if self.error:
            return f"{self.system}: failed: {self.error}"
        if self.lacking:
            return f"{self.system}: left out: it needs {', '.join(self.lacking)}, which the source does not have"
        figures = [scored.headline for scored in self.scored]
        return f"{self.system}: {np.mean(figures):.4f}"


@dataclass(frozen=True)
class Compared:
    """A finished comparison and where it lies."""

    id: str
    folder: str
    protocol: str
    features: str | None  # where those of images come from; None where no system used any
    metric: str
    k: int
    leaderboard: Leaderboard
    entries: list[Entry]
    tags: TagAccount | None  # None: images have none

    @property
    def failed(self) -> list[Entry]:
        """The systems that raised an error."""
        return [entry for entry in self.entries if entry.error]


def describe(
    *,
    source: str,
    content: str,
    protocol: str,
    files: tuple[str | None, str | None],
    seeds: int,
    budget: int,
    features: str | None,
    config: Any,
    changed: dict[str, Any],
) -> dict[str, Any]:
    """The parameters of a comparison, for its report.

    Args:
        files: those of --test and --validation.
        features: where the features of images come from; None where no system used any.
        config: all settings.
        changed: those that are no defaults, by name.
    """
    test, validation = files
    parameters = {"source": source, "content": content, "protocol": protocol, "test": test, "validation": validation}
    counts = {"seeds": seeds, "budget": budget, "features": features}
    settings = {"changed": canonical(changed, "changed"), "config": canonical(config, "config")}
    return {**parameters, **counts, **settings}


def _validation(tuned: Tuned | None) -> dict[str, float] | None:
    """The figures of a tuning; None where nothing was tuned, or nothing measured as the source lacks what it needs."""
    return {"value": tuned.value, "default_value": tuned.default_value} if tuned and not tuned.lacking else None


def publish_comparison(
    leaderboard: Leaderboard,
    entries: list[Entry],
    split: ComparisonSplit,
    tags: TagAccount | None,
    parameters: dict[str, Any],
    root: Root,
) -> Compared:
    """Write `comparisons/<id>/`: the tables, the page, and comparison.json with parameters, settings and machine.

    The id is a digest of the content: the same comparison again writes the same folder.
    """
    content = {
        **parameters,
        "systems": [
            {
                "system": entry.system,
                "settings": entry.settings,
                "validation": _validation(entry.tuned),
                "trials": entry.tuned.num_trials if entry.tuned else 0,
                "lacking": entry.lacking,
                "error": entry.error,
            }
            for entry in entries
        ],
        "split": canonical(split, "split"),
        "tags": asdict(tags) if tags else None,
        "files": {
            "results": leaderboard.results.sha256,
            "comparisons": leaderboard.comparisons.sha256,
            **{f"users/{name}": figures.sha256 for name, figures in leaderboard.users.items()},
        },
    }
    id_ = f"{parameters['protocol']}-{digest(content)[:12]}"
    folder = f"comparisons/{id_}"
    final = split.final
    copy(leaderboard.comparisons, f"{folder}/comparisons.parquet", root)
    for name, figures in leaderboard.users.items():
        copy(figures, f"{folder}/users/{name}.parquet", root)
    root.write(
        f"{folder}/comparison.json", json.dumps({**content, "machine": _machine()}, indent=2, allow_nan=False).encode()
    )
    page = comparison.render(
        comparison.Comparison(
            id=id_,
            source=parameters["source"],
            metric=final.metric,
            k=final.k,
            parameters=_parameters(parameters),
            tags=tags.line if tags else None,
            systems=[(entry.system, _settings(entry), entry.line) for entry in entries],
            is_tuned=any(entry.tuned for entry in entries),
            results=_rows(leaderboard.results, root),
            comparisons=_rows(leaderboard.comparisons, root),
        )
    )
    root.write(f"{folder}/index.html", page)
    copy(leaderboard.results, f"{folder}/results.parquet", root)  # written last: where it exists, the rest does
    return Compared(
        id=id_,
        folder=root.url(folder),
        protocol=final.protocol,
        metric=final.metric,
        k=final.k,
        leaderboard=leaderboard,
        entries=entries,
        tags=tags,
        features=parameters["features"],
    )


def _parameters(parameters: dict[str, Any]) -> list[tuple[str, str]]:
    """Those that the page shows."""
    shown = [(key, str(parameters[key])) for key in ("protocol", "seeds", "budget")]
    origin = ("features of images", parameters["features"] or "used by no system")
    return [*shown, origin, ("settings", _words(parameters["changed"]) or "the defaults")]


def _machine() -> str:
    """The machine that the seconds were measured on."""
    cores = f"{os.cpu_count()} CPU cores"
    return f"{cores}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else cores


def _settings(entry: Entry) -> str:
    chosen = _words(entry.settings)
    if entry.tuned is None:
        return chosen or "the defaults"
    return f"{chosen or 'nothing to set'}; {entry.tuned.num_trials} tried"


def _words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _rows(table: Ref, root: Root) -> list[dict[str, Any]]:
    return list(parquet.read(table, root).to_pylist())


def _message(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
