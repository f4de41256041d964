"""Systems that tests of a comparison measure."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from models.systems.base import SYSTEMS, InnerProduct, vectors_of
from tests.tasks.evaluation.comparison import TasteConfig


@pytest.fixture
def taste() -> Iterator[type]:
    """A system that knows each user's and each image's half; the fewer wrong and the less noise, the better."""

    class Taste(InnerProduct[TasteConfig]):
        name = "taste"
        source = "this test"
        grid = {"wrong": (3, 1, 0), "noise": (0.5, 0.1, 0.0)}
        Config = TasteConfig
        fitted_with: list[TasteConfig] = []

        def fit(self, community: Any) -> None:
            Taste.fitted_with.append(self.config)
            rng = np.random.default_rng(self.seed)
            images = np.where(np.arange(60) < 30, 1, -1) + self.config.noise * rng.normal(size=60)
            users = np.where((np.arange(24) < 12) ^ (np.arange(24) % 12 < self.config.wrong), 1, -1)
            self.fitted = vectors_of(users[:, None], images[:, None])

    yield Taste
    SYSTEMS.pop("taste")
