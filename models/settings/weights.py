"""Settings of ensemble weights."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """What is held out to learn the weights, and the metric that they maximise on it."""

    heldout_share: float = 0.1  # of a user's favorites, held out to learn the weights
    new_share: float = 0.03  # of the images, which lose all favorites to learn the weights of cold ones
    newcomer_share: float = 0.2  # of the users, who lose all favorites, where there are cold users
    weighing_users: int = 5000  # of a hold-out, at most
    weighing_favorites: int = 5000  # held out in all, by several hold-outs if need be
    weighings: int = 3  # hold-outs, at most
    weighed_on: Literal["lists", "mixtures"] = "lists"  # lists, or mixtures (docs/systems.md)
    depth: int = 100  # images ranked for a user while weights are learned
    k: int = 20  # weights maximise NDCG at k
    rounds: int = 3  # passes of the search over all experts

    def __post_init__(self) -> None:
        if self.weighed_on not in ("lists", "mixtures"):
            raise ValueError(f"weighed_on is {self.weighed_on!r}; choose lists or mixtures")
