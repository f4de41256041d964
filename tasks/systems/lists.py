"""Records of lists: what they depend on, the policy and the settings, and their files."""

from dataclasses import dataclass

from storage.refs import Ref
from tasks.settings.lists import PolicyConfig, RecommendConfig
from tasks.systems.model import Model


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
    pixels: list[Ref] | None = None  # shards of the usable pictures; None: no rule reads them


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
