"""The metrics of full ranking, and the lengths of its lists."""

from collections.abc import Iterable

import numpy as np

from models.evaluation import metrics

FULL_KS = (10, 20)

FULL_METRICS = {
    "recall": metrics.recall,
    "ndcg": metrics.ndcg,
    "hit_rate": metrics.hit_rate,
    "map": metrics.average_precision,
}


def full_intervals(
    hits: metrics.Hits, names: Iterable[str] = tuple(FULL_METRICS)
) -> dict[tuple[str, int], metrics.Interval]:
    """Each metric at each length with its interval, by (name, k), all on the same resamples."""
    values = {(name, k): FULL_METRICS[name](hits, k) for name in names for k in FULL_KS}
    return dict(zip(values, metrics.bootstrap_columns(np.column_stack(list(values.values()))), strict=True))
