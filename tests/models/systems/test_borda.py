"""The Borda count family."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.community import Community
from models.content import metric_learning
from models.settings.metric_learning import MapConfig
from models.systems.base import SYSTEMS
from models.systems.borda import borda_points, no_common_favoriter
from tests.models.systems.contract import NUM_USERS, SystemContract, two_tastes


def fitted(name: str, community: Community, **settings: Any) -> Any:
    system = SYSTEMS[name](SYSTEMS[name].Config(**settings))
    system.fit(community)
    return system


class TestBordaBow(SystemContract):
    system = "borda_bow"
    settings = {"num_words": 16, "color_weight": 1.0}  # the two tastes differ in color alone

    def test_images_without_a_picture_are_never_listed_and_have_no_vote(self) -> None:
        community = two_tastes()
        assert community.pixels is not None
        has_I = np.arange(community.num_images) % 3 > 0
        scores = fitted("borda_bow", replace(community, pixels=replace(community.pixels, has_I=has_I))).score(
            np.arange(NUM_USERS)
        )
        np.testing.assert_array_equal(np.isneginf(scores), np.broadcast_to(~has_I, scores.shape))


class TestBordaImageNet(SystemContract):
    system = "borda_imagenet"

    def test_scores_are_those_of_a_plain_count(self) -> None:
        community = two_tastes()
        features_If = np.round(community.features_If * 8).astype(np.float32)
        features_If[20:23] = features_If[23]  # equally far from everything
        features_If[50] = 0  # has none
        system = fitted("borda_imagenet", replace(community, features_If=features_If), unit_length=False)
        usable = [image for image in range(community.num_images) if image != 50]
        for user in (0, 3, NUM_USERS - 1):
            expected = dict.fromkeys(usable, 0.0)
            for favorite in community.favorites_UI[[user]].indices:
                if favorite == 50:
                    continue
                distance = {
                    i: float(((system.images_Id[i] - 0.0 - system.images_Id[favorite]) ** 2).sum()) for i in usable
                }
                for image in usable:
                    further = sum(distance[other] > distance[image] for other in usable)
                    as_far = sum(distance[other] == distance[image] for other in usable) - 1
                    expected[image] += further + as_far / 2
            scores_I = system.score(np.array([user]))[0]
            np.testing.assert_array_equal(scores_I[usable], np.array(list(expected.values()), np.float32))
            assert np.isneginf(scores_I[50])

    def test_scores_do_not_depend_on_the_other_users(self) -> None:
        rng = np.random.default_rng(0)
        community = two_tastes()
        features_If = rng.normal(size=(community.num_images, 301)).astype(np.float32)
        features_If[30:] = features_If[:30] * (1 + 1e-7 * rng.random((30, 1), dtype=np.float32))  # all but equal
        system = fitted("borda_imagenet", replace(community, features_If=features_If), unit_length=False)
        together = system.score(np.arange(NUM_USERS))
        for user in range(NUM_USERS):
            np.testing.assert_array_equal(system.score(np.array([user]))[0], together[user])

    def test_a_user_without_favorites_gets_zeros(self) -> None:
        community = two_tastes()
        nobody = csr_array(community.favorites_UI.shape, dtype=np.float32)
        scores = fitted("borda_imagenet", replace(community, favorites_UI=nobody, favorited_at_UI=None)).score(
            np.arange(3)
        )
        np.testing.assert_array_equal(scores, np.zeros_like(scores))


class TestBordaLMNN(SystemContract):
    system = "borda_lmnn"
    settings = {"dimensions": 8, "epochs": 3}


class TestBordaSocialLMNN(SystemContract):
    system = "borda_social_lmnn"
    settings = {"dimensions": 8, "epochs": 3}


class TestBordaSIDL(SystemContract):
    system = "borda_sidl"
    settings = {"dimensions": 8, "epochs": 3}


LEARNED = ("borda_lmnn", "borda_social_lmnn", "borda_sidl")


@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_metric_finds_the_one_direction_that_favorites_follow(name: str) -> None:
    community = two_tastes()
    assert community.features_If is not None
    noise_If = np.random.default_rng(1).normal(0, 2, (community.num_images, 8)).astype(np.float32)
    noise_If[:, 0] = community.features_If[:, 0]  # taste, and seven louder directions that say nothing
    noisy = replace(community, features_If=noise_If).without("contacts", "groups", "tags")
    red = np.arange(community.num_images) < community.num_images // 2

    def share_of_red(system: Any) -> float:
        red_users = np.arange(NUM_USERS // 2)
        best = np.argsort(-system.score(red_users), axis=1)[:, : red.sum()]
        return float(red[best].mean())

    learned = share_of_red(fitted(name, noisy, epochs=150, learning_rate=0.01))
    assert learned > 0.9
    assert learned > share_of_red(fitted("borda_imagenet", noisy)) + 0.1


@pytest.mark.parametrize("name", LEARNED)
def test_a_metric_is_learned_without_favorites_and_without_some_features(name: str) -> None:
    community = two_tastes()
    assert community.features_If is not None
    features_If = community.features_If.copy()
    features_If[::4] = 0
    nobody = csr_array(community.favorites_UI.shape, dtype=np.float32)
    bare = Community(favorites_UI=nobody, features_If=features_If)
    scores = fitted(name, bare, epochs=1).score(np.arange(2))
    np.testing.assert_array_equal(scores[:, ::4], -np.inf)
    assert (scores[:, 1::4] == 0).all()
    scores = fitted(name, replace(community, features_If=features_If), epochs=1).score(np.arange(2))
    np.testing.assert_array_equal(np.isneginf(scores), np.broadcast_to(~features_If.any(axis=1), scores.shape))


def test_equally_far_images_share_their_points() -> None:
    images = torch.tensor([[0.0], [1.0], [-1.0], [3.0]], dtype=torch.float64)
    np.testing.assert_array_equal(
        borda_points(images, images[:, 0] ** 2, np.array([0, 3])), [[3, 1.5, 1.5, 0], [1, 2, 0, 3]]
    )


def test_social_similarity_is_the_mean_cosine_over_the_available_signals() -> None:
    favorites_UI = csr_array(np.array([[1, 1, 0], [0, 1, 1]], np.float32))
    tags_IT = csr_array(np.array([[1, 0], [1, 0], [0, 1]], np.float32))
    keys_IK = metric_learning.social_keys(Community(favorites_UI=favorites_UI, image_tags_IT=tags_IT))
    # Image 0 has one favoriter, image 1 both, equally rare; both have the one tag.
    similarity = metric_learning.similarity(keys_IK, np.array([0, 0, 0]), np.array([0, 1, 2]))
    np.testing.assert_allclose(similarity, [1, (np.sqrt(0.5) + 1) / 2, 0], rtol=1e-6)


def test_images_favored_by_contacts_or_members_of_one_group_are_similar() -> None:
    favorites_UI = csr_array(np.eye(3, dtype=np.float32))
    contacts_UU = csr_array(np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]], np.float32))  # user 0 follows user 1
    groups_UG = csr_array(np.array([[0], [1], [1]], np.float32))
    keys_IK = metric_learning.social_keys(
        Community(favorites_UI=favorites_UI, contacts_UU=contacts_UU, memberships_UG=groups_UG)
    )
    followed, joined, neither = metric_learning.similarity(keys_IK, np.array([0, 1, 0]), np.array([1, 2, 2]))
    assert followed > 0
    assert joined > 0
    assert neither == 0


def test_targets_share_a_favoriter_and_are_the_nearest_such_images() -> None:
    rng = np.random.default_rng(0)
    likes_UI = np.repeat(np.eye(2, dtype=np.float32), 6, axis=1)  # two users, six images each
    likes_UI = np.hstack([likes_UI, np.zeros((2, 1), np.float32)])  # and one that nobody favors
    features_If = rng.normal(size=(13, 3)).astype(np.float32)
    keys_IU = metric_learning.favoriters(Community(favorites_UI=csr_array(likes_UI)))
    usable_I = np.arange(13) != 4
    config = MapConfig(num_targets=2, candidates=200)
    targets = metric_learning.draw_targets(keys_IU, usable_I, features_If, config, seed=0)
    np.testing.assert_array_equal(targets.anchors_N, [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11])
    for anchor, chosen in zip(targets.anchors_N, targets.targets_Nt, strict=True):
        others = [i for i in range(12) if i // 6 == anchor // 6 and i not in (anchor, 4)]
        distances = ((features_If[others] - features_If[anchor]) ** 2).sum(axis=1)
        assert set(chosen.tolist()) == {others[i] for i in np.argsort(distances)[:2]}


def test_impostors_are_images_that_share_no_favoriter() -> None:
    margin_btb = no_common_favoriter(torch.ones(2, 1), torch.tensor([[1.0, 0.0], [0.1, 1.0]]))
    torch.testing.assert_close(margin_btb, torch.tensor([[[0.0, 1.0]], [[0.0, 0.0]]]))


def test_the_loss_is_that_of_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    target_bt, distance_bb, margin_btb = (
        torch.rand(shape, generator=generator) for shape in ((4, 2), (4, 4), (4, 2, 4))
    )
    margin_btb[margin_btb < 0.5] = 0
    expected = 0.0
    for i in range(4):
        for j in range(2):
            expected += 0.3 * target_bt[i, j].item()
            for other in range(4):
                if margin_btb[i, j, other] > 0:
                    expected += 0.7 * max(0, (margin_btb[i, j, other] + target_bt[i, j] - distance_bb[i, other]).item())
    loss = metric_learning.large_margin_loss(target_bt, distance_bb, margin_btb, pull=0.3)
    assert loss.item() == pytest.approx(expected / 8)
