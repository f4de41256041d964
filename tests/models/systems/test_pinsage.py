"""PinSage."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch import nn

from models.community import Community
from models.settings.pinsage import PinSageConfig
from models.sparse import unit_row_sums
from models.systems.pinsage import Network, PinSage, count_visits, draw, graph_of, max_margin, ranks, train
from tests.models.systems.contract import NUM_IMAGES, NUM_USERS, SystemContract, two_tastes

SMALL = {"d": 16, "hidden": 16, "T": 5, "walks": 50, "epochs": 15, "batch_favorites": 128, "negatives": 40}


class TestPinSage(SystemContract):
    system = "pinsage"
    settings = SMALL


def test_a_walker_takes_any_relation_of_a_node_with_equal_chance() -> None:
    graph = graph_of(two_tastes().without("tags", "groups", "contacts"))
    community = two_tastes()
    assert graph.shape == (NUM_IMAGES + NUM_USERS,) * 2
    step = graph[[7]].toarray()[0]
    favored = community.favorites_UI.toarray()[:, 7] > 0
    expected = favored / favored.sum()
    expected[community.owner_I[7]] += 1
    np.testing.assert_allclose(step[NUM_IMAGES:], expected)
    assert not step[:NUM_IMAGES].any()


def test_visits_follow_the_chances_of_the_graph() -> None:
    # Images 0, 1 and 2, then users 3 and 4: user 3 likes 0 and 1, user 4 likes all.
    graph = graph_of(Community(csr_array(np.array([[1, 1, 0], [1, 1, 1]], np.float32))))
    config = PinSageConfig(walks=40_000, steps=2, restart=0.0)
    visits = count_visits(graph, np.arange(3), 3, config, np.random.default_rng(0)).toarray() / config.walks
    two_steps = (graph @ graph).toarray()[:3, :3]
    np.testing.assert_allclose(visits, two_steps * (1 - np.eye(3)), atol=0.01)


def test_a_node_without_edges_visits_nothing() -> None:
    visits = count_visits(csr_array((3, 3)), np.arange(3), 3, PinSageConfig(), np.random.default_rng(0))
    assert visits.shape == (3, 3)
    assert visits.nnz == 0


def test_the_largest_entry_of_a_row_has_rank_0() -> None:
    visits = csr_array(np.array([[3, 0, 9, 3, 1], [0, 0, 0, 0, 0], [0, 2, 0, 0, 0]], np.float32))
    assert ranks(visits, 0, 2).toarray().tolist() == [[3, 0, 9, 0, 0], [0] * 5, [0, 2, 0, 0, 0]]
    assert ranks(visits, 2, 9).toarray().tolist() == [[0, 0, 0, 3, 1], [0] * 5, [0] * 5]


def test_samples_are_entries_of_the_row_and_an_empty_row_is_marked() -> None:
    bags = csr_array(np.array([[0, 5, 0, 1], [0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]], np.float32))
    columns, has = draw(bags, np.array([0, 1, 2, 3]), 100, np.random.default_rng(0))
    assert has.tolist() == [True, False, True, False]
    assert set(columns[0].tolist()) == {1, 3}
    assert set(columns[2].tolist()) == {2}


def test_the_loss_is_the_mean_hinge_over_the_negatives_that_count() -> None:
    rng = np.random.default_rng(0)
    users, positives, shared, hard = (
        rng.normal(size=shape).astype(np.float32) for shape in ((3, 4), (3, 4), (5, 4), (3, 2, 4))
    )
    counts = rng.random((3, 7)) < 0.6
    hinges = [
        max(0.0, float(users[p] @ negative - users[p] @ positives[p]) + 0.3)
        for p in range(3)
        for n, negative in enumerate([*shared, *hard[p]])
        if counts[p, n]
    ]
    arguments = (torch.from_numpy(array) for array in (users, positives, shared, hard, counts.astype(np.float32)))
    assert float(max_margin(*arguments, margin=0.3)) == pytest.approx(np.mean(hinges), rel=1e-5)


def test_an_embedding_is_that_of_algorithm_2_whatever_other_images_are_embedded() -> None:
    rng = np.random.default_rng(0)
    neighbors_II = unit_row_sums(ranks(csr_array(rng.integers(0, 3, (12, 12)).astype(np.float32)), 0, 3))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(rng.normal(size=(12, 5)).astype(np.float32), neighbors_II, PinSageConfig(d=4, hidden=6))
    network = network.requires_grad_(False)

    def layer(linear: nn.Linear, x: np.ndarray) -> np.ndarray:
        return np.asarray(linear.weight @ torch.from_numpy(x) + (0 if linear.bias is None else linear.bias))

    def h(image: int, depth: int) -> np.ndarray:
        if not depth:
            return network.input_Ih[image].numpy()
        convolution = network.convolutions[depth - 1]
        weights = neighbors_II[[image]]
        pooled = np.zeros(6, np.float32)
        for weight, neighbor in zip(weights.data, weights.indices, strict=True):
            pooled += weight * np.maximum(layer(convolution.Q, h(neighbor, depth - 1)), 0)
        next_ = np.maximum(layer(convolution.W, np.concatenate([h(image, depth - 1), pooled])), 0)
        return next_ / max(np.linalg.norm(next_), 1e-12)

    for images in ([7], [0, 3, 7], list(range(12))):
        expected = [layer(network.G2, np.maximum(layer(network.G1, h(image, 2)), 0)) for image in images]
        np.testing.assert_allclose(network(np.array(images)).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_an_image_without_favorites_is_scored_by_its_content_and_its_neighbors() -> None:
    community = two_tastes()
    favorites = community.favorites_UI.toarray()
    favorites[:, [20, 50]] = 0  # one red, one blue
    system = PinSage(PinSageConfig(**SMALL))
    system.fit(replace(community, favorites_UI=csr_array(favorites)))
    scores = system.score(np.array([0, 23]))
    assert scores[0, 20] > scores[0, 50]
    assert scores[1, 50] > scores[1, 20]


def test_a_user_without_favorites_gets_what_the_contacts_like() -> None:
    community = two_tastes()
    favorites = community.favorites_UI.toarray()
    favorites[0] = 0
    system = PinSage(PinSageConfig(**SMALL))
    system.fit(replace(community, favorites_UI=csr_array(favorites)))
    scores = system.score(np.array([0]))[0]
    assert scores[:30].mean() > scores[30:].mean()


def test_an_image_without_favorites_content_and_neighbors_is_not_scored() -> None:
    favorites = two_tastes().favorites_UI.toarray()
    favorites[:, 20] = 0
    system = PinSage(PinSageConfig(**SMALL))
    system.fit(Community(csr_array(favorites)))
    assert np.flatnonzero(~np.isfinite(system.score(np.array([0]))[0])).tolist() == [20]


def test_a_favorite_is_never_compared_with_itself_as_the_user() -> None:
    """Users with one favorite have no other to be the mean of: they teach nothing."""
    each_one = csr_array(np.eye(NUM_USERS, NUM_IMAGES, dtype=np.float32))
    config = PinSageConfig(**SMALL)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inputs_If = torch.randn(NUM_IMAGES, 5).numpy()
        network = Network(inputs_If, csr_array((NUM_IMAGES, NUM_IMAGES), dtype=np.float32), config)
    before = [weight.detach().clone() for weight in network.parameters()]
    train(network, each_one, csr_array(each_one.shape), config, np.random.default_rng(0))
    assert all(torch.equal(now, then) for now, then in zip(network.parameters(), before, strict=True))

    train(network, two_tastes().favorites_UI, csr_array(each_one.shape), config, np.random.default_rng(0))
    assert not torch.equal(network.G2.weight, before[-1])
