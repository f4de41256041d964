"""Settings of user interests."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class InterestConfig:
    """Which tags are interests.

    `distinct` covers .11 of lastfm's images and .65 of a concealed fifth of the favorites (`all` .16, .70); on
    movielens, where most users have the tags of their films, .13 and .43 (.96, .92).
    """

    mode: Literal["distinct", "all"] = "distinct"  # tags used more than by others; all: the paper's
    min_count: int = 1  # least uses by the user
    min_lift: float = 1.5  # distinct: least ratio of a tag's share in the user's tags to the community's
    max_interests: int = 20  # distinct: of a user, by log-likelihood ratio
