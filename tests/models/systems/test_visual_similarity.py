"""VisRank and the mean cosine similarity."""

import numpy as np
import pytest

from models.systems.base import SYSTEMS
from tests.models.systems.cold_images import with_cold_images
from tests.models.systems.contract import NUM_USERS, SystemContract


class TestVisRank(SystemContract):
    system = "visrank"


class TestVisRankByTheMean(SystemContract):
    system = "visrank"
    settings = {"similarity": "mean"}


class TestResNetCosine(SystemContract):
    system = "resnet_cosine"


@pytest.mark.parametrize("similarity", ["max", "mean"])
def test_visrank_is_the_similarity_to_the_favorites(similarity):
    community = with_cold_images()
    system = SYSTEMS["visrank"](SYSTEMS["visrank"].Config(similarity=similarity))
    system.fit(community)
    scores = system.score(np.arange(NUM_USERS))
    features = np.asarray(community.features_If)
    for user in (0, 3, 15):
        favorites = [image for image in community.favorites_UI[[user]].indices if features[image].any()]
        for image in (0, 17, 41):
            cosines = [
                features[image] @ features[liked] / np.linalg.norm(features[image]) / np.linalg.norm(features[liked])
                for liked in favorites
            ]
            assert scores[user, image] == pytest.approx(getattr(np, similarity)(cosines), abs=1e-5)


def test_the_most_similar_favorite_is_the_same_whatever_fits_in_memory(monkeypatch):
    system = SYSTEMS["visrank"]()
    system.fit(with_cold_images())
    whole = system.score(np.arange(NUM_USERS))
    monkeypatch.setattr("models.systems.visual_similarity.GATHERED_CELLS", 1)
    np.testing.assert_allclose(system.score(np.arange(NUM_USERS)), whole, atol=1e-6)
