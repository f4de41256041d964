"""Visual features and a bag of tags and title words: the input of systems that learn from the content of images.

I images, f features, c tags and title words, B images of a batch.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, hstack

from models.community import Community
from models.sparse import commonest_columns, has_entries, unit_rows


@dataclass(frozen=True)
class Content:
    """Frozen features and a bag of tags and title words, each of l2 norm 1 where an image has any."""

    features_If: np.ndarray  # float32, centred; rows of zeros for images without
    bag_Ic: csr_array  # float32, equal weights

    @property
    def width(self) -> int:
        """f + c, the number of columns of `rows`."""
        return int(self.features_If.shape[1] + self.bag_Ic.shape[1])

    @property
    def has_I(self) -> np.ndarray:  # noqa: N802  # a shape suffix
        """bool (I,): whether an image has any content."""
        return np.asarray(self.features_If.any(axis=1) | has_entries(self.bag_Ic))

    def rows(self, images_B: np.ndarray) -> np.ndarray:
        """float32 (B, f + c): the content of these images, dense."""
        return np.hstack([self.features_If[images_B], self.bag_Ic[images_B].toarray()])


def content_of(community: Community, max_words: int) -> Content:
    """The content of every image, with the `max_words` commonest of all tags and title words."""
    centred_If = community.centred_features_If
    norms_I = np.linalg.norm(centred_If, axis=1, keepdims=True)
    features_If = (centred_If / np.maximum(norms_I, 1e-12)).astype(np.float32)
    bag_Ic = hstack([community.image_tags_IT, community.words_IW], format="csr").astype(bool).astype(np.float32)
    return Content(features_If, unit_rows(csr_array(bag_Ic[:, commonest_columns(bag_Ic, max_words)])))
