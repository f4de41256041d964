"""Records of lists: what they depend on, the policy and the settings, and their files."""

from dataclasses import dataclass
from typing import Literal

from storage.refs import Ref
from tasks.systems.model import Model


@dataclass(frozen=True, kw_only=True)
class RecommendConfig:
    """What is exported."""

    num_recommendations: int = 50  # a user's list; shorter where fewer candidates are left
    reserve: int = 16  # places behind the exported ones; a list is ranked again once more images than that have left it
    num_similar: int = 20  # similar images of an image
    candidates: Literal["auto", "interests", "all"] = (
        "auto"  # interests: with a tag of the user's interest (CDL, section 5); auto: interests for cdl, else all
    )
    block_users: int = 32_768  # users in one block, a task run of its own; each reads all images' embeddings

    def __post_init__(self) -> None:
        if self.candidates not in ("auto", "interests", "all"):
            raise ValueError(f"recommend.candidates is {self.candidates!r}; choose auto, interests or all")


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """What may not be recommended, whatever its score. What the source blocks or mutes never is."""

    own_uploads: bool = False  # users may be recommended what they uploaded themselves
    muted_tags: tuple[str, ...] = ()  # images with one of these tags are recommended to no user
    max_of_owner: int = 0  # images of one owner in a list; 0: any number
    diversity: float = 0.0  # 0 to 1: how much an image's likeness to those above it counts against its score
    pool: int = 100  # a user's best images, of which max_of_owner and diversity choose; more where they leave too few

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


@dataclass(frozen=True)
class Policy:
    """The rules of a night's lists, and the community's tables that they read."""

    config: PolicyConfig
    images: Ref  # with their owners
    image_tags: Ref | None  # None: no rule reads them
    blocked_images: Ref
    blocked_owners: Ref
    user_blocks: Ref
    user_mutes: Ref
    hides: Ref | None = None  # None: of an earlier version, which had none


@dataclass(frozen=True)
class ListRequest:
    """The model, and everything else that lists depend on."""

    model: Model
    favorites: Ref  # never recommended
    interests: Ref | None  # the users' tags of interest, one of which a candidate has; None: all images are candidates
    image_labels: Ref | None  # the images' tags, with `interests`
    policy: Policy | None = None  # None: of an earlier version, which had none


@dataclass(frozen=True)
class ListBlock:
    """RECOMMENDATIONS of one block of users: the exported places, and the reserve behind them.

    Where the policy chooses, the reserve is all places of the lists that it chose from.
    """

    exported: Ref
    reserve: Ref


@dataclass(frozen=True)
class Lists:
    """The files of all lists, and what they were computed from."""

    request: ListRequest
    config: RecommendConfig
    appearance: Ref | None  # the dimensions that describe an image's appearance; None: the model has no embeddings
    recommendations: list[ListBlock]
    similar: Ref
    code: str = ""  # the version of the code that computed them
