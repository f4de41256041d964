"""Settings of `lightgcn`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class LightGCNConfig:
    """Settings of `lightgcn`; the paper's (section 4.1.2), except the learning rate and the epochs."""

    dimensions: int = 64  # d
    layers: int = 3  # K: how often embeddings are propagated
    learning_rate: float = 0.005  # of Adam; the paper's 0.001 needs a thousand short epochs
    l2: float = 1e-4  # λ, on a batch's embeddings before propagation (equation 15)
    batch_triplets: int = 2048  # B, at least: each batch propagates all embeddings
    max_batches: int = 100  # of an epoch; batches are larger where there would be more
    epochs: int = 100  # passes over the favorites; the paper: up to 1000
    schedule: Literal["constant", "cosine"] = "cosine"  # of the learning rate; cosine: decays to a fiftieth

    def __post_init__(self) -> None:
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"schedule is {self.schedule!r}; choose constant or cosine")
        if min(self.dimensions, self.batch_triplets, self.max_batches, self.epochs) < 1 or self.layers < 0:
            raise ValueError(
                f"dimensions {self.dimensions}, batch_triplets {self.batch_triplets}, max_batches {self.max_batches}, "
                f"epochs {self.epochs}, layers {self.layers}: need at least 1, 1, 1, 1 and 0"
            )
