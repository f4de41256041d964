"""The two towers and their sampled softmax."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.community import Community
from models.ensemble.experts.towers import Towers, TwoTowers, _Pairs, softmax_loss, train
from tests.models.systems.contract import NUM_IMAGES, NUM_USERS, two_tastes

SMALL = Towers(dimensions=16, steps=60, negatives=32)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_loss_is_the_cross_entropy_of_the_positive_among_the_negatives_that_count() -> None:
    users, positives, negatives = (torch.randn(rows, 5, generator=generator()) for rows in (3, 3, 4))
    correction = torch.tensor([0.0, 0.5, 1.0, 1.5])
    forbidden = (torch.tensor([0, 2]), torch.tensor([1, 3]))
    loss = softmax_loss(users, positives, negatives, torch.tensor(4.0), correction, forbidden).mean().item()

    def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
        return float(one @ other / (one.norm() * other.norm()))

    expected = []
    for row in range(3):
        positive = np.exp(4 * cosine(users[row], positives[row]))
        others = [
            np.exp(4 * cosine(users[row], negatives[column]) - float(correction[column]))
            for column in range(4)
            if (row, column) not in {(0, 1), (2, 3)}
        ]
        expected.append(-np.log(positive / (positive + sum(others))))
    assert loss == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("guard", [True, False])
def test_favorites_of_the_user_are_no_negatives_nor_under_the_guard_those_of_contacts(guard: bool) -> None:
    favorites = np.zeros((3, 6), np.float32)
    favorites[0, 0], favorites[1, 1], favorites[2, 2] = 1, 1, 1
    contacts = csr_array(np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]], np.float32))
    pairs = _Pairs(Community(csr_array(favorites), contacts_UU=contacts), replace(SMALL, guard=guard), generator())
    rows, columns = pairs.forbidden(torch.tensor([0, 2]), torch.tensor([2, 1, 0]))
    expected = {(0, 2), (1, 0)} | ({(0, 1)} if guard else set())
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == expected


def test_negatives_are_warm_images_and_sampled_as_often_as_their_log_q_says() -> None:
    favorites = np.zeros((40, 5), np.float32)
    favorites[:30, 0], favorites[30:, 1] = 1, 1
    pairs = _Pairs(Community(csr_array(favorites)), replace(SMALL, negatives=20_000), generator())
    sampled, log_q = pairs.draw_negatives(0.5)
    assert set(sampled.tolist()) == {0, 1}
    share = float((sampled == 0).float().mean())
    assert share == pytest.approx(0.5 * 0.75 + 0.5 * 0.5, abs=0.02)
    by_image = dict(zip(sampled.tolist(), log_q.exp().tolist(), strict=True))
    assert by_image[0] / by_image[1] == pytest.approx(share / (1 - share), rel=0.1)


def test_a_cold_image_has_no_id_and_is_ranked_by_its_signals() -> None:
    community = two_tastes()
    kept = community.favorites_UI.toarray()
    kept[:, [7, 40]] = 0  # red 7 and blue 40 become cold
    community = replace(community, favorites_UI=csr_array(kept))
    towers = TwoTowers(community, SMALL, generator())
    assert towers.has_id_V[NUM_USERS + 7] == 0
    assert towers.has_id_V.sum() == NUM_USERS + NUM_IMAGES - int((kept.sum(0) == 0).sum())
    expert = SMALL.fit(community, 0)
    assert expert is not None
    scores = expert.scores(np.array([3, NUM_USERS - 1]))
    assert scores[0, 7] > scores[0, 40]
    assert scores[1, 40] > scores[1, 7]


@pytest.mark.parametrize("learns", [True, False])
def test_the_same_seed_trains_the_same_towers_and_only_a_learned_temperature_moves(learns: bool) -> None:
    config = replace(SMALL, learns_temperature=learns)
    one, other = (list(train(two_tastes(), config, 3))[-1] for _ in range(2))
    assert torch.equal(one.ids_Vd, other.ids_Vd)
    assert (one.scale.item() != pytest.approx(1 / config.temperature, abs=1e-3)) == learns


def test_favorites_alone_are_enough() -> None:
    expert = SMALL.fit(Community(two_tastes().favorites_UI), 0)
    assert expert is not None
    scores = expert.scores(np.arange(NUM_USERS))
    is_own = (np.arange(NUM_USERS) < NUM_USERS // 2)[:, None] == (np.arange(NUM_IMAGES) < NUM_IMAGES // 2)
    assert scores[is_own].mean() > scores[~is_own].mean() + scores.std()


def test_without_any_favorite_there_are_no_towers() -> None:
    assert SMALL.fit(Community(csr_array((3, 4), dtype=np.float32)), 0) is None


def test_vectors_are_the_mean_of_ids_propagated_over_the_favorites_and_signals_are_added_before() -> None:
    favorites = np.zeros((3, 4), np.float32)
    favorites[0, 0], favorites[0, 1], favorites[1, 1], favorites[2, 2] = 1, 1, 1, 1
    groups = np.array([[1], [1], [0]], np.float32)
    community = Community(csr_array(favorites), memberships_UG=csr_array(groups))
    towers = TwoTowers(community, Towers(dimensions=5, layers=2, signals=2.0), generator())

    edges = np.zeros((7, 7))
    edges[:3, 3:] = favorites / np.sqrt(np.outer(favorites.sum(1), np.maximum(favorites.sum(0), 1)))
    edges += edges.T
    ids_Vd, weights_Sd = (weights.detach().numpy() for weights in (towers.ids_Vd, towers.weights_Sd))
    ego_Vd = ids_Vd * np.array([1, 1, 1, 1, 1, 1, 0])[:, None]
    ego_Vd[:3] += 2 * groups @ weights_Sd
    expected_Vd = (ego_Vd + edges @ ego_Vd + edges @ edges @ ego_Vd) / 3
    vectors_Vd = torch.cat(towers.vectors()).detach().numpy()
    np.testing.assert_allclose(vectors_Vd, expected_Vd, rtol=1e-4, atol=1e-5)


def test_a_large_community_trains_until_each_favorite_was_drawn_six_times() -> None:
    def num_steps(**settings: int) -> int:
        return len(list(train(two_tastes(), replace(SMALL, steps=2, batch_pairs=100, **settings), 0)))

    num_favorites = two_tastes().favorites_UI.nnz
    assert num_steps(min_epochs=0) == 2
    assert num_steps(min_epochs=6) == -(-6 * num_favorites // 100)


def test_a_very_large_community_takes_larger_batches_part_by_part_which_changes_no_step() -> None:
    community = two_tastes()
    size = -(-6 * int(community.favorites_UI.nnz) // 4)

    def trained(batch_pairs: int) -> list[torch.Tensor]:
        config = replace(SMALL, steps=2, max_steps=4, batch_pairs=batch_pairs)
        assert _Pairs(community, config, generator()).size == size
        return [towers.ids_Vd.detach().clone() for towers in train(community, config, 0)]

    by_parts, in_one = trained(size // 3), trained(size)
    assert len(by_parts) == len(in_one) == 4
    torch.testing.assert_close(by_parts[0], in_one[0], rtol=1e-4, atol=1e-5)
