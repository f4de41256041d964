"""How much each part of `tastegraph` contributes: the system without it, compared on validation, never on a test.

    TASTEGRAPH_DATA=... python benchmarks/ablation.py movielens-posters time --root DIR

A line for each part left out: the protocol's leading metric, the difference to the whole with its 95 % interval, the p
value of a paired test over users, the same metric on cold images among themselves, and the seconds to fit. Parts are

    expert:NAME         an expert; those without a weight in the whole are not listed
    signal:NAME         all tags, titles, contacts, groups, times, features or owners of the set
    cold_item_scale     no learned scale of cold images' scores: 1
    cold_user_weights   no weights for cold users: those of users with favorites
    effort=NAME         less or more effort
    dimensions=N        the best inner product of so many dimensions, in place of the exact ensemble

`--parts` names some of them. Stages that `nightly` and `compare` have run below the root are not run again.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from comparisons.heldout import add_arguments, heldout_of

from models.community import Community
from models.ensemble.weights import EnsembleWeights
from models.evaluation import metrics
from models.settings.tastegraph import TasteGraphConfig
from models.systems.tastegraph import EFFORTS, TasteGraph

if TYPE_CHECKING:  # they import Prefect, which reads its settings then: `main` makes those ready first
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
    print(f"{options.set}, {options.protocol}: favorites held out for validation, seed {options.seed}")
    _ablate(heldout_of(options), options.parts, options.seed)


def _ablate(heldout: "HeldOut", parts: list[str], seed: int) -> None:
    community = heldout.indexed.community
    system, seconds, whole = _fit(community, heldout, TasteGraphConfig(), seed)
    width = max(16, *(len(f"expert:{name}") for name in system.names))
    split = heldout.split
    figure = f"{split.metric}@{split.k}" if split.k else split.metric
    users = np.count_nonzero(~np.isnan(whole.all_U))
    print(f"{users:,} users; experts {', '.join(system.names)}; cold_item_scale {system.weights[0].cold_item_scale:g}")
    print(
        f"{'without':{width}} {figure:>8} {'to the whole':>13} {'95 % interval':>18} {'p':>7} {'cold':>7} {'fit s':>6}"
    )
    print(f"{'(the whole)':{width}} {np.nanmean(whole.all_U):8.4f} {_of_cold(whole):>48} {seconds:6.0f}", flush=True)
    all_parts = dict(_parts(system, heldout, seed))
    if unknown := set(parts) - all_parts.keys():
        sys.exit(f"no part {', '.join(sorted(unknown))} in this ensemble; choose from {', '.join(all_parts)}")
    p_values: dict[str, float] = {}
    for name in parts or all_parts:
        seconds, without = all_parts[name]()
        difference, p_value = metrics.paired_test(without.all_U, whole.all_U)
        p_values[name] = p_value
        interval = f"[{difference.low:+.4f}, {difference.high:+.4f}]"
        print(
            f"{name:{width}} {np.nanmean(without.all_U):8.4f} {difference.value:+13.4f} {interval:>18} {p_value:7.4f} "
            f"{_of_cold(without):>7} {seconds:6.0f}",
            flush=True,
        )
    corrected = zip(p_values, metrics.holm(list(p_values.values())), strict=True)
    print(f"p, Holm-corrected over {len(p_values)} parts: {', '.join(f'{name} {p:.4f}' for name, p in corrected)}")


def _parts(whole: TasteGraph, heldout: "HeldOut", seed: int) -> Iterator[tuple[str, LeaveOut]]:
    """Each part that can be left out, and the function that leaves it out."""

    community = heldout.indexed.community

    def refitted(config: TasteGraphConfig = whole.config, signal: str | None = None) -> tuple[float, Measured]:
        return _fit(community.without(signal) if signal else community, heldout, config, seed)[1:]

    def weighted(weights: list[EnsembleWeights]) -> tuple[float, Measured]:
        learned = whole.weights
        whole.weights = weights
        measured = _measure(whole, heldout)
        whole.weights = learned
        return 0.0, measured

    for name in whole.names:
        yield f"expert:{name}", partial(refitted, replace(whole.config, leave_out=(name,)))
    for signal in filter(community.has, SIGNALS):
        yield f"signal:{signal}", partial(refitted, signal=signal)
    unscaled = [weights._replace(cold_item_scale=1.0) for weights in whole.weights]
    yield "cold_item_scale", partial(weighted, unscaled)
    if len(whole.weights) > 1:
        yield "cold_user_weights", partial(weighted, whole.weights[:1] * 2)
    for effort in sorted(EFFORTS.keys() - {whole.config.effort}):
        yield f"effort={effort}", partial(refitted, replace(whole.config, effort=effort))
    for size in DIMENSIONS:
        yield f"dimensions={size}", partial(refitted, replace(whole.config, dimensions=size))


def _fit(
    community: Community, heldout: "HeldOut", config: TasteGraphConfig, seed: int
) -> tuple[TasteGraph, float, Measured]:
    """The fitted system, the seconds that it took, and its metrics."""
    system, start = TasteGraph(config, seed=seed), time.perf_counter()
    system.fit(community)
    seconds = time.perf_counter() - start
    return system, seconds, _measure(system, heldout)


def _measure(system: TasteGraph, heldout: "HeldOut") -> Measured:
    from tasks.evaluation.measure import measure

    figures, _ = measure(system, heldout)
    leading = (heldout.split.protocol, heldout.split.metric, heldout.split.k)
    of_slice = {
        figure.slice: figure.values_N for figure in figures if (figure.protocol, figure.metric, figure.k) == leading
    }
    return Measured(of_slice["all"], of_slice.get("cold", np.full(len(of_slice["all"]), np.nan)))


def _of_cold(measured: Measured) -> str:
    """The mean on cold images; empty where none was held out."""
    return "" if np.isnan(measured.cold_U).all() else f"{np.nanmean(measured.cold_U):.4f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Leave out each part of tastegraph in turn, on validation.")
    add_arguments(parser)
    parser.add_argument("--parts", nargs="+", default=[], help="parts to leave out (default all)")
    parser.add_argument("--seed", type=int, default=0, help="of the system (default 0)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
