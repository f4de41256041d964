"""Records of a comparison: its splits, and one system's figures."""

from dataclasses import dataclass
from typing import Any

from models.evaluation.protocols import ProtocolConfig
from models.evaluation.splits import Protocol
from storage.refs import Ref


@dataclass(frozen=True)
class EvaluationSplit:
    """Favorites to learn from, favorites held out from them, and how one is measured by the other."""

    protocol: Protocol
    training: Ref
    heldout: Ref
    candidates: Ref | None  # the images that are ranked; None: all
    cold_below: int  # an image with fewer training favorites is cold
    thresholds: ProtocolConfig | None  # of the paper's protocol, as given or lowered
    metric: str  # what settings are chosen by, and systems compared by first
    k: int  # the length of the list for it; 0: all images


@dataclass(frozen=True)
class ComparisonSplit:
    """Settings are chosen on one round, and what is reported is the other, which learns from validation too."""

    tuning: EvaluationSplit
    final: EvaluationSplit


@dataclass(frozen=True)
class Scored:
    """A system's figures with one seed; or the signals that it needs and the community lacks."""

    system: str
    seed: int
    settings: dict[str, Any]  # those that are not the defaults' by name
    lacking: list[str]
    figures: Ref | None  # rows of RESULTS
    per_user: Ref | None  # USER_METRICS
    headline: float
