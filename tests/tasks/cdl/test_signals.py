"""The tables that negatives are assigned from, as matrices."""

import numpy as np

from tasks.cdl.signals import read_signals
from tests.tasks.cdl.conftest import IMAGE_IDS, LIKES, USER_IDS


def test_rows_and_columns_are_users_and_images_in_the_order_of_their_ids(chain):
    indexed = read_signals(chain.signals, chain.root)
    favorites_UI = indexed.signals.favorites_UI.toarray()

    assert indexed.users.tolist() == USER_IDS
    assert indexed.images.tolist() == IMAGE_IDS
    assert {
        user: [IMAGE_IDS[image] for image in np.flatnonzero(row)]
        for user, row in zip(USER_IDS, favorites_UI, strict=True)
    } == LIKES


def test_contacts_groups_and_interests_have_one_numbering_each(chain):
    signals = read_signals(chain.signals, chain.root).signals

    assert np.argwhere(signals.contacts_UU.toarray()).tolist() == [[0, 2]]
    assert signals.memberships_UG.toarray().tolist() == [[0], [1], [0], [1]]
    shared_UI = (signals.interests_UT @ signals.image_tags_IT.T).toarray()  # interests and labels have the same columns
    assert np.argwhere(shared_UI).tolist() == [[3, 3]]
