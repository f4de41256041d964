"""Which settings of a system do best on validation."""

import json
import logging
from dataclasses import dataclass, fields
from itertools import product
from math import prod
from pathlib import Path
from random import Random
from typing import Any

import optuna
import polars as pl
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from models.systems import SYSTEMS
from storage import parquet
from storage.refs import Ref
from storage.roots import Root, scratch_folder
from storage.tables.evaluation import TRIALS
from tasks.data.community import CommunityTables, read_community
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
    """The settings that did best on validation, and how well; what was tried. Lacking signals: nothing was."""

    system: str
    settings: dict[str, Any]
    metric: str
    k: int
    value: float
    default_value: float
    num_trials: int
    trials: Ref | None
    lacking: list[str]


@stage
def tune_system(
    name: str, version: str, budget: int, seed: int, given: CommunityTables, round_: EvaluationSplit, root: Root
) -> Tuned:
    """Try the defaults, then the grid: all of it where `budget` fits allow, else where Optuna's TPE expects most.

    The study lies in an SQLite file of its own, so that a tuning that was killed goes on after its last whole trial;
    of other code it starts anew, as figures may mean something else.
    `version` stands for the code of the system, which no import here tells.
    """
    known = read_community(given, root)
    if lacking := SYSTEMS[name]().lacking(known.community):
        return Tuned(name, {}, round_.metric, round_.k, float("nan"), float("nan"), 0, None, lacking)
    if not round_.heldout.rows:
        raise ValueError(f"protocol {round_.protocol}: no favorite is left to validate on; tune with another protocol")
    asked = read_heldout(known, round_, root)
    grid = grid_of(name)
    study = _study(digest([code_version(__name__), name, version, budget, seed, given, round_]), root)
    num_choices = min(budget, prod(map(len, grid.values())))
    while len(tried := _tried(study)) < num_choices:
        choice = _next(study, grid, set(tried), budget, seed)
        settings = _settings(grid, choice)
        system, fit_s = fit(name, settings, seed, known)
        value = headline(measure(system, asked)[0], round_)
        study.add_trial(
            optuna.create_trial(
                params=dict(zip(grid, choice, strict=True)),
                distributions=_distributions(grid),
                value=value,
                user_attrs={"fit_s": fit_s},
            )
        )
        place = f"{name}, {len(tried) + 1} of {num_choices}"
        log.info("%-18s %s: %s %.4f with %s", "tune-system", place, round_.metric, value, settings or "nothing to set")
    rows = [
        {"trial": number, "settings": _settings(grid, choice), "value": trial.value, "fit_s": trial.user_attrs["fit_s"]}
        for number, (choice, trial) in enumerate(tried.items())
    ]
    best = max(rows, key=lambda row: row["value"])
    told = pl.DataFrame([{**row, "settings": json.dumps(row["settings"])} for row in rows])
    return Tuned(
        name,
        best["settings"],
        round_.metric,
        round_.k,
        best["value"],
        rows[0]["value"],
        len(rows),
        parquet.write(TRIALS, told, root),
        [],
    )


def grid_of(name: str) -> Grid:
    """The values to try of each setting, the default first."""
    made = SYSTEMS[name]
    defaults = {field.name: getattr(made.Config(), field.name) for field in fields(made.Config)}
    return {
        key: (defaults[key], *(value for value in values if value != defaults[key]))
        for key, values in made.grid.items()
    }


def _settings(grid: Grid, choice: Choice) -> dict[str, Any]:
    return {key: values[place] for (key, values), place in zip(grid.items(), choice, strict=True)}


def _study(name: str, root: Root) -> optuna.Study:
    """The study of that name, begun or gone on with."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = (scratch_folder() if root.is_remote else Path(root.address)) / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        storage=f"sqlite:///{folder / name}.db", study_name=name, direction="maximize", load_if_exists=True
    )


def _tried(study: optuna.Study) -> dict[Choice, FrozenTrial]:
    """The trials so far, in order."""
    return {tuple(trial.params.values()): trial for trial in study.get_trials(states=(TrialState.COMPLETE,))}


def _next(study: optuna.Study, grid: Grid, tried: set[Choice], budget: int, seed: int) -> Choice:
    """What to try now: it hangs on the trials so far alone, so that a kill changes nothing."""
    untried = [choice for choice in product(*(range(len(values)) for values in grid.values())) if choice not in tried]
    if not tried or len(tried) + len(untried) <= budget:
        return untried[0]  # the defaults come first
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(tried), constant_liar=False)
    asked = study.ask(_distributions(grid))
    study.tell(asked, state=TrialState.FAIL)  # a suggestion is no trial; a trial is entered when it is whole
    suggested = tuple(asked.params.values())
    return suggested if suggested in untried else Random(seed + len(tried)).choice(untried)


def _distributions(grid: Grid) -> dict[str, BaseDistribution]:
    """The places of the values: Optuna keeps numbers and strings only."""
    return {key: CategoricalDistribution(tuple(range(len(values)))) for key, values in grid.items()}
