"""Settings of what BPR trains: `models/bpr.py`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BPRConfig:
    """Settings of the training. An epoch has one triplet for each favorite."""

    epochs: int = 30  # passes over the favorites
    learning_rate: float = 0.01  # of Adam
    batch_triplets: int = 1024  # triplets of a step, without pools
    pool_images: int = 0  # images of a step, with all triplets within; 0: no pools
