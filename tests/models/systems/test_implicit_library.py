"""ALS and BPR of the library implicit."""

import sys

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.community import Community
from models.settings.implicit_library import ALSConfig
from models.settings.implicit_library import BPRConfig as LibraryBPRConfig
from models.systems.base import SYSTEMS
from models.systems.implicit_library import ALS, BPR
from tests.models.systems.contract import SystemContract, two_tastes


class TestALS(SystemContract):
    system = "als"
    settings = {"factors": 8, "regularization": 1.0}

    def test_its_factors_minimise_the_weighted_squares(self) -> None:
        community = two_tastes()
        system = ALS(ALSConfig(factors=3, alpha=4.0, regularization=2.0, iterations=200, intercept=False))
        system.fit(community)
        users, images, _ = system.fitted
        likes = community.favorites_UI.toarray()
        for user in (0, 13):  # for fixed images a user's vector is the solution of the normal equations
            weights = np.where(likes[user] > 0, 4.0, 1.0)
            normal = (images.T * weights) @ images + 2.0 * np.eye(3)
            np.testing.assert_allclose(
                users[user], np.linalg.solve(normal, images.T @ (weights * likes[user])), atol=1e-3
            )

    def test_a_user_without_favorites_gets_the_popular_images(self) -> None:
        likes_UI = np.random.default_rng(0).random((40, 30)) < np.linspace(0.05, 0.9, 30)
        likes_UI[0] = False
        community = Community(favorites_UI=csr_array(likes_UI.astype(np.float32)))
        system = ALS()
        system.fit(community)
        best = np.argsort(-system.score(np.array([0]))[0])[:10]
        assert community.popularity_I[best].min() > np.median(community.popularity_I)


class TestBPR(SystemContract):
    system = "bpr"
    settings = {"factors": 8, "iterations": 60}

    def test_the_logarithm_of_popularity_is_added(self) -> None:
        community, everybody = two_tastes(), np.arange(24)
        without, whole = (BPR(LibraryBPRConfig(factors=4, iterations=5, popular=p)) for p in (0.0, 1.0))
        for system in (without, whole):
            system.fit(community)
        added = whole.score(everybody) - without.score(everybody)
        expected = np.log(community.popularity_I)
        np.testing.assert_allclose(added, np.broadcast_to(expected, added.shape), atol=1e-5)

    def test_its_users_share_the_bias_of_images(self) -> None:
        system = SYSTEMS["bpr"](seed=1)
        system.fit(two_tastes())
        assert (system.fitted.users_Ud[:, -1] == 1).all()


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("implicit", "implicit.cpu", "implicit.cpu.als"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"tastegraph\[implicit\]"):
        ALS().fit(two_tastes())
