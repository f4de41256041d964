"""Settings of splits."""

from dataclasses import dataclass
from typing import Literal

TimeOf = Literal["user", "community"]


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How `compare` and `tune` split the favorites."""

    seed: int = 0  # of the split; systems have a seed of their own
    heldout_share: float = 0.1  # of favorites, images (cold) or users (cold_users), for each part
    latest_share: float = 0.2  # of favorites: the test of a split by time
    time_of: TimeOf = "user"  # by each user's own times, or by one moment for all users
    cold_below: int = 5  # auc: an image with fewer training favorites is cold (VBPR)

    def __post_init__(self) -> None:
        if not (0 < self.heldout_share < 0.5 and 0 < self.latest_share < 1 - self.heldout_share):
            raise ValueError(
                f"heldout_share {self.heldout_share} and latest_share {self.latest_share} leave nothing to learn from; "
                f"heldout_share must be below .5, and both together below 1"
            )
        if self.time_of not in ("user", "community"):
            raise ValueError(f"splits.time_of is {self.time_of!r}; choose user or community")
