"""The content of images as the input of a system."""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from models.systems.content import content_of
from tests.models.systems.contract import NUM_IMAGES, two_tastes


def test_features_and_words_of_an_image_have_norm_1_each() -> None:
    content = content_of(two_tastes(), max_words=100)
    rows = content.rows(np.arange(NUM_IMAGES))
    assert rows.shape == (NUM_IMAGES, content.width) == (NUM_IMAGES, 16 + 8 + 4)
    for part in (rows[:, :16], rows[:, 16:]):
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), 1, rtol=1e-5)


def test_only_the_commonest_words_are_kept() -> None:
    assert content_of(two_tastes(), max_words=3).bag_Ic.shape == (NUM_IMAGES, 3)


def test_an_image_without_features_tags_and_title_has_no_content() -> None:
    community = two_tastes().without("tags", "titles")
    assert community.features_If is not None
    content = content_of(
        replace(community, features_If=community.features_If * (np.arange(NUM_IMAGES) != 5)[:, None]), 9
    )
    assert np.flatnonzero(~content.has_I).tolist() == [5]
    assert content.width == 16
    tagged = csr_array((np.ones(1, np.float32), ([5], [0])), shape=(NUM_IMAGES, 1))
    assert content_of(replace(community, image_tags_IT=tagged, features_If=None), 9).has_I.sum() == 1
