"""What a picture shows and what is said of it: the input of systems that learn from the content of images.

I images, f features, c tags and title words, B images of a batch.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, hstack

from models.community import Community
from models.ensemble.experts.base import commonest


@dataclass(frozen=True)
class Content:
    """Frozen features beside a bag of tags and title words; each half of an image that has one has norm 1."""

    features_If: np.ndarray  # float32, centred; rows of zeros: has none
    bag_Ic: csr_array  # float32, equal weights

    @property
    def width(self) -> int:
        """f + c: as many columns as `rows` has."""
        return int(self.features_If.shape[1] + self.bag_Ic.shape[1])

    @property
    def has_I(self) -> np.ndarray:  # noqa: N802  # a shape suffix
        """bool (I,): whether anything is known of the image."""
        return np.asarray(self.features_If.any(axis=1) | (np.diff(self.bag_Ic.indptr) > 0))

    def rows(self, images_B: np.ndarray) -> np.ndarray:
        """float32 (B, f + c)."""
        return np.hstack([self.features_If[images_B], self.bag_Ic[images_B].toarray()])


def content_of(community: Community, max_words: int) -> Content:
    """The content of every image, with the `max_words` commonest among all tags and title words."""
    centred_If = community.centred_features_If
    norms_I = np.linalg.norm(centred_If, axis=1, keepdims=True)
    features_If = (centred_If / np.maximum(norms_I, 1e-12)).astype(np.float32)
    said_Ic = hstack([community.image_tags_IT, community.words_IW], format="csr").astype(bool).astype(np.float32)
    return Content(features_If, unit_rows(csr_array(said_Ic[:, commonest(said_Ic, max_words)])))


def unit_rows(bags: csr_array) -> csr_array:
    """Each row over its Euclidean norm; empty rows stay empty. float32."""
    norms = np.sqrt(np.asarray(bags.multiply(bags).sum(axis=1)).ravel())
    scaled = csr_array(bags, dtype=np.float32, copy=True)
    scaled.data /= np.repeat(norms, np.diff(bags.indptr)).astype(np.float32)
    return scaled
