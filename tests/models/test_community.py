"""The community that systems learn from."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.community import FIELDS, SIGNALS, Community
from tests.models.systems.contract import NUM_IMAGES, NUM_USERS, two_tastes

FAVORITES = csr_array(np.array([[1, 1, 0], [0, 1, 0]], np.float32))


def test_a_community_of_favorites_alone_has_no_signal_and_matrices_of_its_size() -> None:
    community = Community(FAVORITES)
    assert not any(community.has(signal) for signal in SIGNALS)
    assert community.image_tags_IT.shape == (3, 0)
    assert community.contacts_UU.shape == (2, 2)
    assert community.owner_I.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("signal", SIGNALS)
def test_without_a_signal_a_community_is_as_if_its_source_lacked_it(signal: str) -> None:
    whole = two_tastes()
    assert whole.has(signal)
    without = whole.without(signal)
    assert [name for name in SIGNALS if not without.has(name)] == [signal]
    assert (without.num_users, without.num_images) == (NUM_USERS, NUM_IMAGES)
    assert FIELDS.keys() == SIGNALS.keys()


def test_a_matrix_of_other_users_or_images_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="image_tags_IT has 2 rows, but favorites_UI"):
        Community(FAVORITES, image_tags_IT=csr_array((2, 4), dtype=np.float32))


def test_popularity_counts_favorites_and_owners_are_a_matrix() -> None:
    community = Community(FAVORITES, owner_I=np.array([1, -1, 0]))
    assert community.popularity_I.tolist() == [1, 2, 0]
    assert community.owned_IU.toarray().tolist() == [[0, 1], [0, 0], [1, 0]]


def test_features_are_centred_on_images_that_have_them() -> None:
    community = Community(FAVORITES, features_If=np.array([[1, 2], [0, 0], [3, 6]], np.float32))
    assert community.has_features_I.tolist() == [True, False, True]
    assert community.centred_features_If.tolist() == [[-1, -2], [0, 0], [1, 2]]
    assert Community(FAVORITES).centred_features_If.shape == (3, 0)
