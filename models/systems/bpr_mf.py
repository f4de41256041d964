"""BPR-MF: matrix factorisation of favorites alone by Bayesian personalised ranking, with LearnBPR's own descent.

U users, W warm images (with a training favorite), B triplets of a step, C candidates for a negative. Symbols as in the
paper: γ factors, β biases, λ the regularisation.
"""

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional

from models.community import Community
from models.progress import told
from models.settings.bpr_mf import BPRMFConfig
from models.sparse import has_entries, row_of_entry
from models.systems.base import InnerProduct, vectors_of
from models.uniform_negatives import UniformNegatives

FIRST_SCALE = 0.1  # standard deviation of the first factors


class BPRMF(InnerProduct[BPRMFConfig]):
    """Matrix factorisation. Images without training favorites cannot be scored.

    The updates are the paper's (LearnBPR, figure 4): they touch the vectors of a triplet alone, so that frequent users
    and images are trained and regularised more often. A negative is the hardest of a few uniform ones (Zhang et al.,
    SIGIR 2013), which the paper has not; docs/log.md has what it gives.
    """

    name = "bpr_mf"
    source = "Rendle et al.: BPR: Bayesian personalized ranking from implicit feedback, UAI 2009, sections 4.1 to 4.3"
    grid = {
        "epochs": (15, 30, 60),
        "lambda_theta": (0.003, 0.01, 0.02, 0.05),
        "candidates": (1, 8, 16),
        "K": (64, 128),
    }
    Config = BPRMFConfig

    def fit(self, community: Community) -> None:
        warm_I = community.popularity_I > 0
        favorites_UW = csr_array(community.favorites_UI[:, warm_I])
        favorites_UW.sort_indices()
        users_UK, images_WK, biases_W = train(favorites_UW, self.config, self.seed)
        is_warm_U = has_entries(favorites_UW)
        if is_warm_U.any():  # cold users were not trained and get the mean taste
            users_UK[~is_warm_U] = users_UK[is_warm_U].mean(axis=0)
        images_Id = np.zeros((community.num_images, self.config.K + 1), np.float32)
        images_Id[warm_I] = np.column_stack([images_WK, biases_W])
        self.fitted = vectors_of(np.column_stack([users_UK, np.ones(len(users_UK))]), images_Id, warm_I)


def train(favorites_UW: csr_array, config: BPRMFConfig, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float32 (U, K), (W, K), (W,): factors of users, of images, and biases; every image must have a favorite.

    On the CPU whatever the machine has: sums into rows are in a fixed order there, and a step takes a millisecond.

    Raises FloatingPointError where the factors are not finite.
    """
    rng, first = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    users_UK, images_WK = (FIRST_SCALE * torch.randn(size, config.K, generator=first) for size in favorites_UW.shape)
    biases_W = torch.zeros(favorites_UW.shape[1])
    user_n, positive_n = row_of_entry(favorites_UW), favorites_UW.indices.astype(np.int64)
    has_negative_n = np.diff(favorites_UW.indptr)[user_n] < favorites_UW.shape[1]
    user_n, positive_n = user_n[has_negative_n], positive_n[has_negative_n]
    negatives = UniformNegatives(favorites_UW)
    step = max(1, min(config.batch_triplets, len(user_n) // 100))
    for epoch in told(range(config.epochs), config.epochs, "epochs"):
        order = rng.permutation(len(user_n))
        for start in range(0, len(order), step):
            chosen = order[start : start + step]
            candidates_BC = torch.from_numpy(negatives.draw(user_n[chosen], config.candidates, rng))
            user_B, positive_B = torch.from_numpy(user_n[chosen]), torch.from_numpy(positive_n[chosen])
            update(users_UK, images_WK, biases_W, (user_B, positive_B, candidates_BC), config)
        if not torch.isfinite(biases_W).all():
            raise FloatingPointError(
                f"bpr_mf: factors are no longer finite in epoch {epoch + 1} of {config.epochs}; "
                f"lower learning_rate (now {config.learning_rate})"
            )
    return users_UK.numpy(), images_WK.numpy(), biases_W.numpy()


def update(
    users_UK: Tensor, images_WK: Tensor, biases_W: Tensor, triplets: tuple[Tensor, Tensor, Tensor], config: BPRMFConfig
) -> None:
    """One step of LearnBPR in place, for users (B,), positives (B,) and candidates for the negative (B, C).

    For each triplet Θ ← Θ + α (σ(-x_uij) ∂x_uij/∂Θ - λ Θ); those of a step are computed first, and then added.
    """
    α, λ = config.learning_rate, config.lambda_theta
    user_B, positive_B, candidates_BC = triplets
    user_BK, positive_BK = functional.embedding(user_B, users_UK), functional.embedding(positive_B, images_WK)
    x_BC = torch.bmm(functional.embedding(candidates_BC, images_WK), user_BK[:, :, None])[:, :, 0]
    x_uj_B, hardest_B = (x_BC + biases_W[candidates_BC]).max(1)
    negative_B = candidates_BC.gather(1, hardest_B[:, None])[:, 0]
    negative_BK = functional.embedding(negative_B, images_WK)
    bias_i_B, bias_j_B = biases_W[positive_B], biases_W[negative_B]
    wrong_B = torch.sigmoid(x_uj_B - (user_BK * positive_BK).sum(1) - bias_i_B)  # σ(-x_uij)
    pull_BK = wrong_B[:, None] * user_BK
    users_UK.index_add_(0, user_B, wrong_B[:, None] * (positive_BK - negative_BK) - λ * user_BK, alpha=α)
    images_WK.index_add_(0, positive_B, pull_BK - λ * positive_BK, alpha=α)
    images_WK.index_add_(0, negative_B, pull_BK + λ * negative_BK, alpha=-α)
    biases_W.index_add_(0, positive_B, wrong_B - λ * bias_i_B, alpha=α)
    biases_W.index_add_(0, negative_B, wrong_B + λ * bias_j_B, alpha=-α)
