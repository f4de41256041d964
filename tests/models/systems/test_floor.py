"""The floor."""

import numpy as np

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
