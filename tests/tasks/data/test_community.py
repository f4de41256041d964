"""A community read from its tables."""

import numpy as np

from tasks.data.community import CommunityTables, read_community
from tests import world


def test_a_community_is_read_with_all_signals_of_its_tables(table, root):
    indexed = read_community(CommunityTables(table, table["favorites"]), root)
    community = indexed.community

    assert community.favorites_UI.shape == (world.NUM_USERS, world.NUM_IMAGES)
    assert community.favorites_UI.nnz == world.NUM_USERS * world.FAVORITES_EACH
    assert community.favorited_at_UI is None
    assert community.words_IW.shape[1] == 15  # a, red, blue, 1979, 1980, and near 1975 to near 1984
    assert np.array_equal(np.diff(community.words_IW.indptr), np.where(np.arange(60) < 30, 12, 11))
    assert community.owner_I.tolist()[:3] == [-1, 1, 2]
    assert {signal for signal in ("tags", "titles", "contacts", "groups", "owners") if community.has(signal)} == {
        "tags", "titles", "contacts", "groups", "owners",
    }  # fmt: skip
    assert not any(community.has(signal) for signal in ("pixels", "features", "times", "profiles"))
