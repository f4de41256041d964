"""Records of a comparison: its splits, and one system's figures."""

from dataclasses import dataclass
from typing import Any

from models.evaluation.splits import Protocol
from models.settings.protocols import ProtocolConfig
from models.settings.splits import TimeOf
from storage.refs import Ref


@dataclass(frozen=True)
class EvaluationSplit:
    """Favorites to learn from, favorites held out from them, and how a system is measured on these."""

    protocol: Protocol
    training: Ref
    heldout: Ref
    candidates: Ref | None  # the images that are ranked; None: all
    cold_below: int  # an image with fewer training favorites is cold
    thresholds: ProtocolConfig | None  # of the paper's protocol, as given or lowered
    metric: str  # what settings are chosen by, and systems compared by first
    k: int  # the length of the list for it; 0: all images
    time_of: TimeOf | None  # of a split by time, by whose

    @property
    def compared_metrics(self) -> tuple[str, ...]:
        """The metrics with paired tests between systems; the deciding one first."""
        return ("ndcg", "recall") if self.metric == "ndcg" else (self.metric,)


@dataclass(frozen=True)
class ComparisonSplit:
    """Two splits: settings are chosen on the first; the reported figures are of the second, whose training has both."""

    tuning: EvaluationSplit
    final: EvaluationSplit


@dataclass(frozen=True)
class Scored:
    """A system's figures with one seed; or the signals that it needs and the community lacks."""

    system: str
    seed: int
    settings: dict[str, Any]  # those that differ from the defaults
    lacking: list[str]
    figures: Ref | None  # RESULTS
    per_user: Ref | None  # USER_METRICS
    headline: float  # the mean of the deciding metric
