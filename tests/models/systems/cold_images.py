"""A community with images without favorites, for tests of systems that score images by content."""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from models.community import Community, Pixels
from tests.models.systems.contract import NUM_IMAGES, SIZE_PX, two_tastes

COLD = [5, 40, 41]


def with_cold_images() -> Community:
    """`two_tastes` where the images COLD have no favorite; 41 has the pixels and features of 40, and 5 has neither."""
    community = two_tastes()
    favorites_UI = csr_array(community.favorites_UI.toarray() * ~np.isin(np.arange(NUM_IMAGES), COLD))
    favorites_UI.eliminate_zeros()
    features = np.array(community.features_If)
    features[41], features[5] = features[40], 0
    pixels = community.pixels
    assert pixels is not None
    same_as = np.array([40 if row == 41 else row for row in range(NUM_IMAGES)])
    fewer = Pixels(SIZE_PX, np.arange(NUM_IMAGES) != 5, lambda rows: pixels.gather(same_as[rows]))
    return replace(community, favorites_UI=favorites_UI, features_If=features, pixels=fewer)
