"""Settings of triplets, and of the users that are trained on."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TripletConfig:
    """How many triplets, and in which order."""

    per_user: int = 20  # triplets for each user (CDL, section 6.1.1)
    pool_images: int = 256  # images per pool; 0: the paper's plain order
    fresh_negatives: float = 0.25  # share of a pool drawn from all images; the rest are favored ones
    seed: int = 0  # of the pools and of every draw

    def __post_init__(self) -> None:
        if self.per_user < 1 or self.pool_images < 0 or not 0 <= self.fresh_negatives < 1:
            raise ValueError(
                f"per_user {self.per_user}, pool_images {self.pool_images}, fresh_negatives {self.fresh_negatives}: "
                f"need per_user >= 1, pool_images >= 0 (0: no pools) and 0 <= fresh_negatives < 1"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingUsersConfig:
    """Which users are trained on: those with interests in enough clusters, and not in too many (CDL, section 6.1.1)."""

    min_clusters: int = 1  # the paper's community is large enough for 80
    max_clusters: int = 1024  # the paper: 280
