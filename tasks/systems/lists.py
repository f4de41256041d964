"""Records of lists: what they depend on, their settings, and their files."""

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


@dataclass(frozen=True)
class ListRequest:
    """The model, and everything else that lists depend on."""

    model: Model
    favorites: Ref  # never recommended
    interests: Ref | None  # the users' tags of interest, one of which a candidate has; None: all images are candidates
    image_labels: Ref | None  # the images' tags, with `interests`


@dataclass(frozen=True)
class ListBlock:
    """RECOMMENDATIONS of one block of users: the exported places, and the reserve behind them."""

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
