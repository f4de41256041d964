"""ALS and BPR of the library implicit."""

import sys

import numpy as np
import pytest

from models.systems.base import SYSTEMS
from models.systems.implicit_library import ALS, ALSConfig
from tests.models.systems.contract import SystemContract, two_tastes


class TestALS(SystemContract):
    system = "als"
    settings = {"factors": 8, "regularization": 1.0}

    def test_its_factors_minimise_the_weighted_squares(self) -> None:
        community = two_tastes()
        system = ALS(ALSConfig(factors=3, alpha=4.0, regularization=2.0, iterations=200))
        system.fit(community)
        users, images, _ = system.fitted
        likes = community.favorites_UI.toarray()
        for user in (0, 13):  # for fixed images a user's vector is the solution of the normal equations
            weights = np.where(likes[user] > 0, 4.0, 1.0)
            normal = (images.T * weights) @ images + 2.0 * np.eye(3)
            np.testing.assert_allclose(
                users[user], np.linalg.solve(normal, images.T @ (weights * likes[user])), atol=1e-3
            )


class TestBPR(SystemContract):
    system = "bpr"
    settings = {"factors": 8, "iterations": 60}

    def test_its_users_share_the_bias_of_images(self) -> None:
        system = SYSTEMS["bpr"](seed=1)
        system.fit(two_tastes())
        assert (system.fitted.users_Ud[:, -1] == 1).all()


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("implicit", "implicit.cpu", "implicit.cpu.als"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"tastegraph\[implicit\]"):
        ALS().fit(two_tastes())
