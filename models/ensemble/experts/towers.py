"""The expert trained to rank: two towers that meet in an inner product, by sampled softmax.

U users, I images, V = U + I nodes of the graph, S signals, d dimensions, n favorites, B of them in a step, M negatives.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import block_diag, csr_array, csr_matrix, hstack
from sklearn.preprocessing import normalize
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from models.community import Community
from models.devices import choose_device
from models.ensemble.experts.base import Bounded, Expert
from models.propagation import Fixed, Graph
from models.sparse import commonest_columns, row_of_entry

MIN_BATCH, BATCHES = 512, 8  # a small community's favorites are split into so many batches, each of at least MIN_BATCH


@dataclass(frozen=True, kw_only=True)
class Towers(Bounded):
    """Embeddings of ids and of signals, summed and propagated over the graph of favorites (LightGCN).

    A user's signals are tags, contacts and groups, an image's tags, title words, owner and visual features. An image
    without favorites has no id embedding: only its signals place it, and it is never a negative. Training compares
    cosines, and ranking takes inner products, where the length of an image's vector reflects its popularity (Wu et al.,
    On the effectiveness of sampled softmax loss for item recommendation, TOIS 2024).
    """

    dimensions: int = 64
    layers: int = 2  # of propagation
    steps: int = 300  # of the optimizer, or as many as `min_epochs` take
    min_epochs: int = 6  # times that a favorite is drawn, at least; fewer cost 2 % of NDCG on gowalla-scale
    batch_pairs: int = 16_384  # favorites in a step, fewer in a small community, more where steps would be too many
    max_steps: int = 300  # or `steps`: each propagates over the whole graph, so more would cost the community's square
    negatives: int = 512  # of a step, shared by its favorites
    popular_share: float = 0.5  # of the negatives that are sampled from favorites, hence hard; rises from 0 to this
    correction: float = 0.0  # so many times ln q is taken from the scores; q: an image's chance to be a negative
    temperature: float = 0.1  # of the softmax
    learns_temperature: bool = False  # learned, it falls to .025 on gowalla-scale and NDCG@20 from .089 to .064
    learning_rate: float = 0.05  # of Adam, decays to a twentieth along a cosine
    signals: float = 1.0  # l2 norm of each kind of signal of a node; 0: ids alone
    guard: bool = True  # favorites of a user's contacts are no negatives, as the user's own are none
    max_words: int = 4096  # of each kind of signal, the commonest

    def fit(self, community: Community, seed: int) -> Expert | None:
        """The expert; None where no user has a favorite."""
        if not community.favorites_UI.nnz:
            return None
        *_, last = train(community, self, seed)
        with torch.no_grad():
            users_Ud, images_Id = (part.cpu().numpy() for part in last.vectors())
        return Expert(users_Ud, np.ascontiguousarray(images_Id.T))


def train(community: Community, config: Towers, seed: int) -> Iterator["TwoTowers"]:
    """The towers after each step."""
    device = choose_device("auto")
    random = torch.Generator(device).manual_seed(seed)
    towers = TwoTowers(community, config, random)
    pairs = _Pairs(community, config, random)
    optimizer = torch.optim.Adam(towers.parameters(), config.learning_rate, betas=(0.9, 0.99), fused=True)
    steps = max(config.steps, -(-config.min_epochs * len(pairs.users_n) // pairs.size))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.05 + 0.95 * (1 + np.cos(np.pi * step / steps)) / 2
    )
    for step in range(steps):
        users_B, positives_B = pairs.draw()
        negatives_M, log_q_M = pairs.draw_negatives(config.popular_share * step / steps)
        users_Vd, images_Vd = towers.vectors()
        users_Bd, positives_Bd, negatives_Md = (
            functional.embedding(rows, vectors)
            for rows, vectors in ((users_B, users_Vd), (positives_B, images_Vd), (negatives_M, images_Vd))
        )
        losses = []
        for first in range(0, len(users_B), config.batch_pairs):  # the scores of a large batch are in memory by parts
            part = slice(first, first + config.batch_pairs)
            forbidden = pairs.forbidden(users_B[part], negatives_M)
            of_part = (users_Bd[part], positives_Bd[part], negatives_Md, towers.scale, config.correction * log_q_M)
            losses.append(
                softmax_loss(*of_part, forbidden)
                if len(users_B) <= config.batch_pairs
                else checkpoint(softmax_loss, *of_part, forbidden, use_reentrant=False)
            )
        optimizer.zero_grad(set_to_none=True)
        (torch.cat(losses).sum() / len(users_B)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        yield towers


def softmax_loss(
    users_Bd: Tensor,
    positives_Bd: Tensor,
    negatives_Md: Tensor,
    scale: Tensor,
    correction_M: Tensor,
    forbidden: tuple[Tensor, Tensor],
) -> Tensor:
    """float32 (B,): -ln softmax of the positive against the negatives, by cosines times `scale`.

    Args:
        correction_M: subtracted from the scores of the negatives (logQ correction: Bengio and Senecal, 2008).
        forbidden: rows and columns of the entries of (B, M) that are no negatives.
    """
    users_Bd, positives_Bd, negatives_Md = (
        functional.normalize(vectors, dim=1) for vectors in (users_Bd, positives_Bd, negatives_Md)
    )
    positive_B = (users_Bd * positives_Bd).sum(1) * scale
    scores_BM = torch.addmm(-correction_M, users_Bd * scale, negatives_Md.T)
    scores_BM[forbidden] = -torch.inf
    return torch.logaddexp(positive_B, scores_BM.logsumexp(1)) - positive_B


class TwoTowers(nn.Module):
    """Embeddings of ids and of signals, and the graph over which their sum is propagated."""

    def __init__(self, community: Community, config: Towers, random: torch.Generator):
        super().__init__()
        device, self.num_users = random.device, community.num_users
        self.graph = Graph(community.favorites_UI, config.layers, device)
        has_id_V = np.concatenate([np.ones(self.num_users), community.popularity_I > 0]).astype(np.float32)
        self.has_id_V = torch.from_numpy(has_id_V).to(device)
        signals_VS = _signals(community, config)
        self.signals = Fixed(signals_VS, device) if signals_VS.shape[1] else None
        dimensions = config.within(config.dimensions, *signals_VS.shape)
        self.ids_Vd, self.weights_Sd = (
            nn.Parameter(torch.empty(rows, dimensions, device=device).normal_(0, 0.1, generator=random))
            for rows in signals_VS.shape
        )
        self.log_scale = nn.Parameter(
            torch.tensor(-np.log(config.temperature), dtype=torch.float32, device=device), config.learns_temperature
        )

    @property
    def scale(self) -> Tensor:
        """One over the temperature."""
        return self.log_scale.exp()

    def vectors(self) -> tuple[Tensor, Tensor]:
        """The final embeddings of users and of images: float32 (U, d) and (I, d)."""
        ego_Vd = self.ids_Vd * self.has_id_V[:, None]
        if self.signals is not None:
            ego_Vd = ego_Vd + self.signals @ self.weights_Sd
        final_Vd = self.graph.propagate(ego_Vd)
        return final_Vd[: self.num_users], final_Vd[self.num_users :]


def _signals(community: Community, config: Towers) -> csr_array:
    """float32 (V, S): the side information of each node; users' signals are the first columns, images' the last."""
    features_If = csr_array(community.centred_features_If)
    of_users = (community.user_tags_UT, community.contacts_UU, community.memberships_UG)
    of_images = (community.image_tags_IT, community.words_IW, community.owned_IU, features_If)
    bags = [_normalised_bags(kinds, config) for kinds in (of_users, of_images)]
    return csr_array(block_diag(bags, format="csr"), dtype=np.float32)


def _normalised_bags(kinds: tuple[csr_array, ...], config: Towers) -> csr_array:
    """The commonest columns of each kind, with log counts and rows of l2 norm `signals` in each kind."""
    bags = [csr_array((kinds[0].shape[0], 0), dtype=np.float32)]
    for kind in kinds:
        chosen = csr_array(kind[:, commonest_columns(kind, config.max_words, min_entries=2)])
        chosen.data = np.sign(chosen.data) * np.log1p(np.abs(chosen.data))
        if chosen.shape[1]:
            bags.append(config.signals * normalize(chosen))
    return csr_array(hstack(bags, format="csr"))


class _Pairs:
    """Samples pairs of a user and a favorite, and negatives that all pairs of a step share."""

    def __init__(self, community: Community, config: Towers, random: torch.Generator):
        favorites_UI = community.favorites_UI
        self.random, self.num_negatives = random, config.negatives
        self.size = max(
            min(config.batch_pairs, max(MIN_BATCH, favorites_UI.nnz // BATCHES)),
            -(-config.min_epochs * favorites_UI.nnz // max(config.max_steps, config.steps)),
        )
        self.users_n, self.images_n, self.warm_W = (
            torch.from_numpy(rows.astype(np.int64)).to(random.device)
            for rows in (
                row_of_entry(favorites_UI),
                favorites_UI.indices,
                np.flatnonzero(community.popularity_I),
            )
        )
        share_I = (community.popularity_I / favorites_UI.nnz).astype(np.float32)
        self.share_I = torch.from_numpy(share_I).to(random.device)
        liked_UI = favorites_UI + community.contacts_UU @ favorites_UI if config.guard else favorites_UI
        self.liked_UI = csr_matrix(liked_UI).tocsc()  # csc_array picks columns at a tenth of the speed

    def draw(self) -> tuple[Tensor, Tensor]:
        """int64 (B,) each: users, and a favorite of each."""
        chosen_B = self._integers(len(self.users_n), self.size)
        return self.users_n[chosen_B], self.images_n[chosen_B]

    def draw_negatives(self, popular_share: float) -> tuple[Tensor, Tensor]:
        """int64 (M,): a share sampled from favorites, the rest uniformly; float32 (M,): ln q up to a constant."""
        num_popular = round(popular_share * self.num_negatives)
        popular = self.images_n[self._integers(len(self.images_n), num_popular)]
        uniform = self.warm_W[self._integers(len(self.warm_W), self.num_negatives - num_popular)]
        negatives_M = torch.cat([popular, uniform])
        share_M = self.share_I[negatives_M]
        return negatives_M, (popular_share * share_M * len(self.warm_W) + (1 - popular_share)).log()

    def forbidden(self, users_B: Tensor, negatives_M: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns of (B, M) where the negative is a favorite of the user or, under `guard`, of a contact."""
        liked_UM = self.liked_UI[:, negatives_M.cpu().numpy()].tocsr()
        row, column = liked_UM[users_B.cpu().numpy()].nonzero()
        return torch.from_numpy(row.astype(np.int64)), torch.from_numpy(column.astype(np.int64))

    def _integers(self, below: int, size: int) -> Tensor:
        return torch.randint(below, (size,), device=self.random.device, generator=self.random)
