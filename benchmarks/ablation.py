"""How much each part of `tastegraph` contributes: the system without it, compared on validation, never on a test.

    TASTEGRAPH_DATA=... python benchmarks/ablation.py movielens-posters time --root DIR

A line for each part left out: the protocol's leading metric, the difference to the whole with its 95 % interval, the p
value of a paired test over users, the same metric on cold images among themselves, and the seconds to fit. Parts are

    expert:NAME         an expert; those without a weight in the whole are not listed
    signal:NAME         all tags, titles, contacts, groups, times, features or owners of the set
    cold_item_scale     no learned scale of cold images' scores: 1
    cold_user_weights   no weights for cold users: those of users with favorites
    factor_models=1     one factorisation of a kind, in place of several whose scores are added
    dimensions=N        the best inner product of so many dimensions, in place of the exact ensemble

`--parts` names some of them. Stages that `nightly` and `compare` have run below the root are not run again.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np

from flows import cli
from models.ensemble.weights import EnsembleWeights
from models.evaluation import metrics
from models.evaluation.splits import Protocol
from models.systems.tastegraph import TasteGraph, TasteGraphConfig

if TYPE_CHECKING:  # they import Prefect, which reads its settings then: `main` makes those ready first
    from tasks.data.community import IndexedCommunity
    from tasks.evaluation.measure import HeldOut

SIGNALS = ("tags", "titles", "contacts", "groups", "times", "features", "owners")
DIMENSIONS = (256, 512, 1024)


class Measured(NamedTuple):
    """The leading metric of every user, float64 (U,), on all images and on cold ones; nan: nothing held out."""

    all_U: np.ndarray
    cold_U: np.ndarray


LeaveOut = Callable[[], tuple[float, Measured]]  # returns the seconds to fit, and the metrics


def main() -> None:
    """Print a line for each part."""
    options = _options()
    if "TASTEGRAPH_DATA" not in os.environ:
        sys.exit("TASTEGRAPH_DATA does not name the folder that holds the set")
    cli.prepare_prefect(options.root)
    print(f"{options.set}, {options.protocol}: favorites held out for validation, seed {options.seed}")
    _ablate(*_round(options), options.parts, options.seed)


def _round(options: argparse.Namespace) -> "tuple[IndexedCommunity, HeldOut]":
    """The community without validation and test, and what is asked of systems fitted on it."""
    from prefect import flow

    from flows.compare import prepare
    from flows.learn import signals_of
    from flows.nightly import THREADS
    from flows.settings import NightlyConfig
    from storage.roots import Root
    from tasks.data.community import read_community
    from tasks.data.ingest import content_of, ingest
    from tasks.data.pairs import take_pairs
    from tasks.evaluation.measure import read_heldout
    from tasks.evaluation.splits import draw_split
    from tasks.runtime.records import records_below

    there, here = Root(str(Path(os.environ["TASTEGRAPH_DATA"]) / options.set)), Root(options.root)
    config = NightlyConfig()

    @flow(name="ablation", task_runner=THREADS, persist_result=False)
    def read() -> "tuple[IndexedCommunity, HeldOut]":
        with records_below(here):
            table = ingest(there, content_of(there, here), config.ingest, here).tables
            files = [name and there.url(f"{name}.parquet") for name in (options.test, options.validation)]
            pairs = [take_pairs(file, here) for file in files]
            tuning = draw_split(table, options.protocol, *pairs, config.splits, config.evaluation, here).tuning
            given = prepare(there, table, tuning.training, ["tastegraph"], config, here)
            known = read_community(given.restricted(signals_of(["tastegraph"])), here)
            return known, read_heldout(known, tuning, here)

    return read()


def _ablate(known: "IndexedCommunity", asked: "HeldOut", parts: list[str], seed: int) -> None:
    system, seconds, whole = _fit(known, asked, TasteGraphConfig(), seed)
    width = max(16, *(len(f"expert:{name}") for name in system.names))
    figure = f"{asked.round.metric}@{asked.round.k}" if asked.round.k else asked.round.metric
    users = np.count_nonzero(~np.isnan(whole.all_U))
    print(f"{users:,} users; experts {', '.join(system.names)}; cold_item_scale {system.weights[0].cold_item_scale:g}")
    print(
        f"{'without':{width}} {figure:>8} {'to the whole':>13} {'95 % interval':>18} {'p':>7} {'cold':>7} {'fit s':>6}"
    )
    print(f"{'(the whole)':{width}} {np.nanmean(whole.all_U):8.4f} {_of_cold(whole):>48} {seconds:6.0f}", flush=True)
    known_parts = dict(_parts(system, known, asked, seed))
    if unknown := set(parts) - known_parts.keys():
        sys.exit(f"no part {', '.join(sorted(unknown))} in this ensemble; there are {', '.join(known_parts)}")
    for name in parts or known_parts:
        seconds, without = known_parts[name]()
        difference, p_value = metrics.paired_test(without.all_U, whole.all_U)
        interval = f"[{difference.low:+.4f}, {difference.high:+.4f}]"
        print(
            f"{name:{width}} {np.nanmean(without.all_U):8.4f} {difference.value:+13.4f} {interval:>18} {p_value:7.4f} "
            f"{_of_cold(without):>7} {seconds:6.0f}",
            flush=True,
        )


def _parts(whole: TasteGraph, known: "IndexedCommunity", asked: "HeldOut", seed: int) -> Iterator[tuple[str, LeaveOut]]:
    """Each part that can be left out, and the function that leaves it out."""

    def refitted(config: TasteGraphConfig = whole.config, signal: str | None = None) -> tuple[float, Measured]:
        community = known.community.without(signal) if signal else known.community
        return _fit(replace(known, community=community), asked, config, seed)[1:]

    def weighted(weights: list[EnsembleWeights]) -> tuple[float, Measured]:
        learned = whole.weights
        whole.weights = weights
        measured = _measure(whole, asked)
        whole.weights = learned
        return 0.0, measured

    for name in whole.names:
        yield f"expert:{name}", partial(refitted, replace(whole.config, leave_out=(name,)))
    for signal in filter(known.community.has, SIGNALS):
        yield f"signal:{signal}", partial(refitted, signal=signal)
    unscaled = [weights._replace(cold_item_scale=1.0) for weights in whole.weights]
    yield "cold_item_scale", partial(weighted, unscaled)
    if len(whole.weights) > 1:
        yield "cold_user_weights", partial(weighted, whole.weights[:1] * 2)
    yield "factor_models=1", partial(refitted, replace(whole.config, factor_models=1))
    for size in DIMENSIONS:
        yield f"dimensions={size}", partial(refitted, replace(whole.config, dimensions=size))


def _fit(
    known: "IndexedCommunity", asked: "HeldOut", config: TasteGraphConfig, seed: int
) -> tuple[TasteGraph, float, Measured]:
    """The fitted system, the seconds that it took, and its metrics."""
    system, start = TasteGraph(config, seed=seed), time.perf_counter()
    system.fit(known.community)
    seconds = time.perf_counter() - start
    return system, seconds, _measure(system, asked)


def _measure(system: TasteGraph, asked: "HeldOut") -> Measured:
    from tasks.evaluation.measure import measure

    figures, _ = measure(system, asked)
    found = {
        figure.slice: figure.values_N
        for figure in figures
        if (figure.protocol, figure.metric, figure.k) == (asked.round.protocol, asked.round.metric, asked.round.k)
    }
    return Measured(found["all"], found.get("cold", np.full(len(found["all"]), np.nan)))


def _of_cold(measured: Measured) -> str:
    """The mean on cold images; empty where none was held out."""
    return "" if np.isnan(measured.cold_U).all() else f"{np.nanmean(measured.cold_U):.4f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Leave out each part of tastegraph in turn, on validation.")
    parser.add_argument("set", help="a folder of TASTEGRAPH_DATA")
    parser.add_argument("protocol", choices=get_args(Protocol))
    parser.add_argument("--root", required=True, help="the folder of all outputs")
    parser.add_argument("--test", help="the set's table of held-out favorites for the protocol full: official_test")
    parser.add_argument("--validation", help="the set's table to validate on: official_val")
    parser.add_argument("--parts", nargs="+", default=[], help="by default all")
    parser.add_argument("--seed", type=int, default=0, help="of the system (default 0)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
