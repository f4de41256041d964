"""The headline metrics of a run: for the gate, the report's first screen, `show`, and the comparison of nights."""

from collections.abc import Iterable, Mapping
from typing import Any

HEADLINES = (("paper", "precision"), ("paper_matched", "precision"), ("full", "ndcg"))  # protocol and metric


def headline_of(rows: Iterable[Mapping[str, Any]], system: str, protocol: str, metric: str) -> Mapping[str, Any] | None:
    """The system's row of METRICS over all images for the longest list measured; None where it was not measured."""
    wanted = (protocol, "all", metric, system)
    found = [row for row in rows if (row["protocol"], row["slice"], row["metric"], row["system"]) == wanted]
    return max(found, key=lambda row: row["k"], default=None)
