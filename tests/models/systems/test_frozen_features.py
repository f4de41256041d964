"""Inception and CAE: one trained layer over frozen features."""

import numpy as np
import pytest

from models import bpr
from models.community import Pixels
from models.settings.frozen_features import CAEConfig
from models.systems.frozen_features import autoencoder_codes
from tests.models.systems.contract import SystemContract


class TestInception(SystemContract):
    system = "inception"


class TestCAE(SystemContract):
    system = "cae"


def test_a_side_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(ValueError, match="size_px 40 is no multiple of 16"):
        CAEConfig(size_px=40)


def test_the_trained_encoder_keeps_far_more_of_the_pictures_than_the_untrained_one():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(3), 200)
    pictures = (255 * np.tensordot(shares, rng.random((3, 8, 8, 3)), 1)).astype(np.uint8)
    pixels, flat = Pixels(8, np.ones(200, bool), lambda rows: pictures[rows]), pictures.reshape(200, -1) / 255

    def share_lost(learning_rate: float) -> float:
        """Of the pictures' variance, by the best linear reconstruction from their codes."""
        config = CAEConfig(
            **{"autoencoder_epochs": 20, "autoencoder_batch": 20, "autoencoder_rate": learning_rate},
            **{"channels": (4, 4, 4), "size_px": 8},
        )
        with bpr.seeded(0):
            codes = np.hstack([autoencoder_codes(pixels, config, 0), np.ones((200, 1))])
        rebuilt = codes @ np.linalg.lstsq(codes, flat, rcond=None)[0]
        return np.square(flat - rebuilt).sum() / np.square(flat - flat.mean(axis=0)).sum()

    assert share_lost(0.01) < share_lost(0.0) / 4
