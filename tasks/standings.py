"""The systems of a comparison side by side: all figures in one table, and each system against the best other one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from models import metrics
from storage import parquet, tables
from storage.refs import Ref
from storage.roots import Root
from tasks.caching import stage
from tasks.compare import Scored
from tasks.draw import Round

FIGURE = ["protocol", "slice", "metric", "k"]


@dataclass(frozen=True)
class Standings:
    """RESULTS and COMPARISONS of all systems."""

    results: Ref
    comparisons: Ref


@stage
def gather(scored: list[Scored], round_: Round, root: Root) -> Standings:
    """All figures, and paired tests over users on the figures that count most: each user's mean over the seeds."""
    measured = [item for item in scored if item.figures and item.per_user]
    if not measured:
        raise ValueError("no system could be measured: each failed or lacks a signal, as the lines above say")
    results = [parquet.scan(item.figures, root) for item in measured if item.figures]
    per_user = pl.concat(
        [
            parquet.scan(item.per_user, root)
            .filter(pl.col("metric").is_in(_counting(round_)) & (pl.col("k") == round_.k))
            .with_columns(system=pl.lit(item.system))
            for item in measured
            if item.per_user
        ]
    )
    means = per_user.group_by([*FIGURE, "system", "user_id"]).agg(pl.col("value").mean()).sort("user_id", "system")
    rows = [
        {**dict(zip(FIGURE, place, strict=True)), **row}
        for place, figure in means.collect().group_by(FIGURE, maintain_order=True)
        for row in _against_the_best(figure)
    ]
    compared = pl.DataFrame(rows, schema=pl.Schema(tables.COMPARISONS.schema))
    return Standings(
        parquet.write(tables.RESULTS, pl.concat(results).collect(), root),
        parquet.write(tables.COMPARISONS, compared, root),
    )


def _counting(round_: Round) -> list[str]:
    return ["ndcg", "recall"] if round_.metric == "ndcg" else [round_.metric]


def _against_the_best(figure: pl.DataFrame) -> list[dict[str, Any]]:
    """Every system against the best of the others."""
    wide = figure.pivot(on="system", index="user_id", values="value").drop("user_id")
    leaders = sorted(sorted(wide.columns), key=lambda name: -float(wide[name].to_numpy().mean()))
    if len(leaders) < 2:
        return []
    values_US = wide.select(leaders).to_numpy()
    other = np.where(np.arange(len(leaders)) == 0, 1, 0)  # the leader's best other is the second
    intervals = metrics.bootstrap_columns(values_US)
    tests = metrics.paired_tests(values_US - values_US[:, other])
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
        }
        for place, test in enumerate(tests)
    ]
