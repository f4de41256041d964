"""Settings of the concealed favorites."""

from dataclasses import dataclass
from typing import Literal

Order = Literal["latest", "random"]


@dataclass(frozen=True, kw_only=True)
class ConcealmentConfig:
    """Which of a test user's favorites the night conceals.

    Lists are for what comes next, and where times are available `tastegraph` learns what comes next: measured on
    favorites from anywhere in a history it would look a third worse than it is.
    """

    order: Order = "latest"  # latest: where the source has every time, else random; random: as in the paper
