"""Settings of what a night keeps of the last published run."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class IncrementalConfig:
    """What a night keeps of the last published run."""

    start: Literal["full", "warm", "keep"] = (
        "full"  # full: from scratch; warm: train on from the last model; keep: that model
    )
    take_over: bool = True  # reuse the last run's outputs for unchanged input
    full_every: int = 7  # every so many nights one learns from scratch; 0: none
    warm_every: int = 3  # with keep: nights after which one is warm; 0: none
    tag_drift: float = 0.1  # of tag occurrences, before word2vec and k-means run again
    quality_drift: float = 0.05  # relative fall of figures since the last night from scratch, before one
    warm_epochs: int = 15  # of a warm training

    def __post_init__(self) -> None:
        if self.start not in ("full", "warm", "keep"):
            raise ValueError(f"incremental.start is {self.start!r}; choose full, warm or keep")
