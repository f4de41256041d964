"""The baselines that every system must beat."""

import numpy as np
from scipy.sparse import csr_array

from models.community import Community
from models.systems.base import SYSTEMS
from tests.models.systems.contract import SystemContract, two_tastes


class TestRandom(SystemContract):
    system = "random"
    learns = False

    def test_seeds_draw_different_scores(self) -> None:
        scores = []
        for seed in (0, 1):
            system = SYSTEMS["random"](seed=seed)
            system.fit(two_tastes())
            scores.append(system.score(np.array([0])))
        assert not np.array_equal(*scores)


class TestPopularity(SystemContract):
    system = "popularity"
    learns = False

    def test_scores_are_numbers_of_training_favorites(self) -> None:
        system = SYSTEMS["popularity"]()
        system.fit(two_tastes())
        np.testing.assert_array_equal(system.score(np.array([5]))[0], two_tastes().popularity_I)


class TestTagProfile(SystemContract):
    system = "tag_profile"

    def test_an_image_without_tags_scores_0(self, fitted, community) -> None:
        untagged_I = np.diff(community.image_tags_IT.indptr) == 0
        assert not fitted.score(np.array([0]))[0, untagged_I].any()

    def test_a_rare_tag_has_more_weight_than_a_common_one(self) -> None:
        favorites_UI = csr_array(np.eye(1, 4, dtype=np.float32))  # of image 0, tagged with both
        image_tags_IT = csr_array(np.array([[1, 1], [1, 0], [1, 0], [0, 1]], np.float32))  # tag 0 is common, tag 1 rare
        system = SYSTEMS["tag_profile"]()
        system.fit(
            Community(favorites_UI, image_tags_IT=image_tags_IT, user_tags_UT=csr_array((1, 2), dtype=np.float32))
        )
        _, common, _, rare = system.score(np.array([0]))[0]
        assert rare > common > 0
