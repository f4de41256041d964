"""Settings of the maps that `sidl` and `social_lmnn` learn."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MapConfig:
    """Settings of the learned map."""

    dimensions: int = 64  # of the mapped vectors
    num_targets: int = 3  # images pulled towards each anchor (k of Weinberger and Saul)
    candidates: int = 32  # sampled for each anchor, the best of which are targets
    pull: float = 0.5  # weight of targets; the rest is impostors' (1 - mu in the paper)
    epochs: int = 15  # passes over the anchors
    batch_images: int = 256  # anchors of a step
    learning_rate: float = 0.003  # of Adam, decays linearly to 0
