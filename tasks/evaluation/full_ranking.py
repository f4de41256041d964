"""The metrics of full ranking, and the lengths of its lists."""

from models.evaluation import metrics

FULL_KS = (10, 20)

FULL_METRICS = {
    "recall": metrics.recall,
    "ndcg": metrics.ndcg,
    "hit_rate": metrics.hit_rate,
    "map": metrics.average_precision,
}
