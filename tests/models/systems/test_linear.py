"""Linear models of the favorites alone."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.community import Community
from models.settings.linear import EASEConfig, ItemKNNConfig
from models.systems.linear import EASE, ItemKNN, nearest
from tests.models.systems.contract import SystemContract, two_tastes


def random_favorites(num_users: int, num_images: int) -> Community:
    """Some favorites; the first user has none, and nobody favors the last image."""
    likes_UI = np.random.default_rng(0).random((num_users, num_images)) < 0.2
    likes_UI[0] = likes_UI[:, -1] = False
    return Community(favorites_UI=csr_array(likes_UI.astype(np.float32)))


class TestItemKNN(SystemContract):
    system = "itemknn"

    @pytest.mark.parametrize(
        ("shrinkage", "popular", "crowd"), [(0.0, 0.5, 0.0), (3.0, 0.5, 0.0), (0.0, 0.25, 1.0), (2.0, 0.1, 0.5)]
    )
    def test_neighbours_are_those_of_the_textbook(self, shrinkage: float, popular: float, crowd: float) -> None:
        likes_UI = random_favorites(30, 12).favorites_UI
        config = ItemKNNConfig(neighbours=4, shrinkage=shrinkage, popular=popular, crowd=crowd)
        kept_II = nearest(likes_UI, config).toarray()
        liked_by = [set(np.flatnonzero(column)) for column in likes_UI.toarray().T]
        counts_U = np.diff(likes_UI.indptr).tolist()

        def weight(users: set[int]) -> float:
            return sum(counts_U[user] ** -crowd for user in users)

        for j, users_j in enumerate(liked_by):
            near = {
                i: weight(users_j & users_i) / (weight(users_j) ** 0.5 * weight(users_i) ** popular + shrinkage)
                for i, users_i in enumerate(liked_by)
                if i != j and users_j & users_i
            }
            best = sorted(near, key=lambda i: (-round(near[i], 12), i))[:4]
            expected = {i: near[i] for i in best}
            assert {int(i): kept_II[j, i] for i in np.flatnonzero(kept_II[j])} == pytest.approx(expected)

    def test_blocks_of_images_do_not_change_the_neighbours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        likes_UI, config = random_favorites(30, 50).favorites_UI, ItemKNNConfig(neighbours=5)
        whole = nearest(likes_UI, config).toarray()
        monkeypatch.setattr("models.systems.linear.BLOCK_CELLS", 350)
        np.testing.assert_array_equal(nearest(likes_UI, config).toarray(), whole)

    def test_a_score_is_the_sum_over_the_users_favorites(self) -> None:
        community = random_favorites(30, 12)
        system = ItemKNN(ItemKNNConfig(neighbours=4))
        system.fit(community)
        kept_II = nearest(community.favorites_UI, system.config).toarray()
        expected = sum(kept_II[j] for j in community.favorites_UI[[7]].indices)
        np.testing.assert_allclose(system.score(np.array([7]))[0, :-1], expected[:-1], rtol=1e-6)

    def test_an_image_without_favorites_is_never_listed(self) -> None:
        system = ItemKNN()
        system.fit(random_favorites(30, 12))
        assert np.isneginf(system.score(np.arange(30))[:, -1]).all()


class TestEASE(SystemContract):
    system = "ease"

    @pytest.mark.parametrize("intercept", [0.0, 0.7])
    @pytest.mark.parametrize("shape", [(9, 30), (30, 9)], ids=["fewer users", "fewer images"])
    def test_unseen_images_score_as_in_the_textbook(self, shape: tuple[int, int], intercept: float) -> None:
        community = random_favorites(*shape)
        X = community.favorites_UI.toarray().astype(np.float64)
        added = np.column_stack([X, np.full(len(X), intercept)])
        P = np.linalg.inv(added.T @ added + 5 * np.eye(shape[1] + 1))
        B = np.where(np.eye(shape[1] + 1), 0, -P / np.diag(P))
        system = EASE(EASEConfig(ridge=5.0, intercept=intercept))
        system.fit(community)
        unseen = (X == 0) & X.any(axis=0)
        expected = (added @ B)[:, :-1]
        np.testing.assert_allclose(system.score(np.arange(shape[0]))[unseen], expected[unseen], rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("shape", [(9, 30), (30, 9)], ids=["fewer users", "fewer images"])
    def test_a_user_without_favorites_gets_the_popular_images(self, shape: tuple[int, int]) -> None:
        community = random_favorites(*shape)
        system = EASE()
        system.fit(community)
        best = np.argmax(system.score(np.array([0]))[0])
        assert community.popularity_I[best] == community.popularity_I.max()

    def test_the_smaller_side_decides_whether_it_has_vectors(self) -> None:
        for shape, has_vectors in (((9, 30), True), ((30, 9), False)):
            system = EASE()
            system.fit(random_favorites(*shape))
            assert (system.vectors is not None) == has_vectors

    def test_with_many_users_it_ranks_without_vectors(self, monkeypatch: pytest.MonkeyPatch) -> None:
        system = EASE()
        system.fit(random_favorites(9, 30))
        monkeypatch.setattr("models.systems.linear.VECTOR_DIMENSIONS", 8)
        assert system.vectors is None

    def test_with_fewer_images_than_users_it_is_restored_too(self) -> None:
        system, restored = EASE(), EASE()
        system.fit(random_favorites(30, 9))
        restored.restore(system.state())
        np.testing.assert_array_equal(restored.score(np.arange(30)), system.score(np.arange(30)))

    def test_a_community_too_large_to_invert_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"24 users and 60 images.*matrix_gib 1e-06"):
            EASE(EASEConfig(matrix_gib=1e-6)).fit(two_tastes())

    def test_without_favorites_no_image_is_scored(self) -> None:
        nobody = replace(two_tastes(), favorites_UI=csr_array((24, 60), dtype=np.float32))
        system = EASE()
        system.fit(nobody)
        assert np.isneginf(system.score(np.array([0]))).all()
