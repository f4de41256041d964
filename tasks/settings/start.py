"""Settings of what a night keeps of the last published run."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class IncrementalConfig:
    """What a night keeps of the last published run."""

    start: Literal["full", "warm", "keep"] = (
        "full"  # full: learn from scratch; warm: train on from the last model; keep: that model, for all that is new
    )
    take_over: bool = True  # reuse the previous run's outputs for unchanged input; false: compute them, to equal bytes
    full_every: int = 7  # every so many nights one learns from scratch; 0: none for that reason
    warm_every: int = (
        3  # with keep: every so many nights since a model has learned one is warm; 0: none for that reason
    )
    tag_drift: float = 0.1  # share of tag occurrences that may move before word2vec and k-means run again
    quality_drift: float = 0.05  # how far, relatively, figures may fall below those of the last night from scratch
    warm_epochs: int = 15  # of a training that goes on from the last model; half of one from scratch

    def __post_init__(self) -> None:
        if self.start not in ("full", "warm", "keep"):
            raise ValueError(f"incremental.start is {self.start!r}; choose full, warm or keep")
