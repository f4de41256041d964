"""LightGCN: embeddings of users and images, propagated over the graph of favorites and averaged over the layers.

U users, W warm images (with a training favorite), V = U + W nodes of the graph, d dimensions, B triplets of a batch, N
of an epoch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional

from models.community import Community
from models.devices import choose_device
from models.progress import told
from models.propagation import Graph
from models.settings.lightgcn import LightGCNConfig
from models.sparse import has_entries
from models.systems.base import InnerProduct, vectors_of


class LightGCN(InnerProduct[LightGCNConfig]):
    """The mean of embeddings over the layers of propagation, trained by BPR."""

    name = "lightgcn"
    source = "He et al.: LightGCN: Simplifying and powering graph convolution network for recommendation, SIGIR 2020"
    grid = {
        "layers": (1, 2, 3),
        "learning_rate": (0.001, 0.004, 0.005, 0.01),
        "l2": (1e-5, 1e-4, 1e-3),
        "epochs": (50, 100, 200, 520),
        "schedule": ("cosine", "constant"),
    }
    Config = LightGCNConfig

    def fit(self, community: Community) -> None:
        warm_I = community.popularity_I > 0
        favorites_UW = community.favorites_UI[:, warm_I].tocsr()
        *_, last = train(favorites_UW, self.config, self.seed)
        users_Ud, images_Wd = last.vectors()
        images_Id = np.zeros((community.num_images, self.config.dimensions), np.float32)
        images_Id[warm_I] = images_Wd
        is_warm_U = has_entries(favorites_UW)
        if is_warm_U.any():  # cold users were not trained and get the mean taste
            users_Ud[~is_warm_U] = users_Ud[is_warm_U].mean(axis=0)
        self.fitted = vectors_of(users_Ud, images_Id, warm_I)


@dataclass(frozen=True)
class Epoch:
    """The state of the training after an epoch."""

    number: int  # from 1
    loss: float  # mean over the epoch's triplets, without the penalty; nan without triplets
    graph: Graph
    ego_Vd: Tensor  # the learned embeddings, before propagation; the next epoch changes them in place

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """float32 (U, d) and (W, d): the final embeddings, after propagation."""
        with torch.no_grad():
            final_Vd = self.graph.propagate(self.ego_Vd).cpu().numpy()
        return final_Vd[: self.graph.num_users], final_Vd[self.graph.num_users :]


def train(favorites_UW: csr_array, config: LightGCNConfig, seed: int) -> Iterator[Epoch]:
    """Train on favorites, yielding after each epoch; every image must have a favorite."""
    device = choose_device("auto")
    random = torch.Generator(device).manual_seed(seed)
    graph = Graph(favorites_UW, config.layers, device)
    triplets = Triplets(favorites_UW, random)
    # The paper initialises with Xavier's distribution, its authors' code with this one, which learns faster at first.
    ego_Vd = torch.empty(sum(favorites_UW.shape), config.dimensions, device=device).normal_(0, 0.1, generator=random)
    ego_Vd.requires_grad_()
    optimizer = torch.optim.Adam([ego_Vd], config.learning_rate, fused=True)
    batch_triplets = max(config.batch_triplets, -(-triplets.num_triplets // config.max_batches))
    num_steps = config.epochs * -(-triplets.num_triplets // batch_triplets)
    lowest = config.learning_rate / (50 if config.schedule == "cosine" else 1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, num_steps), lowest)
    for number in told(range(1, config.epochs + 1), config.epochs, "epochs"):
        losses = []
        for nodes_3B in triplets.batches(batch_triplets):
            final_Vd = graph.propagate(ego_Vd)
            loss = bpr_loss(functional.embedding(nodes_3B, final_Vd))
            penalty = functional.embedding(nodes_3B, ego_Vd).square().sum() / (2 * nodes_3B.shape[1])
            optimizer.zero_grad(set_to_none=True)
            (loss + config.l2 * penalty).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.detach() * nodes_3B.shape[1])
        mean = torch.stack(losses).sum().item() / triplets.num_triplets if losses else np.nan
        yield Epoch(number, mean, graph, ego_Vd)


def bpr_loss(final_3Bd: Tensor) -> Tensor:
    """The mean of -ln σ(x_ui - x_uj) over triplets of user, positive and negative (equation 15)."""
    user_Bd, positive_Bd, negative_Bd = final_3Bd
    return functional.softplus((user_Bd * (negative_Bd - positive_Bd)).sum(1)).mean()


class Triplets:
    """Samples triplets of a user, a favorite of the user, and an image that is none.

    Users are sampled uniformly, as in the authors' code, not by their favorites: the metrics are means over users.
    """

    def __init__(self, favorites_UW: csr_array, random: torch.Generator):
        self.random, self.device = random, random.device
        self.num_users, self.num_images = favorites_UW.shape
        counts_U = np.diff(favorites_UW.indptr)
        users = np.flatnonzero((counts_U > 0) & (counts_U < self.num_images))  # with a positive and a negative
        self.num_triplets = favorites_UW.nnz if len(users) else 0
        self.users, self.counts_U, self.starts_U, self.favorites = (
            torch.from_numpy(values.astype(np.int64)).to(self.device)
            for values in (users, counts_U, favorites_UW.indptr[:-1], favorites_UW.indices)
        )
        self.keys = torch.repeat_interleave(torch.arange(self.num_users, device=self.device), self.counts_U)
        self.keys = self.keys * self.num_images + self.favorites  # ascending: rows ascend, and columns within a row

    def batches(self, size: int) -> Iterator[Tensor]:
        """An epoch's triplets in batches, int64 (3, B); none if no user has both a favorite and another image."""
        if self.num_triplets:
            yield from self.draw().split(size, dim=1)  # type: ignore[no-untyped-call]

    def draw(self) -> Tensor:
        """int64 (3, N): nodes of users, positives and negatives of an epoch; N is the number of favorites."""
        users_N = self.users[self._integers(len(self.users), self.num_triplets)]
        share_N = torch.rand(self.num_triplets, dtype=torch.float64, device=self.device, generator=self.random)
        positives_N = self.favorites[self.starts_U[users_N] + (share_N * self.counts_U[users_N]).long()]
        return torch.stack([users_N, self.num_users + positives_N, self.num_users + self._negatives(users_N)])

    def _negatives(self, users_N: Tensor) -> Tensor:
        negatives_N = torch.empty_like(users_N)
        left = torch.arange(len(users_N), device=self.device)
        while len(left):
            sampled = self._integers(self.num_images, len(left))
            negatives_N[left] = sampled
            keys = users_N[left] * self.num_images + sampled
            place = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
            left = left[self.keys[place] == keys]
        return negatives_N

    def _integers(self, below: int, size: int) -> Tensor:
        return torch.randint(below, (size,), device=self.device, generator=self.random)
