"""BPR-MF by LearnBPR."""

import numpy as np
import pytest
import torch

from models.settings.bpr_mf import BPRMFConfig
from models.systems.bpr_mf import BPRMF, update
from tests.models.systems.contract import SystemContract, two_tastes


class TestBPRMF(SystemContract):
    system = "bpr_mf"


@pytest.mark.parametrize("candidates", [1, 3])
def test_a_step_is_the_papers_update_with_the_hardest_candidate(candidates: int):
    random = torch.Generator().manual_seed(0)
    users, images, biases = (torch.randn(*size, generator=random) for size in ((4, 3), (6, 3), (6,)))
    before = [array.numpy().astype(np.float64).copy() for array in (users, images, biases)]
    triplets = [(1, 0, [2, 3, 4][:candidates]), (3, 0, [5, 2, 1][:candidates])]  # both pull image 0
    config = BPRMFConfig(learning_rate=0.1, lambda_theta=0.03, candidates=candidates)
    user, positive, negatives = zip(*triplets, strict=True)
    update(users, images, biases, tuple(map(torch.tensor, (user, positive, negatives))), config)
    gamma_u, gamma_i, beta = before
    expected = [array.copy() for array in before]
    for u, i, drawn in triplets:
        scores = {j: gamma_u[u] @ gamma_i[j] + beta[j] for j in (i, *drawn)}
        j = max(drawn, key=scores.__getitem__)
        wrong = 1 / (1 + np.exp(scores[i] - scores[j]))
        expected[0][u] += 0.1 * (wrong * (gamma_i[i] - gamma_i[j]) - 0.03 * gamma_u[u])
        expected[1][i] += 0.1 * (wrong * gamma_u[u] - 0.03 * gamma_i[i])
        expected[1][j] += 0.1 * (-wrong * gamma_u[u] - 0.03 * gamma_i[j])
        expected[2][i] += 0.1 * (wrong - 0.03 * beta[i])
        expected[2][j] += 0.1 * (-wrong - 0.03 * beta[j])
    for array, textbook in zip((users, images, biases), expected, strict=True):
        np.testing.assert_allclose(array.numpy(), textbook, rtol=1e-4, atol=1e-6)


def test_a_rate_that_diverges_is_named():
    with pytest.raises(FloatingPointError, match=r"learning_rate \(now 1e\+20\)"):
        BPRMF(BPRMFConfig(learning_rate=1e20)).fit(two_tastes())
