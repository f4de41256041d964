"""Bayesian personalised ranking: triplets, the objective, the loop."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from models import bpr
from models.bpr import Ranker, Step
from models.settings.bpr import BPRConfig

FAVORITES = csr_array(  # user 0 likes two images of five, user 1 all, user 2 none, user 3 one
    np.array([[1, 0, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]], np.float32)
)


class Plain(Ranker):
    """A vector for each user and each image."""

    def __init__(self, num_users: int, num_images: int):
        super().__init__()
        self.p, self.q = (nn.Parameter(torch.randn(count, 3)) for count in (num_users, num_images))

    def users(self, users_N: np.ndarray) -> Tensor:
        return self.p[torch.from_numpy(users_N)]

    def images(self, images_P: np.ndarray) -> Tensor:
        return self.q[torch.from_numpy(images_P)]

    def penalty(self, users_Nd: Tensor, positives_Nd: Tensor, negatives_Nd: Tensor) -> Tensor:
        return 0.1 * sum(part.square().sum(1) for part in (users_Nd, positives_Nd, negatives_Nd)).mean()


def plain(num_users: int = 4, num_images: int = 5, seed: int = 0) -> Plain:
    with bpr.seeded(seed):
        return Plain(num_users, num_images)


def random_favorites(num_users: int, num_images: int, share: float) -> csr_array:
    return csr_array((np.random.default_rng(1).random((num_users, num_images)) < share).astype(np.float32))


def test_each_favorite_is_a_positive_once_except_those_of_users_without_a_negative():
    users, positives, _ = bpr.draw(FAVORITES, np.random.default_rng(0))
    assert list(zip(users.tolist(), positives.tolist(), strict=True)) == [(0, 0), (0, 2), (3, 4)]


def test_negatives_are_uniform_over_what_is_no_favorite():
    favorites = random_favorites(3, 9, 0.5)
    rng = np.random.default_rng(0)
    counts = np.zeros(favorites.shape)
    num_epochs = 3000
    for _ in range(num_epochs):
        users, _, negatives = bpr.draw(favorites, rng)
        np.add.at(counts, (users, negatives), 1)
    liked = favorites.toarray() > 0
    assert not counts[liked].any()
    expected = num_epochs * liked.sum(axis=1) / (~liked).sum(axis=1)
    np.testing.assert_allclose(counts / expected[:, None], ~liked, atol=0.1)


def test_no_favorites_give_no_triplets():
    users, positives, negatives = bpr.draw(csr_array((3, 4), dtype=np.float32), np.random.default_rng(0))
    assert len(users) == len(positives) == len(negatives) == 0


@pytest.mark.parametrize("pool_images", [0, 7])
def test_triplets_of_an_epoch_have_a_favorite_and_a_non_favorite_among_usable_images(pool_images):
    favorites = random_favorites(20, 30, 0.3)
    usable_I = np.arange(30) % 3 > 0
    config = BPRConfig(batch_triplets=16, pool_images=pool_images)
    seen = []
    for step in bpr.steps(favorites, usable_I, config, np.random.default_rng(0)):
        assert len(np.unique(step.images_P)) == len(step.images_P)
        positives, negatives = step.images_P[step.positives_N], step.images_P[step.negatives_N]
        assert usable_I[step.images_P].all()
        assert (favorites.toarray()[step.users_N, positives] == 1).all()
        assert (favorites.toarray()[step.users_N, negatives] == 0).all()
        seen += list(zip(step.users_N.tolist(), positives.tolist(), strict=True))
    assert len(set(seen)) == len(seen)
    assert len(seen) == favorites[:, np.flatnonzero(usable_I)].nnz


def test_with_pools_each_usable_image_is_embedded_once_an_epoch():
    usable_I = np.arange(30) % 3 > 0
    config = BPRConfig(pool_images=7)
    pools = [
        step.images_P for step in bpr.steps(random_favorites(20, 30, 0.3), usable_I, config, np.random.default_rng(0))
    ]
    assert sorted(np.concatenate(pools).tolist()) == np.flatnonzero(usable_I).tolist()
    assert max(len(pool) for pool in pools) <= 7


def test_the_objective_is_the_papers():
    ranker = plain()
    step = Step(np.array([4, 0, 2]), np.array([0, 0, 3]), np.array([1, 2, 0]), np.array([0, 0, 1]))
    expected = 0.0
    p, q = ranker.p.detach().numpy(), ranker.q.detach().numpy()
    for u, i, j in [(0, 0, 4), (0, 2, 4), (3, 4, 0)]:
        x_uij = p[u] @ q[i] - p[u] @ q[j]
        expected += -math.log(1 / (1 + math.exp(-x_uij))) + 0.1 * (p[u] @ p[u] + q[i] @ q[i] + q[j] @ q[j])
    assert bpr.objective(ranker, step).item() == pytest.approx(expected / 3, rel=1e-5)


def test_training_lowers_the_loss_and_ranks_favorites_first():
    favorites = csr_array(np.kron(np.eye(2), np.ones((10, 15))).astype(np.float32))
    ranker = plain(20, 30)
    losses = list(bpr.train(ranker, favorites, np.ones(30, bool), BPRConfig(epochs=40, batch_triplets=64), seed=0))
    assert losses[-1] < losses[0]
    users, images = bpr.embed(ranker, favorites, np.ones(30, bool))
    scores, liked = users @ images.T, favorites.toarray() > 0
    assert (np.where(liked, scores, np.inf).min(axis=1) > np.where(liked, -np.inf, scores).max(axis=1)).all()


def test_users_without_a_usable_favorite_get_the_mean_of_the_others_and_unusable_images_zeros():
    ranker = plain()
    usable_I = np.array([True, True, True, True, False])
    users, images = bpr.embed(ranker, FAVORITES, usable_I)
    p = ranker.p.detach().numpy()
    np.testing.assert_allclose(users, np.stack([p[0], p[1], p[:2].mean(axis=0), p[:2].mean(axis=0)]), rtol=1e-6)
    assert not images[4].any()
    np.testing.assert_array_equal(images[:4], ranker.q.detach().numpy()[:4])


@pytest.mark.parametrize("pool_images", [0, 2])
def test_without_triplets_the_loss_is_nan_and_nothing_changes(pool_images):
    for favorites, usable_I in [
        (csr_array((4, 5), dtype=np.float32), np.ones(5, bool)),
        (FAVORITES, np.zeros(5, bool)),
    ]:
        ranker = plain()
        losses = list(bpr.train(ranker, favorites, usable_I, BPRConfig(epochs=2, pool_images=pool_images), seed=0))
        assert np.isnan(losses).all()
        assert torch.equal(ranker.q, plain().q)
        users, _ = bpr.embed(ranker, favorites, usable_I)
        assert not users.any()


def test_a_loss_that_is_not_finite_ends_the_training():
    ranker = plain()
    with torch.no_grad():
        ranker.q[0] = np.inf
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        list(bpr.train(ranker, FAVORITES, np.ones(5, bool), BPRConfig(epochs=1), seed=0))
