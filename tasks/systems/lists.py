"""Records of lists: what they depend on, their settings, and their files."""

from dataclasses import dataclass
from typing import Literal

from storage.refs import Ref
from tasks.systems.model import Model


@dataclass(frozen=True, kw_only=True)
class RecommendConfig:
    """What is exported."""

    num_recommendations: int = 50  # a user's list; shorter where fewer candidates are left
    reserve: int = 16  # places behind the exported ones, kept so that an image that leaves costs nobody a whole list
    num_similar: int = 20  # similar images of an image
    candidates: Literal["auto", "interests", "all"] = (
        "auto"  # interests: with a tag of the user's interest (CDL, section 5); auto: interests for cdl, else all
    )
    block_users: int = 32_768  # users in one block, a task run of its own; each reads all images' embeddings

    def __post_init__(self) -> None:
        if self.candidates not in ("auto", "interests", "all"):
            raise ValueError(f"recommend.candidates is {self.candidates!r}; choose auto, interests or all")


@dataclass(frozen=True)
class ListRequest:
    """Whose lists are wanted, and all that they hang on."""

    model: Model
    favorites: Ref  # never listed
    interests: Ref | None  # where only images with a tag of the user's interest are listed: those tags
    carried: Ref | None  # and what tags an image carries


@dataclass(frozen=True)
class ListBlock:
    """RECOMMENDATIONS of one block of users: those exported, and the places behind them."""

    exported: Ref
    reserve: Ref


@dataclass(frozen=True)
class Lists:
    """Lists that were made, and what of."""

    asked: ListRequest
    config: RecommendConfig
    looks: Ref | None  # None: the model has no embeddings
    recommendations: list[ListBlock]
    similar: Ref
    code: str = ""  # the version of the code that made them
