"""Settings of the concealed favorites."""

from dataclasses import dataclass
from typing import Literal

Order = Literal["latest", "random"]


@dataclass(frozen=True, kw_only=True)
class ConcealmentConfig:
    """Which of a test user's favorites the night conceals.

    Where times are known `tastegraph` learns what comes next: by any other favorites it would look a third worse.
    """

    order: Order = "latest"  # latest: where all times are known, else random; random: the paper's
