"""The systems of a comparison side by side: all figures in one table, and each system against the best other one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from models.evaluation import metrics
from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.evaluation import COMPARISONS, RESULTS, USER_METRICS
from tasks.evaluation.records import EvaluationSplit, Scored
from tasks.runtime.caching import stage

FIGURE = ["protocol", "slice", "metric", "k"]


@dataclass(frozen=True)
class Leaderboard:
    """RESULTS and COMPARISONS of all systems, and USER_METRICS of each: the figures that were compared."""

    results: Ref
    comparisons: Ref
    users: dict[str, Ref]


@stage
def gather(scored: list[Scored], split: EvaluationSplit, root: Root) -> Leaderboard:
    """All figures, and paired tests over users on the deciding metrics: of each user, the mean over the seeds."""
    measured = [item for item in scored if item.figures and item.per_user]
    if not measured:
        raise ValueError("no system could be measured: each failed or lacks a signal, as the lines above say")
    results = [parquet.scan(item.figures, root) for item in measured if item.figures]
    per_user = pl.concat(
        [
            parquet.scan(item.per_user, root)
            .filter(pl.col("metric").is_in(split.compared_metrics) & (pl.col("k") == split.k))
            .with_columns(system=pl.lit(item.system))
            for item in measured
            if item.per_user
        ]
    )
    means = per_user.group_by([*FIGURE, "system", "user_id"]).agg(pl.col("value").mean()).collect()
    return Leaderboard(
        parquet.write(RESULTS, pl.concat(results).collect(), root),
        parquet.write(COMPARISONS, against_the_best(means), root),
        {str(name): parquet.write(USER_METRICS, rows, root) for (name,), rows in means.group_by("system")},
    )


def against_the_best(means: pl.DataFrame) -> pl.DataFrame:
    """COMPARISONS: each system against the best of the others, on each figure of USER_METRICS and `system`.

    Raises ValueError where a system has no figure of a user of whom another has one: they were measured on two splits.
    """
    rows = [
        {**dict(zip(FIGURE, key, strict=True)), **row}
        for key, figure in means.sort("user_id", "system").group_by(FIGURE, maintain_order=True)
        for row in _of_figure(figure)
    ]
    return pl.DataFrame(rows, schema=pl.Schema(COMPARISONS.schema))


def _of_figure(figure: pl.DataFrame) -> list[dict[str, Any]]:
    wide = figure.pivot(on="system", index="user_id", values="value").drop("user_id")
    if lacking := [name for name in wide.columns if wide[name].null_count()]:
        raise ValueError(
            f"{', '.join(lacking)}: no figure of some of {len(wide)} users for whom other systems have one; "
            f"compare systems on one split"
        )
    leaders = sorted(sorted(wide.columns), key=lambda name: -float(wide[name].to_numpy().mean()))
    if len(leaders) < 2:
        return []
    values_US = wide.select(leaders).to_numpy()
    other = np.where(np.arange(len(leaders)) == 0, 1, 0)  # the leader's best other is the second
    intervals = metrics.bootstrap_columns(values_US)
    # Multiplied by the number of tests, the smallest p value that the resamples can give stays below .001.
    num_resamples = max(10_000, 1_000 * (len(leaders) - 1))
    tests = metrics.paired_tests(values_US - values_US[:, other], num_resamples=num_resamples)
    against_leader = metrics.holm([test.p_value for test in tests[1:]]).tolist()
    corrected = against_leader[:1] + against_leader  # the leader against the second is the second against the leader
    return [
        {
            "system": leaders[place],
            **intervals[place]._asdict(),
            "other": leaders[other[place]],
            "other_value": intervals[other[place]].value,
            "difference": test.difference.value,
            "difference_low": test.difference.low,
            "difference_high": test.difference.high,
            "p_value": test.p_value,
            "p_holm": corrected[place],
        }
        for place, test in enumerate(tests)
    ]
