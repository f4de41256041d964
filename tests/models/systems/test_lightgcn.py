"""LightGCN."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.community import Community
from models.propagation import Graph
from models.settings.lightgcn import LightGCNConfig
from models.systems.lightgcn import LightGCN, Triplets, bpr_loss, train
from tests.models.systems.contract import SystemContract

CPU = torch.device("cpu")


@pytest.fixture
def likes() -> np.ndarray:
    likes_UW = np.random.default_rng(0).random((6, 9)) < 0.4
    likes_UW[0] = False  # a user without favorites
    likes_UW[1] = True  # and one who favored everything
    return likes_UW


def plain_propagation(likes_UW: np.ndarray, ego_Vd: np.ndarray, layers: int) -> np.ndarray:
    """Equations 3, 4 and 8 literally, neighbour by neighbour."""
    num_users, num_images = likes_UW.shape
    neighbours = [[num_users + i for i in range(num_images) if likes_UW[u, i]] for u in range(num_users)]
    neighbours += [[u for u in range(num_users) if likes_UW[u, i]] for i in range(num_images)]
    layer, total = ego_Vd, ego_Vd.copy()
    for _ in range(layers):
        sent = np.zeros_like(layer)
        for node, near in enumerate(neighbours):
            for other in near:
                sent[node] += layer[other] / (len(near) ** 0.5 * len(neighbours[other]) ** 0.5)
        layer = sent
        total += layer
    return total / (layers + 1)


class TestLightGCN(SystemContract):
    system = "lightgcn"
    settings = {"dimensions": 16, "epochs": 40, "learning_rate": 0.01, "batch_triplets": 256}

    def test_embeddings_are_propagated_as_in_the_paper(self, likes: np.ndarray) -> None:
        ego_Vd = np.random.default_rng(1).normal(size=(15, 4))
        for layers in (0, 1, 3):
            propagated = Graph(csr_array(likes), layers, CPU).propagate(torch.from_numpy(ego_Vd.astype(np.float32)))
            np.testing.assert_allclose(
                propagated.numpy(), plain_propagation(likes, ego_Vd, layers), rtol=1e-4, atol=1e-6
            )

    def test_the_loss_is_that_of_the_paper(self) -> None:
        final = np.random.default_rng(2).normal(size=(3, 5, 4))
        margins = [user @ positive - user @ negative for user, positive, negative in zip(*final, strict=True)]
        expected = -np.mean(np.log(1 / (1 + np.exp(-np.array(margins)))))
        assert bpr_loss(torch.from_numpy(final)).item() == pytest.approx(expected)

    def test_with_a_cosine_schedule_the_last_steps_are_small_and_without_one_large(self, likes: np.ndarray) -> None:
        lasts = {}
        for schedule in ("constant", "cosine"):
            config = LightGCNConfig(dimensions=4, epochs=30, batch_triplets=8, schedule=schedule)
            *_, before, last = (epoch.ego_Vd.detach().clone() for epoch in train(csr_array(likes[2:]), config, 0))
            lasts[schedule] = (last - before).abs().max().item()
        assert lasts["cosine"] < lasts["constant"] / 5

    def test_batches_are_larger_where_the_favorites_would_make_too_many(self, likes: np.ndarray) -> None:
        once = {"dimensions": 4, "epochs": 1, "schedule": "constant"}
        num_favorites = int(likes[2:].sum())
        whole, bounded, small = (
            next(train(csr_array(likes[2:]), LightGCNConfig(**once, **batches), 0)).ego_Vd.detach()
            for batches in (
                {"batch_triplets": num_favorites},
                {"batch_triplets": 1, "max_batches": 1},
                {"batch_triplets": 1, "max_batches": num_favorites},
            )
        )
        torch.testing.assert_close(bounded, whole)
        assert (small - whole).abs().max() > 0.001

    def test_triplets_hold_a_favorite_and_an_image_that_is_none(self, likes: np.ndarray) -> None:
        triplets = Triplets(csr_array(likes), torch.Generator().manual_seed(0))
        users, positives, negatives = np.concatenate([triplets.draw().numpy() for _ in range(200)], axis=1)
        assert likes[users, positives - 6].all()
        assert not likes[users, negatives - 6].any()
        shares = np.bincount(users, minlength=6) / len(users)
        np.testing.assert_allclose(shares, [0, 0, 0.25, 0.25, 0.25, 0.25], atol=0.03)  # evenly among those who can
        sampled = {
            (user, image - 6)
            for image_of in (positives, negatives)
            for user, image in zip(users, image_of, strict=True)
        }
        assert sampled == {(user, image) for user in range(2, 6) for image in range(9)}

    def test_the_loss_falls(self, likes: np.ndarray) -> None:
        losses = [epoch.loss for epoch in train(csr_array(likes), LightGCNConfig(learning_rate=0.02), seed=0)]
        assert losses[-1] < losses[0] / 2

    def test_l2_shrinks_the_embeddings(self, likes: np.ndarray) -> None:
        sizes = {}
        for l2 in (0.0, 1.0):
            config = LightGCNConfig(dimensions=4, epochs=200, learning_rate=0.02, l2=l2)
            *_, last = train(csr_array(likes[2:]), config, seed=0)
            sizes[l2] = last.ego_Vd.detach().norm().item()
        assert sizes[1.0] < 0.1 * sizes[0.0]

    def test_a_community_without_any_triplet_scores_nothing(self) -> None:
        for likes_UW in (np.zeros((4, 3)), np.ones((4, 3))):
            epochs = list(train(csr_array(likes_UW), LightGCNConfig(epochs=2), seed=0))
            assert np.isnan(epochs[-1].loss)

    def test_users_without_favorites_get_the_mean_taste(self, likes: np.ndarray) -> None:
        system = LightGCN(LightGCNConfig(epochs=1))
        system.fit(Community(favorites_UI=csr_array(likes.astype(np.float32))))
        np.testing.assert_allclose(system.fitted.users_Ud[0], system.fitted.users_Ud[1:].mean(axis=0), rtol=1e-5)
