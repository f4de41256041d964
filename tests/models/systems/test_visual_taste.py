"""The user's taste times a network over an image's input."""

import numpy as np
import pytest
import torch

from models import bpr
from models.bpr import Step
from models.settings.visual_taste import TasteConfig
from models.systems.visual_taste import Tastes


def test_tastes_are_compared_and_regularised_as_seed_001_says():
    inputs = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    with bpr.seeded(0):
        layer = torch.nn.Linear(6, 3)
        ranker = Tastes(5, layer, lambda rows: inputs[rows], TasteConfig(K=3, lambda_u=1.0, lambda_theta=0.001))
    step = Step(np.array([3, 1]), np.array([4]), np.array([1]), np.array([0]))
    theta, W, b = ranker.theta[4].detach().numpy(), layer.weight.detach().numpy(), layer.bias.detach().numpy()
    x_uij = theta @ (W @ inputs[1] + b) - theta @ (W @ inputs[3] + b)
    expected = np.log1p(np.exp(-x_uij)) + theta @ theta + 0.001 * ((W**2).sum() + (b**2).sum())
    assert bpr.objective(ranker, step).item() == pytest.approx(expected, rel=1e-4)
