"""Settings of lists, and of the policy."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class RecommendConfig:
    """What is exported."""

    num_recommendations: int = 50  # a user's list; shorter where fewer candidates are left
    reserve: int = 16  # places behind the exported; once more images have left a list it is ranked again
    num_similar: int = 20  # similar images of an image
    num_explained: int = 10  # first places whose reasons are exported, where the system can say
    candidates: Literal["auto", "interests", "all"] = (
        "auto"  # interests: with a tag of the user's interest (CDL, section 5); auto: for cdl, else all
    )
    recall: float = (
        1.0  # 1: lists are exact; less: an index finds them, with about this share of the exact lists' images
    )
    block_users: int = 32_768  # users in one block, a task run

    def __post_init__(self) -> None:
        if self.candidates not in ("auto", "interests", "all"):
            raise ValueError(f"recommend.candidates is {self.candidates!r}; choose auto, interests or all")
        if not 0 < self.recall <= 1:
            raise ValueError(f"recommend.recall is {self.recall}: it must be more than 0 and at most 1, exact lists")


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """What may not be recommended, whatever its score. What the source blocks or mutes never is."""

    own_uploads: bool = False  # users may get what they uploaded
    muted_tags: tuple[str, ...] = ()  # images with one of these are recommended to nobody
    without_picture: bool = True  # images without a usable picture may be listed
    max_of_owner: int = 0  # images of one owner in a list; 0: any number
    diversity: float = 0.0  # 0 to 1: how much likeness to images above counts against a score
    pool: int = 100  # images of which max_of_owner and diversity choose, at least

    def __post_init__(self) -> None:
        if self.max_of_owner < 0:
            raise ValueError(f"policy.max_of_owner is {self.max_of_owner}: it must be at least 0, which sets no limit")
        if not 0 <= self.diversity < 1:
            raise ValueError(f"policy.diversity is {self.diversity}: it must be at least 0 and less than 1")
        if self.pool < 1:
            raise ValueError(f"policy.pool is {self.pool}: it must be at least 1")

    @property
    def chooses(self) -> bool:
        """Whether a list is more than the best images of those that may be recommended."""
        return bool(self.max_of_owner or self.diversity)
