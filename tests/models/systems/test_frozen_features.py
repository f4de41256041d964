"""Inception and CAE: one trained layer over frozen features."""

import pytest

from models.systems.frozen_features import CAEConfig
from tests.models.systems.contract import SystemContract


class TestInception(SystemContract):
    system = "inception"


class TestCAE(SystemContract):
    system = "cae"


def test_a_side_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(ValueError, match="size_px 40 is no multiple of 16"):
        CAEConfig(size_px=40)
