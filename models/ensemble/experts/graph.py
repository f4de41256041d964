"""Experts that walk the graph of users, images, tags, contacts and groups: no training, only degrees.

U users, I images, T tags.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, diags_array

from models.community import Community
from models.ensemble.experts.base import Expert, degrees, normalised


@dataclass(frozen=True, kw_only=True)
class Neighbors:
    """What users with common favorites like: the linear graph filter of GF-CF (Shen et al., CIKM 2021), exponents free.

    Scores are X · D_I^-shared · Xᵀ · D_U^-crowd · X · D_I^-popular.
    """

    shared: float = 0.5  # how much less a common favorite counts that many share
    crowd: float = 0.5  # how much less a user counts who favors much
    popular: float = 0.4  # how much less an image counts that many favor; .5 is the symmetric filter

    def fit(self, community: Community, seed: int) -> Expert:
        favorites_UI = community.favorites_UI
        popularity_I = degrees(favorites_UI, 0)
        met_UU = favorites_UI @ diags_array(popularity_I**-self.shared) @ favorites_UI.T
        met_UU = met_UU @ diags_array(degrees(favorites_UI, 1) ** -self.crowd)
        return Expert(
            csr_array(met_UU, dtype=np.float32),
            csr_array(favorites_UI @ diags_array(popularity_I**-self.popular), dtype=np.float32),
        )


@dataclass(frozen=True, kw_only=True)
class Popular:
    """What many like, for everybody alike."""

    def fit(self, community: Community, seed: int) -> Expert:
        everybody_U1 = np.ones((community.num_users, 1), np.float32)
        return Expert(everybody_U1, np.log1p(community.popularity_I)[None].astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class Contacts:
    """What those whom the user follows like."""

    crowd: float = 0.5  # how much less a contact counts who favors much

    def fit(self, community: Community, seed: int) -> Expert | None:
        if not community.contacts_UU.nnz:
            return None
        return Expert(normalised(community.contacts_UU, 0.5, 0), normalised(community.favorites_UI, self.crowd, 0))


@dataclass(frozen=True, kw_only=True)
class Groups:
    """What members of the user's groups like; a small group says more."""

    crowd: float = 0.5  # how much less a member counts who favors much

    def fit(self, community: Community, seed: int) -> Expert | None:
        memberships_UG = community.memberships_UG
        if not memberships_UG.nnz:
            return None
        liked_GI = normalised(memberships_UG, 0, 1).T @ normalised(community.favorites_UI, self.crowd, 0)
        return Expert(csr_array(memberships_UG, dtype=np.float32), csr_array(liked_GI, dtype=np.float32))


@dataclass(frozen=True, kw_only=True)
class Tags:
    """Images that carry the tags the user uses; a rare tag says more."""

    rarity: float = 0.5  # how much less a tag counts that many images carry

    def fit(self, community: Community, seed: int) -> Expert | None:
        used_UT, image_labels_IT = community.user_tags_UT, community.image_tags_IT
        if not (used_UT.nnz and image_labels_IT.nnz):
            return None
        weights_T = degrees(image_labels_IT, 0) ** -self.rarity
        return Expert(
            csr_array(used_UT.log1p() @ diags_array(weights_T), dtype=np.float32),
            csr_array(image_labels_IT.T, dtype=np.float32),
        )


@dataclass(frozen=True, kw_only=True)
class Owners:
    """Images of the uploaders whose images the user favors, or whom the user follows."""

    following: float = 1.0  # favorites that following somebody counts for

    def fit(self, community: Community, seed: int) -> Expert | None:
        owned_IU = community.owned_IU
        if not owned_IU.nnz:
            return None
        liked_UU = community.favorites_UI @ owned_IU + self.following * community.contacts_UU
        return Expert(csr_array(liked_UU, dtype=np.float32).log1p(), csr_array(owned_IU.T))
