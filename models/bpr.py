"""Bayesian personalised ranking (Rendle et al. 2009): triplets, the objective ln σ(x_ui - x_uj), and the loop.

U users, I images, N triplets, P images of a step, d dimensions.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn
from torch.nn import functional

from models.devices import choose_device
from models.progress import told
from models.settings.bpr import BPRConfig
from models.sparse import row_of_entry
from models.uniform_negatives import UniformNegatives

EMBED_BATCH = 1024  # images embedded at a time after training


@dataclass(frozen=True)
class Step:
    """The triplets of one step, int64; positives and negatives are places in `images_P`, which has each image once."""

    images_P: np.ndarray  # image rows
    users_N: np.ndarray  # user rows
    positives_N: np.ndarray
    negatives_N: np.ndarray


class Ranker(nn.Module, ABC):
    """A model that scores by the inner product of a user's and an image's vector: x_ui = users(u) · images(i)."""

    @abstractmethod
    def users(self, users_N: np.ndarray) -> Tensor:
        """float32 (N, d): vectors of users, on the device of the parameters."""

    @abstractmethod
    def images(self, images_P: np.ndarray) -> Tensor:
        """float32 (P, d): vectors of images, on the device of the parameters."""

    @abstractmethod
    def penalty(self, users_Nd: Tensor, positives_Nd: Tensor, negatives_Nd: Tensor) -> Tensor:
        """The mean over triplets of λ‖Θ‖², given the vectors of the triplets' users and images."""


def draw(favorites_UP: csr_array, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A triplet for each favorite, in the order of users: user, positive, negative, each int64 (N,).

    Negatives are uniform over the columns that are no favorites of the user. A user who favors every column has none,
    hence no triplets. The columns of each row must be sorted.
    """
    num_favorites_U = np.diff(favorites_UP.indptr)
    users_N, positives_N = row_of_entry(favorites_UP), favorites_UP.indices.astype(np.int64)
    negatives_N = UniformNegatives(favorites_UP).draw(users_N, 1, rng)[:, 0]
    has_negative_N = num_favorites_U[users_N] < favorites_UP.shape[1]
    return users_N[has_negative_N], positives_N[has_negative_N], negatives_N[has_negative_N]


def steps(favorites_UI: csr_array, usable_I: np.ndarray, config: BPRConfig, rng: np.random.Generator) -> Iterator[Step]:
    """The steps of one epoch, over the usable images only.

    Without pools the triplets are shuffled and cut into steps: the paper's bootstrap sampling, but of favorites without
    replacement. With pools the images are shuffled and cut, and positive and negative are of one pool. As a pool is a
    random share of all images, every image is still a negative with equal chance, and an epoch embeds each image once,
    however many favorites there are.
    """
    usable = np.flatnonzero(usable_I)
    if config.pool_images:
        favorites_IU = favorites_UI.T.tocsr()
        for pool in np.array_split(rng.permutation(usable), -(-len(usable) // config.pool_images) or 1):
            within_UP = favorites_IU[pool].T.tocsr()
            within_UP.sort_indices()
            yield Step(pool, *draw(within_UP, rng))
        return
    triplets_3N = np.stack(draw(favorites_UI[:, usable], rng))
    num_triplets = triplets_3N.shape[1]
    order = rng.permutation(num_triplets)
    for chosen in np.array_split(order, -(-num_triplets // config.batch_triplets) or 1):
        users_N, positives_N, negatives_N = triplets_3N[:, chosen]
        images, places = np.unique(np.concatenate([positives_N, negatives_N]), return_inverse=True)
        yield Step(usable[images], users_N, *np.split(places, 2))


def objective(ranker: Ranker, step: Step) -> Tensor:
    """BPR-OPT (section 4.1), to be minimised: the mean over triplets of -ln σ(x_ui - x_uj) + λ‖Θ‖².

    The vectors of users and images are regularised in each triplet that they are part of, as in LearnBPR's updates
    (section 4.2), so that those of frequent users and images are regularised as often as they are trained.
    """
    users_Nd, images_Pd = ranker.users(step.users_N), ranker.images(step.images_P)
    positives_Nd, negatives_Nd = (
        images_Pd[torch.from_numpy(places_N).to(images_Pd.device)] for places_N in (step.positives_N, step.negatives_N)
    )
    x_uij = (users_Nd * (positives_Nd - negatives_Nd)).sum(1)
    return functional.softplus(-x_uij).mean() + ranker.penalty(users_Nd, positives_Nd, negatives_Nd)


def train(
    ranker: Ranker, favorites_UI: csr_array, usable_I: np.ndarray, config: BPRConfig, seed: int
) -> Iterator[float]:
    """Train in place with Adam, yielding each epoch's mean loss; nan without triplets.

    Raises FloatingPointError where the loss is not finite.
    """
    ranker.to(choose_device("auto")).train()
    optimizer = torch.optim.Adam(ranker.parameters(), config.learning_rate, fused=True)
    rng = np.random.default_rng(seed)
    for epoch in told(range(config.epochs), config.epochs, "epochs"):
        losses = []
        for step in steps(favorites_UI, usable_I, config, rng):
            if len(step.users_N):
                loss = objective(ranker, step)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(loss.detach())  # read once an epoch: reading makes the device wait
        mean = float(torch.stack(losses).mean()) if losses else np.nan
        if losses and not np.isfinite(mean):
            raise FloatingPointError(
                f"BPR: the loss is {mean} in epoch {epoch + 1} of {config.epochs}; "
                f"lower learning_rate (now {config.learning_rate})"
            )
        yield mean


def embed(ranker: Ranker, favorites_UI: csr_array, usable_I: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of all users and of usable images: float32 (U, d) and (I, d), zeros for images that are not usable.

    A user without a usable favorite was not trained, and gets the mean vector of those who were.
    """
    ranker.to(choose_device("auto")).eval()
    usable = np.flatnonzero(usable_I)
    with torch.inference_mode():
        users_Ud = ranker.users(np.arange(favorites_UI.shape[0])).cpu().numpy()
        images_Id = np.zeros((favorites_UI.shape[1], users_Ud.shape[1]), np.float32)
        for first in range(0, len(usable), EMBED_BATCH):
            block = usable[first : first + EMBED_BATCH]
            images_Id[block] = ranker.images(block).cpu().numpy()
    is_trained_U = np.asarray(favorites_UI @ usable_I.astype(np.float32)) > 0
    mean_d = users_Ud[is_trained_U].mean(axis=0) if is_trained_U.any() else np.zeros(users_Ud.shape[1])
    return np.where(is_trained_U[:, None], users_Ud, mean_d).astype(np.float32), images_Id


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global random numbers, for initial weights and dropout; afterwards restore their earlier state."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
