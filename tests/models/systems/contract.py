"""The contract of every system: subclass `SystemContract` in the system's test file."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.community import Community, Pixels
from models.settings.names import configure
from models.systems.base import SYSTEMS, System

NUM_USERS, NUM_IMAGES, SIZE_PX = 24, 60, 32  # the first half of each is red, the other blue
# Users and images of communities that hardly are any, and whether they have favorites.
EDGES = {
    "no favorites": (NUM_USERS, NUM_IMAGES, False),
    "no users": (0, NUM_IMAGES, False),
    "no images": (NUM_USERS, 0, False),
    "one user": (1, NUM_IMAGES, True),
    "one image": (NUM_USERS, 1, True),
    "one user and one image": (1, 1, True),
    "neither users nor images": (0, 0, False),
}
WITHHELD_USER, WITHHELD_IMAGE = 3, 7  # both red


def two_tastes(seed: int = 0) -> Community:
    """Red users like red images, blue users blue ones; so do tags, titles, contacts, groups, owners and pixels.

    One favorite of a red user is withheld: the only red image that this user does not favor and all other red users do,
    so that every sensible system ranks it first among the images that the user has not seen.
    """
    rng = np.random.default_rng(seed)
    user_is_blue, image_is_blue = np.arange(NUM_USERS) >= NUM_USERS // 2, np.arange(NUM_IMAGES) >= NUM_IMAGES // 2
    likes_UI = (user_is_blue[:, None] == image_is_blue) & (rng.random((NUM_USERS, NUM_IMAGES)) < 0.6)
    likes_UI[~user_is_blue, WITHHELD_IMAGE] = True
    # the user has seen every other red image, so that the withheld one competes with blue ones alone
    likes_UI[WITHHELD_USER] = ~image_is_blue
    likes_UI[WITHHELD_USER, WITHHELD_IMAGE] = False
    favorites_UI = csr_array(likes_UI.astype(np.float32))
    times_UI = favorites_UI.astype(np.float64)
    times_UI.data = rng.integers(1, 10_000, times_UI.nnz).astype(np.float64)
    pixels = rng.integers(0, 90, (NUM_IMAGES, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    pixels[~image_is_blue, ..., 0] += 150
    pixels[image_is_blue, ..., 2] += 150
    features = rng.normal(0, 0.3, (NUM_IMAGES, 16)).astype(np.float32)
    features[:, 0] += np.where(image_is_blue, 1, -1)
    user_tags = _either(user_is_blue, rng.integers(1, 4, (NUM_USERS, 8)))
    image_tags = _either(image_is_blue, rng.random((NUM_IMAGES, 8)) < 0.7)
    following = (user_is_blue[:, None] == user_is_blue) & (rng.random((NUM_USERS, NUM_USERS)) < 0.3)
    np.fill_diagonal(following, False)
    half = np.where(image_is_blue, NUM_USERS // 2, 0)
    return Community(
        favorites_UI=favorites_UI,
        favorited_at_UI=times_UI,
        user_tags_UT=user_tags,
        image_tags_IT=image_tags,
        words_IW=_either(image_is_blue, np.ones((NUM_IMAGES, 4))),
        contacts_UU=csr_array(following.astype(np.float32)),
        memberships_UG=_either(user_is_blue, np.ones((NUM_USERS, 2))),
        owner_I=half + rng.integers(0, NUM_USERS // 2, NUM_IMAGES),
        features_If=features,
        pixels=Pixels(SIZE_PX, np.ones(NUM_IMAGES, bool), lambda rows: pixels[rows]),
        profiles_UC=_unit(user_tags),
        image_bags_IC=_unit(image_tags),
        interests_UT=user_tags,
        image_labels_IT=image_tags,
    )


class SystemContract:
    """The contract. `system` is the name of the system; `settings` of its Config make it small."""

    system: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}
    learns: ClassVar[bool] = True  # whether it separates tastes; random and popularity do not

    @pytest.fixture(scope="class")
    @classmethod
    def community(cls) -> Community:
        return two_tastes()

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, community: Community) -> System[Any]:
        return cls._fit(community)

    @classmethod
    def _fit(cls, community: Community, seed: int = 0) -> System[Any]:
        system_type = SYSTEMS[cls.system]
        system = system_type(configure(system_type.Config, cls.settings), seed=seed)
        system.fit(community)
        return system

    def test_a_withheld_favorite_of_a_clear_taste_comes_first(self, fitted: System[Any], community: Community) -> None:
        if not self.learns:
            pytest.skip(f"{self.system} is a baseline without tastes")
        scores_I = fitted.score(np.array([WITHHELD_USER]))[0]
        scores_I[community.favorites_UI[[WITHHELD_USER]].indices] = -np.inf
        assert int(np.argmax(scores_I)) == WITHHELD_IMAGE

    def test_a_user_scores_the_same_alone_and_in_a_batch(self, fitted: System[Any]) -> None:
        together = fitted.score(np.arange(NUM_USERS))
        assert together.shape == (NUM_USERS, NUM_IMAGES)
        assert together.dtype == np.float32
        for user in (0, WITHHELD_USER, NUM_USERS - 1):
            np.testing.assert_allclose(fitted.score(np.array([user]))[0], together[user], rtol=1e-4, atol=1e-5)

    def test_every_image_is_scored_where_each_has_favorites_and_every_signal(self, fitted: System[Any]) -> None:
        assert np.isfinite(fitted.score(np.arange(NUM_USERS))).all()

    @pytest.mark.parametrize("bare", [False, True], ids=["every signal", "favorites alone"])
    @pytest.mark.parametrize("edge", EDGES)
    def test_a_community_that_hardly_is_one_gets_scores_or_is_said_to_lack_a_signal(
        self, edge: str, bare: bool, community: Community
    ) -> None:
        num_users, num_images, has_favorites = EDGES[edge]
        part = part_of(community, num_users, num_images, has_favorites)
        part = Community(part.favorites_UI) if bare else part
        system_type = SYSTEMS[self.system]
        if system_type(configure(system_type.Config, self.settings)).lacking(part):
            return  # the stage that fits names the signals and stops
        scores = self._fit(part).score(np.arange(num_users))
        assert scores.shape == (num_users, num_images)
        assert np.isfinite(scores[:, part.popularity_I > 0]).all()
        assert not np.isnan(scores).any()
        assert not np.isposinf(scores).any()

    def test_the_same_seed_gives_the_same_scores(self, fitted: System[Any], community: Community) -> None:
        again = self._fit(community).score(np.arange(NUM_USERS))
        np.testing.assert_array_equal(again, fitted.score(np.arange(NUM_USERS)))

    def test_a_restored_system_scores_as_the_saved_one(self, fitted: System[Any]) -> None:
        state = fitted.state()
        assert all(isinstance(value, np.ndarray) and value.dtype != object for value in state.values())
        system_type = SYSTEMS[self.system]
        restored = system_type(configure(system_type.Config, self.settings))
        restored.restore({name: value.copy() for name, value in state.items()})
        everybody = np.arange(NUM_USERS)
        np.testing.assert_array_equal(restored.score(everybody), fitted.score(everybody))

    def test_the_vectors_multiply_to_the_scores_or_there_are_none(self, fitted: System[Any]) -> None:
        if fitted.vectors is None:
            return
        users, images, usable = fitted.vectors
        scores = fitted.score(np.arange(NUM_USERS))
        np.testing.assert_allclose((users @ images.T)[:, usable], scores[:, usable], rtol=1e-4, atol=1e-5)
        assert np.isneginf(scores[:, ~usable]).all()

    def test_a_user_without_any_favorite_gets_scores_too(self, community: Community) -> None:
        without = community.favorites_UI.copy()
        without.data[without.indptr[0] : without.indptr[1]] = 0
        without.eliminate_zeros()
        times = community.favorited_at_UI.multiply(without).tocsr() if community.favorited_at_UI is not None else None
        scores = self._fit(two_tastes_with(community, without, times)).score(np.array([0]))
        assert np.isfinite(scores).all()

    def test_values_of_the_grid_are_settings_of_the_system(self) -> None:
        system_type = SYSTEMS[self.system]
        for name, values in system_type.grid.items():
            for value in values:
                configure(system_type.Config, {**self.settings, name: value})


def two_tastes_with(community: Community, favorites_UI: csr_array, times_UI: csr_array | None) -> Community:
    """The community with other favorites."""
    return replace(community, favorites_UI=favorites_UI, favorited_at_UI=times_UI)


def part_of(community: Community, num_users: int, num_images: int, has_favorites: bool = True) -> Community:
    """The first users and images of a community, with or without their favorites."""
    users, images, pixels = slice(num_users), slice(num_images), community.pixels
    favorites_UI = csr_array(community.favorites_UI[users, images])
    if not has_favorites:
        favorites_UI = csr_array(favorites_UI.shape, dtype=np.float32)
    rows = {
        "user_tags_UT": users,
        "image_tags_IT": images,
        "words_IW": images,
        "memberships_UG": users,
        "profiles_UC": users,
        "image_bags_IC": images,
        "interests_UT": users,
        "image_labels_IT": images,
    }
    return replace(
        community,
        favorites_UI=favorites_UI,
        favorited_at_UI=csr_array(favorites_UI.astype(np.float64).multiply(community.favorited_at_UI[users, images])),
        contacts_UU=csr_array(community.contacts_UU[users, users]),
        owner_I=np.where(community.owner_I[images] < num_users, community.owner_I[images], -1),
        features_If=None if community.features_If is None else community.features_If[images],
        pixels=None if pixels is None else replace(pixels, has_I=pixels.has_I[images]),
        **{name: csr_array(getattr(community, name)[kept]) for name, kept in rows.items()},
    )


def _either(is_blue: np.ndarray, values: np.ndarray) -> csr_array:
    """The values, kept in the first half of the columns for red rows and in the other half for blue ones."""
    first_half = np.arange(values.shape[1]) < values.shape[1] // 2
    return csr_array(np.where(is_blue[:, None] != first_half, values, 0).astype(np.float32))


def _unit(matrix: csr_array) -> csr_array:
    norms = np.sqrt(matrix.multiply(matrix).sum(axis=1))
    scaled = matrix.copy()
    scaled.data = (matrix.data / np.repeat(np.where(norms > 0, norms, 1), np.diff(matrix.indptr))).astype(np.float32)
    return scaled
