"""Experts from the graph of users, images, tags, contacts, groups and owners, by degrees alone: no training.

U users, I images, T tags, G groups.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, diags_array

from models.community import Community
from models.ensemble.experts.base import Expert
from models.sparse import degree_normalised, degrees


@dataclass(frozen=True, kw_only=True)
class Neighbors:
    """Favorites of users with common favorites: the linear graph filter of GF-CF (Shen et al., CIKM 2021).

    Scores are X · D_I^-shared · Xᵀ · D_U^-crowd · X · D_I^-popular; the exponents are settings.
    """

    shared: float = 0.5  # discount of a common favorite that many users share
    crowd: float = 0.5  # discount of a user with many favorites
    popular: float = 0.4  # discount of an image with many favorites; .5 is the symmetric filter

    def fit(self, community: Community, seed: int) -> Expert:
        favorites_UI = community.favorites_UI
        popularity_I = degrees(favorites_UI, 0)
        common_UU = favorites_UI @ diags_array(popularity_I**-self.shared) @ favorites_UI.T
        common_UU = common_UU @ diags_array(degrees(favorites_UI, 1) ** -self.crowd)
        return Expert(
            csr_array(common_UU, dtype=np.float32),
            csr_array(favorites_UI @ diags_array(popularity_I**-self.popular), dtype=np.float32),
        )


@dataclass(frozen=True, kw_only=True)
class Popular:
    """Popularity: the same scores for every user."""

    def fit(self, community: Community, seed: int) -> Expert:
        everybody_U1 = np.ones((community.num_users, 1), np.float32)
        return Expert(everybody_U1, np.log1p(community.popularity_I)[None].astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class Contacts:
    """Favorites of the user's contacts."""

    crowd: float = 0.5  # discount of a contact with many favorites

    def fit(self, community: Community, seed: int) -> Expert | None:
        if not community.contacts_UU.nnz:
            return None
        favorites_UI = degree_normalised(community.favorites_UI, self.crowd, 0)
        return Expert(degree_normalised(community.contacts_UU, 0.5, 0), favorites_UI)


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Favorites of the members of the user's groups; each group has the same weight, however large it is."""

    crowd: float = 0.5  # discount of a member with many favorites

    def fit(self, community: Community, seed: int) -> Expert | None:
        memberships_UG = community.memberships_UG
        if not memberships_UG.nnz:
            return None
        favorites_UI = degree_normalised(community.favorites_UI, self.crowd, 0)
        favored_GI = degree_normalised(memberships_UG, 0, 1).T @ favorites_UI
        return Expert(csr_array(memberships_UG, dtype=np.float32), csr_array(favored_GI, dtype=np.float32))


@dataclass(frozen=True, kw_only=True)
class Tags:
    """Images with the tags that the user uses."""

    rarity: float = 0.5  # discount of a tag on many images

    def fit(self, community: Community, seed: int) -> Expert | None:
        used_UT, image_tags_IT = community.user_tags_UT, community.image_tags_IT
        if not (used_UT.nnz and image_tags_IT.nnz):
            return None
        weights_T = degrees(image_tags_IT, 0) ** -self.rarity
        return Expert(
            csr_array(used_UT.log1p() @ diags_array(weights_T), dtype=np.float32),
            csr_array(image_tags_IT.T, dtype=np.float32),
        )


@dataclass(frozen=True, kw_only=True)
class Owners:
    """Images by owners whose images the user favors, or whom the user follows."""

    following: float = 1.0  # a contact counts as so many favorites of the owner's images

    def fit(self, community: Community, seed: int) -> Expert | None:
        owned_IU = community.owned_IU
        if not owned_IU.nnz:
            return None
        affinity_UU = community.favorites_UI @ owned_IU + self.following * community.contacts_UU
        return Expert(csr_array(affinity_UU, dtype=np.float32).log1p(), csr_array(owned_IU.T))
