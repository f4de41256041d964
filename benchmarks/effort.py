"""What effort buys: `tastegraph` at each level beside implicit's ALS on the same favorites, on validation.

    TASTEGRAPH_DATA=... python benchmarks/effort.py movielens-posters time --root DIR

A line for each: NDCG and recall of the protocol's lists on favorites that are held out for validation, seconds to fit
by the clock and of CPU, and the seconds as a multiple of ALS (128 factors), which is fitted before and after; its
median counts. `--efforts` names some of the levels. The last lines are the same as JSON, one object each.
"""

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from comparisons.heldout import add_arguments, heldout_of
from reach import Claim, Measured, report

from models.settings.names import configure
from models.systems import SYSTEMS
from models.systems.tastegraph import EFFORTS

if TYPE_CHECKING:
    from tasks.evaluation.measure import HeldOut

REACH = {"low": 5.0, "normal": 30.0}  # times the seconds of ALS


def main() -> None:
    """Fit ALS, every level, and ALS again."""
    parser = argparse.ArgumentParser(description="tastegraph's levels of effort beside ALS, on validation.")
    add_arguments(parser)
    parser.add_argument("--efforts", nargs="+", choices=list(EFFORTS), default=list(EFFORTS), help="default all")
    options = parser.parse_args()
    heldout = heldout_of(options)
    runs = [("als", _fitted("als", {}, heldout))]
    runs += [(effort, _fitted("tastegraph", {"effort": effort}, heldout)) for effort in options.efforts]
    runs += [("als", _fitted("als", {}, heldout)) for _ in range(2)]
    of_als = [figures for name, figures in runs if name == "als"]
    reference, cpu_reference = (float(np.median([run[unit] for run in of_als])) for unit in ("seconds", "cpu_seconds"))
    split = heldout.split
    print(f"{options.set}, {options.protocol}, {len(heldout.tested_N):,} users, {split.metric}@{split.k}")
    print(f"{'':8} {'ndcg':>7} {'recall':>7} {'seconds':>8} {'CPU s':>8} {'times ALS':>10}")
    for name, figures in runs[: 1 + len(options.efforts)]:
        ratio = figures["seconds"] / reference
        print(
            f"{name:8} {figures['ndcg']:7.4f} {figures['recall']:7.4f} {figures['seconds']:8.1f} "
            f"{figures['cpu_seconds']:8.1f} {ratio:10.1f}"
        )
        claim = Claim(f"ensemble fit, {name}, {options.set}", "implicit's ALS, 128 factors", REACH.get(name))
        ours = Measured([figures["seconds"]], [figures["cpu_seconds"]])
        report(claim, ours, Measured([reference], [cpu_reference]), ndcg=figures["ndcg"], recall=figures["recall"])


def _fitted(name: str, settings: dict[str, Any], heldout: "HeldOut") -> dict[str, float]:
    """The seconds to fit a system, and its figures."""
    from tasks.evaluation.measure import measure

    system = SYSTEMS[name](configure(SYSTEMS[name].Config, settings))
    start, cpu = time.perf_counter(), time.process_time()
    system.fit(heldout.indexed.community)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    figures, _ = measure(system, heldout)
    of_all = {
        figure.metric: float(np.nanmean(figure.values_N))
        for figure in figures
        if (figure.protocol, figure.slice, figure.k) == (heldout.split.protocol, "all", heldout.split.k)
    }
    return {"ndcg": of_all["ndcg"], "recall": of_all["recall"], "seconds": seconds, "cpu_seconds": cpu_seconds}


if __name__ == "__main__":
    main()
