"""Which settings of a system do best on validation."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

import optuna
import polars as pl
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from models.settings.names import flatten
from models.systems import SYSTEMS
from storage import parquet
from storage.refs import Ref
from storage.roots import Root, scratch_folder
from storage.tables.evaluation import TRIALS
from tasks.data.community import CommunityTables, read_community
from tasks.data.tag_leak import TagAccount
from tasks.evaluation.measure import headline, measure, read_heldout
from tasks.evaluation.records import EvaluationSplit
from tasks.runtime.caching import stage
from tasks.runtime.code_version import code_version
from tasks.runtime.digests import digest
from tasks.systems.fit import fit

log = logging.getLogger("tastegraph")

Grid = dict[str, tuple[Any, ...]]
Choice = tuple[int, ...]  # for each setting of the grid, in its order, which of its values


@dataclass(frozen=True)
class Tuned:
    """The settings that did best on validation, their figure, and all trials; no trial where signals are lacking."""

    system: str
    settings: dict[str, Any]
    metric: str
    k: int
    value: float
    default_value: float
    num_trials: int
    trials: Ref | None
    lacking: list[str]
    tags: TagAccount | None = None  # what tags tell of the validation part; of the command `tune` alone


@stage
def tune_system(
    name: str,
    version: str,
    given: dict[str, Any],
    budget: int,
    seed: int,
    tables: CommunityTables,
    split: EvaluationSplit,
    root: Root,
) -> Tuned:
    """Try the defaults, then the grid: all of it where `budget` fits suffice, else what Optuna's TPE suggests.

    `given` are settings that the user set: where the grid has one, its value is tried first in the default's place; the
    others are the same in every trial.

    The study lies in an SQLite file of its own, so that a tuning that was killed resumes after its last complete trial;
    other code starts another study, as its figures may differ.
    `version` stands for the system's code in the cache key, as nothing here imports it.
    """
    indexed = read_community(tables, root)
    if lacking := SYSTEMS[name]().lacking(indexed.community):
        return Tuned(name, {}, split.metric, split.k, float("nan"), float("nan"), 0, None, lacking)
    if not split.heldout.rows:
        raise ValueError(f"protocol {split.protocol}: no favorite is left to validate on; tune with another protocol")
    heldout = read_heldout(indexed, split, root)
    grid = grid_of(name, given)
    study = _study(digest([code_version(__name__), name, version, given, budget, seed, tables, split]), root)
    num_choices = min(budget, prod(map(len, grid.values())))
    while len(tried := _tried(study)) < num_choices:
        choice = _next(study, grid, set(tried), budget, seed)
        settings = given | _settings(grid, choice)
        system, fit_s = fit(name, settings, seed, indexed)
        value = headline(measure(system, heldout)[0], split)
        study.add_trial(
            optuna.create_trial(
                params=dict(zip(grid, choice, strict=True)),
                distributions=_distributions(grid),
                value=value,
                user_attrs={"fit_s": fit_s},
            )
        )
        place = f"{name}, {len(tried) + 1} of {num_choices}"
        log.info("%-18s %s: %s %.4f with %s", "tune-system", place, split.metric, value, settings or "nothing to set")
    rows = [
        {
            "trial": number,
            "settings": given | _settings(grid, choice),
            "value": trial.value,
            "fit_s": trial.user_attrs["fit_s"],
        }
        for number, (choice, trial) in enumerate(tried.items())
    ]
    best = max(rows, key=lambda row: row["value"])
    table = pl.DataFrame([{**row, "settings": json.dumps(row["settings"])} for row in rows])
    return Tuned(
        name,
        best["settings"],
        split.metric,
        split.k,
        best["value"],
        rows[0]["value"],
        len(rows),
        parquet.write(TRIALS, table, root),
        [],
    )


def grid_of(name: str, given: Mapping[str, Any] = MappingProxyType({})) -> Grid:
    """The values to try of each setting, the given one or the default first."""
    system = SYSTEMS[name]
    defaults = {**flatten(system.Config()), **given}
    return {
        key: (defaults[key], *(value for value in values if value != defaults[key]))
        for key, values in system.grid.items()
    }


def _settings(grid: Grid, choice: Choice) -> dict[str, Any]:
    return {key: values[place] for (key, values), place in zip(grid.items(), choice, strict=True)}


def _study(name: str, root: Root) -> optuna.Study:
    """The study of that name: a new one, or the one that was begun."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = (scratch_folder() if root.is_remote else Path(root.address)) / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        storage=f"sqlite:///{folder / name}.db", study_name=name, direction="maximize", load_if_exists=True
    )


def _tried(study: optuna.Study) -> dict[Choice, FrozenTrial]:
    """The complete trials, in order."""
    return {tuple(trial.params.values()): trial for trial in study.get_trials(states=(TrialState.COMPLETE,))}


def _next(study: optuna.Study, grid: Grid, tried: set[Choice], budget: int, seed: int) -> Choice:
    """The next choice: it depends only on the trials so far, so that a kill changes nothing."""
    untried = [choice for choice in product(*(range(len(values)) for values in grid.values())) if choice not in tried]
    if not tried or len(tried) + len(untried) <= budget:
        return untried[0]  # the defaults come first
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(tried), constant_liar=False)
    trial = study.ask(_distributions(grid))
    study.tell(trial, state=TrialState.FAIL)  # a suggestion is no trial; a trial is added once it is complete
    suggested = tuple(trial.params.values())
    return suggested if suggested in untried else Random(seed + len(tried)).choice(untried)


def _distributions(grid: Grid) -> dict[str, BaseDistribution]:
    """Places in the lists of values, as Optuna stores only numbers and strings."""
    return {key: CategoricalDistribution(tuple(range(len(values)))) for key, values in grid.items()}
