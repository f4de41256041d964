"""What a system learns from: a community's training favorites and its side information.

U users, I images, T tags, G groups, C clusters, W words, f features, S side of a picture in pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from models.tag_assignments import TagAssignments

EMPTY = csr_array((0, 0), dtype=np.float32)


@dataclass(frozen=True)
class Signals:
    """The matrices from which CDL assigns negatives. Any dtype; an entry counts if it is not zero."""

    favorites_UI: csr_array  # training favorites only
    interests_UT: csr_array  # the tags (or clusters) of each user's interests
    image_tags_IT: csr_array  # the tags (or clusters) of each image
    contacts_UU: csr_array  # row u marks the users that u follows; need not be symmetric
    memberships_UG: csr_array  # the groups of each user


@dataclass(frozen=True)
class Pixels:
    """The decoded pictures: `gather` takes rows (B,) of images that have one, and returns uint8 (B, S, S, 3)."""

    size_px: int
    has_I: np.ndarray  # bool
    gather: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Community:
    """Users and images by row number, their favorites and side information; what the source lacks is an empty matrix.

    All matrices are float32 CSR with sorted columns, each pair once.
    """

    favorites_UI: csr_array  # 1 for each training favorite; nothing that is held out
    # float64, the pattern of the favorites: epoch seconds, from 1; None: the source has no times
    favorited_at_UI: csr_array | None = None
    user_tags_UT: csr_array = field(default_factory=lambda: EMPTY)  # counts; tags are numbered as those of images
    image_tags_IT: csr_array = field(default_factory=lambda: EMPTY)
    tag_assignments: TagAssignments | None = None  # which of those counts are of which user and image
    words_IW: csr_array = field(default_factory=lambda: EMPTY)  # 1 for each word of an image's title
    contacts_UU: csr_array = field(default_factory=lambda: EMPTY)  # row u marks the users that u follows
    memberships_UG: csr_array = field(default_factory=lambda: EMPTY)
    # int64, the user row of the owner; -1 where unknown
    owner_I: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    features_If: np.ndarray | None = None  # float32, of a network or of the source; rows of zeros for images without
    pixels: Pixels | None = None
    profiles_UC: csr_array = field(default_factory=lambda: EMPTY)  # bags of tag clusters
    image_bags_IC: csr_array = field(default_factory=lambda: EMPTY)  # those of the images
    interests_UT: csr_array = field(default_factory=lambda: EMPTY)  # for CDL's negatives, as the labels of images:
    image_labels_IT: csr_array = field(default_factory=lambda: EMPTY)  # tags, or clusters of tags

    def __post_init__(self) -> None:
        num_users, num_images = self.favorites_UI.shape
        for name, shape in {
            "user_tags_UT": (num_users, 0),
            "image_tags_IT": (num_images, 0),
            "words_IW": (num_images, 0),
            "contacts_UU": (num_users, num_users),
            "memberships_UG": (num_users, 0),
            "profiles_UC": (num_users, 0),
            "image_bags_IC": (num_images, 0),
            "interests_UT": (num_users, 0),
            "image_labels_IT": (num_images, 0),
        }.items():
            given = getattr(self, name)
            if given is EMPTY:
                object.__setattr__(self, name, csr_array(shape, dtype=np.float32))
            elif given.shape[0] != shape[0]:
                raise ValueError(
                    f"{name} has {given.shape[0]} rows, but favorites_UI is {num_users} users by {num_images} images; "
                    f"number both alike"
                )
        if len(self.owner_I) != num_images:
            object.__setattr__(self, "owner_I", np.full(num_images, -1, np.int64))

    @property
    def num_users(self) -> int:
        return int(self.favorites_UI.shape[0])

    @property
    def num_images(self) -> int:
        return int(self.favorites_UI.shape[1])

    @cached_property
    def popularity_I(self) -> np.ndarray:  # noqa: N802  # a shape suffix
        """float64 (I,): the number of training favorites of each image."""
        return np.bincount(self.favorites_UI.indices, minlength=self.num_images).astype(np.float64)

    @cached_property
    def owned_IU(self) -> csr_array:  # noqa: N802
        """float32 (I, U): 1 where the user owns the image."""
        owned = np.flatnonzero(self.owner_I >= 0)
        shape = (self.num_images, self.num_users)
        return csr_array((np.ones(len(owned), np.float32), (owned, self.owner_I[owned])), shape=shape)

    @cached_property
    def has_features_I(self) -> np.ndarray:  # noqa: N802
        """bool (I,): the images with a visual feature."""
        if self.features_If is None:
            return np.zeros(self.num_images, bool)
        return np.asarray(self.features_If.any(axis=1))

    @property
    def centred_features_If(self) -> np.ndarray:  # noqa: N802
        """float32 (I, f): the features less their mean, zeros for images without; f is 0 if no image has any."""
        if self.features_If is None or not self.has_features_I.any():
            return np.zeros((self.num_images, 0), np.float32)
        mean_f = self.features_If[self.has_features_I].mean(axis=0, dtype=np.float64)
        return np.where(self.has_features_I[:, None], self.features_If - mean_f, 0).astype(np.float32)

    @property
    def signals(self) -> Signals:
        """The matrices from which CDL assigns negatives (CDL, section 5)."""
        return Signals(
            self.favorites_UI, self.interests_UT, self.image_labels_IT, self.contacts_UU, self.memberships_UG
        )

    def has(self, signal: str) -> bool:
        """Whether the community has this signal, one of `SIGNALS`."""
        return SIGNALS[signal](self)

    def without(self, *signals: str) -> "Community":
        """The same community without these signals, for ablations."""
        return replace(self, **{name: EMPTY_AS.get(name, EMPTY) for signal in signals for name in FIELDS[signal]})


SIGNALS: dict[str, Callable[[Community], bool]] = {
    "pixels": lambda community: community.pixels is not None and bool(community.pixels.has_I.any()),
    "features": lambda community: bool(community.has_features_I.any()),
    "tags": lambda community: community.image_tags_IT.nnz > 0,
    "titles": lambda community: community.words_IW.nnz > 0,
    "contacts": lambda community: community.contacts_UU.nnz > 0,
    "groups": lambda community: community.memberships_UG.nnz > 0,
    "owners": lambda community: bool((community.owner_I >= 0).any()),
    "times": lambda community: community.favorited_at_UI is not None,
    "profiles": lambda community: community.profiles_UC.nnz > 0,
}
FIELDS: dict[str, tuple[str, ...]] = {
    "pixels": ("pixels",),
    "features": ("features_If",),
    "tags": ("user_tags_UT", "image_tags_IT", "tag_assignments"),
    "titles": ("words_IW",),
    "contacts": ("contacts_UU",),
    "groups": ("memberships_UG",),
    "owners": ("owner_I",),
    "times": ("favorited_at_UI",),
    "profiles": ("profiles_UC", "image_bags_IC"),
}
# The value of a field that the source lacks; EMPTY for any other field.
EMPTY_AS: dict[str, Any] = {
    "tag_assignments": None,
    "pixels": None,
    "features_If": None,
    "favorited_at_UI": None,
    "owner_I": np.empty(0, np.int64),
}
