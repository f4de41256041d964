"""Wide & Deep."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.systems.wide_deep import WideDeep, WideDeepConfig, hash_crosses
from tests.models.systems.contract import SystemContract, two_tastes

SMALL = {"k": 8, "hidden": 16, "last_hidden": 8, "epochs": 30, "batch_favorites": 64, "learning_rate": 0.01}


class TestWideDeep(SystemContract):
    system = "wide_deep"
    settings = SMALL


def test_a_score_is_the_logit_of_both_parts_of_one_pair() -> None:
    system = WideDeep(WideDeepConfig(**{**SMALL, "epochs": 2}), seed=1)
    system.fit(two_tastes())
    kept = system.state()
    tags_IV = csr_array((kept["tags_IV.data"], kept["tags_IV.indices"], kept["tags_IV.indptr"])).toarray()
    scores = system.score(np.arange(24))
    for user, image in ((0, 0), (5, 40), (23, 59)):
        cross = hash_crosses(np.array([user]), kept["owner_I"][[image]], len(kept["owner_crosses"]))[0]
        wide = kept["bias_I"][image] + kept["owner_crosses"][cross] + kept["crossed_UV"][user] @ tags_IV[image]
        first = np.maximum(kept["users_UH"][user] + kept["images_IH"][image], 0)
        deep = kept["out"] @ np.maximum(kept["last.weight"] @ first + kept["last.bias"], 0)
        assert scores[user, image] == pytest.approx(wide + deep, rel=1e-4, abs=1e-5)


def test_scores_do_not_depend_on_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    system = WideDeep(WideDeepConfig(**{**SMALL, "epochs": 1}))
    system.fit(two_tastes())
    whole = system.score(np.arange(24))
    for floats in (1, 7 * 16, 3 * 60 * 16):
        monkeypatch.setattr("models.systems.wide_deep.HIDDEN_FLOATS", floats)
        np.testing.assert_allclose(system.score(np.arange(24)), whole, rtol=1e-4, atol=1e-5)


def test_an_image_without_favorites_is_scored_by_its_content() -> None:
    community = two_tastes()
    favorites = community.favorites_UI.toarray()
    favorites[:, [20, 50]] = 0  # one red, one blue
    system = WideDeep(WideDeepConfig(**SMALL))
    system.fit(replace(community, favorites_UI=csr_array(favorites)))
    scores = system.score(np.array([0, 23]))
    assert scores[0, 20] > scores[0, 50]
    assert scores[1, 50] > scores[1, 20]


def test_it_runs_on_favorites_alone() -> None:
    community = two_tastes().without("tags", "features", "owners")
    system = WideDeep(WideDeepConfig(**SMALL))
    system.fit(community)
    scores = system.score(np.array([0]))[0]
    assert scores[:30].mean() > scores[30:].mean()
