"""What the visual systems and matrix factorisation do with images without favorites."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models import bpr
from models.bpr import Step
from models.systems.base import SYSTEMS
from tests.models.systems.cold_images import COLD, with_cold_images
from tests.models.systems.contract import NUM_IMAGES, NUM_USERS, two_tastes

BY_CONTENT = ["vbpr", "inception", "cae", "dvbpr", "visrank", "resnet_cosine"]


@pytest.mark.parametrize("name", BY_CONTENT)
def test_cold_images_are_scored_by_their_appearance(name):
    system = SYSTEMS[name]()
    system.fit(with_cold_images())
    scores = system.score(np.arange(NUM_USERS))
    np.testing.assert_allclose(scores[:, 40], scores[:, 41], rtol=1e-4, atol=1e-6)
    assert (scores[NUM_USERS // 2 :, 40].mean() > scores[: NUM_USERS // 2, 40].mean()).all()  # blue users, blue image
    assert np.isneginf(scores[:, 5]).all()
    assert np.isfinite(scores[:, np.arange(NUM_IMAGES) != 5]).all()


def test_matrix_factorisation_does_not_score_cold_images():
    system = SYSTEMS["bpr_mf"]()
    system.fit(with_cold_images())
    assert np.isneginf(system.score(np.array([0, 20]))[:, COLD]).all()


@pytest.mark.parametrize("name", ["bpr_mf", *BY_CONTENT])
def test_without_any_favorite_no_score_is_nan(name):
    nobody = csr_array((NUM_USERS, NUM_IMAGES), dtype=np.float32)
    system = SYSTEMS[name]()
    system.fit(replace(two_tastes(), favorites_UI=nobody))
    assert not np.isnan(system.score(np.arange(3))).any()


@pytest.mark.parametrize("name", ["vbpr", "inception", "cae", "dvbpr"])
def test_images_without_favorites_are_never_learned_as_negatives(name, monkeypatch):
    learned, objective = [], bpr.objective

    def recording(ranker: bpr.Ranker, step: Step) -> torch.Tensor:
        learned.append(step.images_P)
        return objective(ranker, step)

    monkeypatch.setattr(bpr, "objective", recording)
    SYSTEMS[name]().fit(with_cold_images())
    assert learned
    assert not np.isin(COLD, np.concatenate(learned)).any()
