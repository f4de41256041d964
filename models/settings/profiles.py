"""Settings of user interests."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class InterestConfig:
    """Which tags are interests.

    Measured by the share of all images that have an interest as a tag (median over users), and the same share of a
    concealed fifth of the favorites (mean): on lastfm's 9,743 free tags `distinct` covers .11 of the images and .65 of
    the favorites, `all` .16 and .70; on movielens, where 551 of 609 users have the tags of their films, .13 and .43
    against .96 and .92.
    """

    mode: Literal["distinct", "all"] = "distinct"  # tags that the user has more than others; or all, as in the paper
    min_count: int = 1  # least uses by the user; at 2 a third of lastfm's users have no interest left
    min_lift: float = 1.5  # distinct: least ratio of the tag's share in the user's tags to that in the community's
    max_interests: int = 20  # distinct: of a user at most, those of the highest log-likelihood ratio
