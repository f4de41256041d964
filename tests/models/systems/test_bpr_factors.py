"""VBPR."""

import numpy as np
import pytest
import torch

from models import bpr
from models.bpr import Step
from models.systems.bpr_factors import Factors
from tests.models.systems.cold_images import COLD, with_cold_images
from tests.models.systems.contract import SystemContract


class TestVBPR(SystemContract):
    system = "vbpr"


def test_vbpr_scores_and_regularises_as_its_equations_say():
    community = with_cold_images()
    features = np.asarray(community.features_If)
    with bpr.seeded(0):
        ranker = Factors(community, features, K=3, K_visual=2, λ=(0.1, 0.01))
        torch.nn.init.normal_(ranker.biases)
    step = Step(np.array([7, 41, 30]), np.array([2, 9]), np.array([0, 2]), np.array([1, 1]))
    weights = {name: value.detach().numpy() for name, value in ranker.named_parameters()}
    E, visual_bias = weights["appearance"][:, :2], weights["appearance"][:, 2]
    expected = 0.0
    for user, positive, negative in [(2, 7, 41), (9, 30, 41)]:
        gamma, theta = weights["tastes"][user, :3], weights["tastes"][user, 3:]
        x, own = [], gamma @ gamma + theta @ theta
        for image in (positive, negative):
            latent, bias = weights["factors"][image], weights["biases"][image, 0]
            if image in COLD:
                latent, bias = latent * 0, 0
            x.append(bias + gamma @ latent + theta @ (E.T @ features[image]) + visual_bias @ features[image])
            own += latent @ latent + bias**2
        expected += np.log1p(np.exp(x[1] - x[0])) + 0.1 * own
    expected = expected / 2 + 0.01 * (weights["appearance"] ** 2).sum()
    assert bpr.objective(ranker, step).item() == pytest.approx(expected, rel=1e-4)


def test_an_image_without_favorites_has_the_bias_of_those_with_the_fewest():
    community = with_cold_images()
    with bpr.seeded(0):
        ranker = Factors(community, np.asarray(community.features_If), K=3, K_visual=2, λ=(0.1, 0.01)).eval()
        torch.nn.init.normal_(ranker.biases)
    fewest = community.popularity_I[community.popularity_I > 0].min()
    expected = ranker.biases[torch.from_numpy(community.popularity_I == fewest)].mean().item()
    assert ranker.images(np.array(COLD))[:, -1].tolist() == pytest.approx([expected] * len(COLD), rel=1e-5)
    assert ranker.images(np.array([7]))[0, -1] == ranker.biases[7, 0]
