"""Collaborative Deep Learning: an autoencoder of the images' content and a matrix factorisation that share a code.

The system is `collaborative_dl`, as CDL is Comparative Deep Learning in this project. U users, I images, K dimensions
of the code, R rows and C columns of a matrix of favorites (users and images, or the other way round), B images of a
batch with C columns of content, N favorites of a row.
"""

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from models.community import Community
from models.devices import choose_device
from models.progress import told
from models.settings.collaborative_dl import CollaborativeDLConfig
from models.systems.base import InnerProduct, vectors_of
from models.systems.content import Content, content_of

GATHERED_FLOATS = 2**24  # of the favorites' vectors, and of the matrices solved, at a time: 64 MiB each


class CollaborativeDL(InnerProduct[CollaborativeDLConfig]):
    """An image's vector is its code plus an offset learned from favorites; without favorites, the code alone."""

    name = "collaborative_dl"
    source = "Wang, Wang & Yeung, KDD 2015, sections 3.3 to 3.5"
    grid = {"lambda_u": (0.1, 1.0, 5.0), "lambda_v": (10.0, 30.0, 100.0), "b": (0.03, 0.1, 0.3), "K": (50, 100)}
    Config = CollaborativeDLConfig

    def fit(self, community: Community) -> None:
        config, device = self.config, choose_device("auto")
        content = content_of(community, config.max_words)
        favorites_IU = csr_array(community.favorites_UI.T.tocsr())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            autoencoder = Autoencoder(content.width, config).to(device)
        optimizer = torch.optim.Adam(autoencoder.parameters(), config.learning_rate, weight_decay=config.lambda_w)
        randomness = torch.Generator(device).manual_seed(self.seed)
        self._train(autoencoder, optimizer, content, None, config.pretraining, randomness)
        codes_IK = self._encode(autoencoder, content)
        images_IK = codes_IK + torch.randn(codes_IK.shape, generator=randomness, device=device) / config.lambda_v**0.5
        for _ in told(range(config.rounds), config.rounds, "rounds"):
            users_UK = solve(community.favorites_UI, images_IK, None, config.lambda_u, config)
            images_IK = solve(favorites_IU, users_UK, codes_IK, config.lambda_v, config)
            self._train(autoencoder, optimizer, content, images_IK, config.epochs, randomness)
            codes_IK = self._encode(autoencoder, content)
        is_warm_I = community.popularity_I > 0
        images_IK = torch.where(torch.from_numpy(is_warm_I).to(device)[:, None], images_IK, codes_IK)
        self.fitted = vectors_of(users_UK.cpu().numpy(), images_IK.cpu().numpy(), is_warm_I | content.has_I)

    def _train(
        self,
        autoencoder: "Autoencoder",
        optimizer: torch.optim.Optimizer,
        content: Content,
        images_IK: Tensor | None,
        epochs: int,
        randomness: torch.Generator,
    ) -> None:
        """Minimise the autoencoder's terms of the objective (section 3.4); without `images_IK` only reconstruction."""
        config, device = self.config, next(autoencoder.parameters()).device
        with_content = torch.from_numpy(np.flatnonzero(content.has_I)).to(device)
        for _ in told(range(epochs), epochs, "epochs of the autoencoder"):
            order = with_content[torch.randperm(len(with_content), generator=randomness, device=device)]
            for start in range(0, len(order), config.batch_images):
                batch_B = order[start : start + config.batch_images]
                content_BC = torch.from_numpy(content.rows(batch_B.cpu().numpy())).to(device)
                is_kept_BC = torch.rand(content_BC.shape, generator=randomness, device=device) >= config.noise
                codes_BK = autoencoder.encoder(content_BC * is_kept_BC)
                rebuilt_BC = autoencoder.decoder(codes_BK)
                loss = config.lambda_n * (rebuilt_BC - content_BC).square().sum()
                if images_IK is not None:
                    loss = loss + config.lambda_v * (images_IK[batch_B] - codes_BK).square().sum()
                optimizer.zero_grad(set_to_none=True)
                (loss / (config.lambda_n * len(batch_B))).backward()
                optimizer.step()

    @torch.no_grad()
    def _encode(self, autoencoder: "Autoencoder", content: Content) -> Tensor:
        """(I, K): the code of each image's content, without noise; zeros, the prior's mean, without content."""
        device = next(autoencoder.parameters()).device
        codes_IK = torch.zeros(len(content.has_I), self.config.K, device=device)
        with_content = np.flatnonzero(content.has_I)
        for start in range(0, len(with_content), self.config.batch_images):
            batch_B = with_content[start : start + self.config.batch_images]
            content_BC = torch.from_numpy(content.rows(batch_B)).to(device)
            codes_IK[torch.from_numpy(batch_B).to(device)] = autoencoder.encoder(content_BC)
        return codes_IK


class Autoencoder(nn.Module):
    """A stacked denoising autoencoder of four layers, the second of which gives the code."""

    def __init__(self, width: int, config: CollaborativeDLConfig):
        super().__init__()
        width = max(1, width)  # without content there is nothing to encode
        self.encoder = nn.Sequential(nn.Linear(width, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.K))
        self.decoder = nn.Sequential(nn.Linear(config.K, config.hidden), nn.ReLU(), nn.Linear(config.hidden, width))


def solve(
    favorites_RC: csr_array, fixed_CK: Tensor, means_RK: Tensor | None, pull: float, config: CollaborativeDLConfig
) -> Tensor:
    """(R, K): the optimal vector of each row for fixed vectors of all columns (section 3.4, updates of u_i and v_j).

    Row r solves (b V'V + (a - b) V_r'V_r + pull) x = a V_r'1 + pull mean_r, where V_r has the vectors of its favorites
    and the Gram matrix V'V of all columns is the same for every row. Rows with similarly many favorites are solved
    together.

    Args:
        means_RK: the vectors that rows are pulled to; None: zero.
    """
    num_rows, num_columns = favorites_RC.shape
    K, device = fixed_CK.shape[1], fixed_CK.device
    shared_KK = config.b * fixed_CK.T @ fixed_CK + pull * torch.eye(K, device=device)
    padded_CK = torch.cat([fixed_CK, fixed_CK.new_zeros(1, K)])
    solved_RK = torch.empty(num_rows, K, device=device)
    counts_R = np.diff(favorites_RC.indptr)
    order = np.argsort(-counts_R, kind="stable")
    start = 0
    while start < num_rows:
        most = max(int(counts_R[order[start]]), 1)
        rows = order[start : start + max(1, GATHERED_FLOATS // (K * max(most, K)))]
        start += len(rows)
        place_N = np.arange(most)
        is_filled_RN = place_N < counts_R[rows, None]
        column_RN = np.where(is_filled_RN, favorites_RC.indptr[rows, None] + place_N, -1)
        favorites_RN = np.where(is_filled_RN, np.append(favorites_RC.indices, num_columns)[column_RN], num_columns)
        vectors_RNK = padded_CK[torch.from_numpy(favorites_RN).long().to(device)]
        left_RKK = shared_KK + (config.a - config.b) * vectors_RNK.mT @ vectors_RNK
        right_RK = config.a * vectors_RNK.sum(dim=1)
        rows_R = torch.from_numpy(rows).to(device)
        if means_RK is not None:
            right_RK = right_RK + pull * means_RK[rows_R]
        solved_RK[rows_R] = torch.linalg.solve(left_RKK, right_RK)
    return solved_RK
