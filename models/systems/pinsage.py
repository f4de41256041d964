"""PinSage: graph convolutions of the images' content over neighborhoods by random walks.

U users, I images, X nodes of the graph (images first, then users, tags and groups), S starts of walks, W walkers, T
neighbors of an image, h dimensions of the input, d of an embedding; P favorites of a batch, n images to embed, E
negatives that a batch shares, F hard negatives of each favorite, N = E + F, M favorites whose mean is the user.
"""

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn
from torch.nn import functional

from models.community import Community
from models.devices import choose_device
from models.progress import told
from models.settings.pinsage import PinSageConfig
from models.sparse import has_entries, place_in_row, row_of_entry, unit_row_sums
from models.systems.base import InnerProduct, vectors_of
from models.systems.content import content_of

WALKERS = 2**20  # at a time: 8 MiB for each array with a number for each walker


class PinSage(InnerProduct[PinSageConfig]):
    """An image's vector is its convolved content, a user's the mean of the favorites."""

    name = "pinsage"
    source = "Ying et al., KDD 2018, sections 3 and 4"
    grid = {"epochs": (5, 10, 20), "popular_negatives": (0.0, 0.25, 0.5), "hard_negatives": (0, 6), "T": (20, 50)}
    Config = PinSageConfig

    def fit(self, community: Community) -> None:
        config, num_images = self.config, community.num_images
        rng = np.random.default_rng(self.seed)
        graph = graph_of(community)
        visits_II = count_visits(graph, np.arange(num_images), num_images, config, rng)
        visits_UI = count_visits(graph, num_images + np.arange(community.num_users), num_images, config, rng)
        neighbors_II = unit_row_sums(ranks(visits_II, 0, config.T))
        hard_UI = ranks(without(visits_UI, community.favorites_UI), config.hard_from, config.hard_to)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = Network(input_of(community, config, self.seed), neighbors_II, config).to(choose_device("auto"))
        train(network, community.favorites_UI, hard_UI, config, rng)
        with torch.no_grad():
            images_Id = network(np.arange(num_images)).cpu().numpy()

        # A user without favorites is the mean of the images visited by walkers; without any edge, the mean user.
        is_cold_U = ~has_entries(community.favorites_UI)
        weights_UI = unit_row_sums(csr_array(community.favorites_UI + visits_UI.multiply(is_cold_U[:, None])))
        users_Ud = weights_UI @ images_Id
        has_images_U = has_entries(weights_UI)
        users_Ud[~has_images_U] = users_Ud.sum(axis=0) / max(1, np.count_nonzero(has_images_U))
        usable_I = network.input_Ih.any(dim=1).cpu().numpy() | has_entries(neighbors_II)
        self.fitted = vectors_of(users_Ud, images_Id, usable_I)


class Network(nn.Module):
    """Algorithm 2: two convolutions and a dense layer, computed only for the wanted images and their neighborhoods."""

    input_Ih: Tensor

    def __init__(self, input_Ih: np.ndarray, neighbors_II: csr_array, config: PinSageConfig):
        super().__init__()
        self.register_buffer("input_Ih", torch.from_numpy(input_Ih))
        self.neighbors_II = neighbors_II
        self.convolutions = nn.ModuleList(
            Convolution(width, config.hidden, config.d) for width in (input_Ih.shape[1], config.d)
        )
        self.G1 = nn.Linear(config.d, config.d)
        self.G2 = nn.Linear(config.d, config.d, bias=False)

    def forward(self, images: np.ndarray) -> Tensor:
        """Embeddings (n, d) of the images with these row numbers."""
        wanted = [images]  # of the last convolution, of the one before it, and of the input
        for _ in self.convolutions:
            wanted.append(np.union1d(wanted[-1], self.neighbors_II[wanted[-1]].indices))
        inputs = wanted.pop()
        h = self.input_Ih[torch.from_numpy(inputs).to(self.input_Ih.device)]
        for convolution in self.convolutions:
            rows = wanted.pop()
            near = self.neighbors_II[rows]
            h = convolution(h, np.searchsorted(inputs, rows), np.searchsorted(inputs, near.indices), near)
            inputs = rows
        embedded: Tensor = self.G2(self.G1(h).relu())
        return embedded


class Convolution(nn.Module):
    """Algorithm 1: an image's own representation and the pooled ones of its neighbors, then a dense layer."""

    def __init__(self, width: int, hidden: int, d: int):
        super().__init__()
        self.Q = nn.Linear(width, hidden)
        self.W = nn.Linear(width + hidden, d)

    def forward(self, h: Tensor, own: np.ndarray, neighbors: np.ndarray, near: csr_array) -> Tensor:
        """The next representations, each of length 1 (or 0).

        Args:
            h: representations of images.
            own: places in `h` of the images to convolve.
            neighbors: places in `h` of their neighbors, one image's after the other's.
            near: the weights of the neighbors, a row for each image to convolve.
        """
        pooled = functional.embedding_bag(
            torch.from_numpy(neighbors).to(h.device),
            self.Q(h).relu(),
            torch.from_numpy(near.indptr.astype(np.int64)).to(h.device),
            mode="sum",
            per_sample_weights=torch.from_numpy(near.data).to(h.device),
            include_last_offset=True,
        )
        own_and_pooled = torch.cat([h[torch.from_numpy(own).to(h.device)], pooled], dim=1)
        return functional.normalize(self.W(own_and_pooled).relu(), dim=1)


def train(
    network: Network, favorites_UI: csr_array, hard_UI: csr_array, config: PinSageConfig, rng: np.random.Generator
) -> None:
    """Minimise the max-margin loss over the favorites (section 3.3), with more hard negatives in each epoch."""
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, fused=True)
    user_of_favorite = row_of_entry(favorites_UI)
    num_batches = min(config.max_batches, -(-favorites_UI.nnz // config.batch_favorites))
    for epoch in told(range(config.epochs if num_batches else 0), config.epochs, "epochs"):
        for place, chosen_P in enumerate(np.array_split(rng.permutation(favorites_UI.nnz), num_batches)):
            warm_up = min(1, epoch + (place + 1) / num_batches)
            optimizer.param_groups[0]["lr"] = config.learning_rate * warm_up * config.decay**epoch
            users_P, positives_P = user_of_favorite[chosen_P], favorites_UI.indices[chosen_P]
            queries_PM, _ = draw(favorites_UI, users_P, config.query_favorites, rng)
            is_popular_E = rng.random(config.negatives) < config.popular_negatives
            popular_E = favorites_UI.indices[rng.integers(0, favorites_UI.nnz, config.negatives)]
            shared_E = np.where(is_popular_E, popular_E, rng.integers(0, favorites_UI.shape[1], config.negatives))
            hard_PF, has_hard_P = draw(hard_UI, users_P, min(epoch, config.hard_negatives), rng)
            users, user_row_P = np.unique(users_P, return_inverse=True)
            is_negative_PE = ~favorites_UI[users][:, shared_E].astype(bool).toarray()[user_row_P]
            counts_PN = np.hstack([is_negative_PE, np.broadcast_to(has_hard_P[:, None], hard_PF.shape)])

            parts = (positives_P, queries_PM, shared_E, hard_PF)
            images, row = np.unique(np.concatenate([part.ravel() for part in parts]), return_inverse=True)
            rows = np.split(row, np.cumsum([part.size for part in parts])[:-1])
            embedded = network(images)
            positives_Pd, queries_PMd, shared_Ed, hard_PFd = (
                embedded[torch.from_numpy(row.reshape(part.shape)).to(embedded.device)]
                for part, row in zip(parts, rows, strict=True)
            )
            # The mean of a user must not include the positive itself.
            is_other_PM = torch.from_numpy(queries_PM != positives_P[:, None]).to(embedded)
            users_Pd = torch.einsum("pm,pmd->pd", is_other_PM, queries_PMd) / is_other_PM.sum(1, keepdim=True).clamp(1)
            counts = torch.from_numpy(counts_PN).to(embedded)
            loss = max_margin(users_Pd, positives_Pd, shared_Ed, hard_PFd, counts, config.margin)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def max_margin(
    users_Pd: Tensor, positives_Pd: Tensor, shared_Ed: Tensor, hard_PFd: Tensor, counts_PN: Tensor, margin: float
) -> Tensor:
    """The mean hinge by which negatives score less than `margin` below the user's favorite (equation 1).

    Args:
        counts_PN: 1 for each of the N = E + F negatives of a favorite that counts, else 0.
    """
    positive_P1 = (users_Pd * positives_Pd).sum(dim=1, keepdim=True)
    negative_PN = torch.cat([users_Pd @ shared_Ed.T, torch.einsum("pd,pfd->pf", users_Pd, hard_PFd)], dim=1)
    return ((negative_PN - positive_P1 + margin).relu() * counts_PN).sum() / counts_PN.sum().clamp(min=1)


def graph_of(community: Community) -> csr_array:
    """float64 (X, X): the chance that a walker goes from one node to another, times the number of the node's relations.

    A walker chooses among the relations of a node with equal chance, then among the edges of that relation: so a few
    favorites are as likely as many tags.
    """
    num_users, num_images = community.favorites_UI.shape
    users, tags = num_images, num_images + num_users
    groups = tags + community.image_tags_IT.shape[1]
    num_nodes = groups + community.memberships_UG.shape[1]
    graph = csr_array((num_nodes, num_nodes))
    for relation, first_row, first_column in (
        (community.favorites_UI, users, 0),
        (csr_array(community.owned_IU.T), users, 0),
        (community.image_tags_IT, 0, tags),
        (community.user_tags_UT, users, tags),
        (community.memberships_UG, users, groups),
        (community.contacts_UU, users, users),
    ):
        rows, columns = relation.nonzero()
        left, right = rows + first_row, columns + first_column
        edges = np.concatenate([left, right]), np.concatenate([right, left])
        graph = graph + unit_row_sums(csr_array((np.ones(len(edges[0])), edges), shape=graph.shape))
    graph.sort_indices()
    return graph


def count_visits(
    graph: csr_array, starts_S: np.ndarray, num_images: int, config: PinSageConfig, rng: np.random.Generator
) -> csr_array:
    """float32 (S, I): how often walkers from each start visit each image other than the start."""
    sums_X, to = np.asarray(graph.sum(axis=1)), np.append(graph.indices, 0)
    cumulative = np.cumsum(graph.data)  # the edges side by side, each as wide as its chance
    before_X = np.append(0, cumulative)[graph.indptr[:-1]]
    counted = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for first in range(0, len(starts_S), max(1, WALKERS // config.walks)):
        block = np.arange(first, min(first + max(1, WALKERS // config.walks), len(starts_S)))
        row_W = np.repeat(block, config.walks)
        start_W = starts_S[row_W]
        at_W, keys = start_W, []
        for _ in range(config.steps):
            edge_W = np.searchsorted(cumulative, before_X[at_W] + rng.random(len(at_W)) * sums_X[at_W], side="right")
            # Rounding must not choose an edge behind the node's last one.
            edge_W = np.clip(edge_W, graph.indptr[at_W], graph.indptr[at_W + 1] - 1)
            at_W = np.where(sums_X[at_W] > 0, to[edge_W], start_W)
            on_image_W = at_W < num_images
            counts_W = on_image_W & (at_W != start_W)
            keys.append(row_W[counts_W] * num_images + at_W[counts_W])
            at_W = np.where(on_image_W & (rng.random(len(at_W)) < config.restart), start_W, at_W)
        counted.append(np.unique(np.concatenate(keys), return_counts=True))
    key, visits = (np.concatenate(parts) for parts in zip(*counted, strict=True))
    return csr_array((visits.astype(np.float32), divmod(key, num_images)), shape=(len(starts_S), num_images))


def ranks(visits: csr_array, first: int, stop: int) -> csr_array:
    """The entries with these ranks in their row: the largest has rank 0; of equal ones the left one comes first."""
    row = row_of_entry(visits)
    order = np.lexsort((visits.indices, -visits.data, row))
    rank = place_in_row(visits)
    kept = order[(rank >= first) & (rank < stop)]
    return csr_array((visits.data[kept], (row[kept], visits.indices[kept])), shape=visits.shape)


def without(bags: csr_array, excluded: csr_array) -> csr_array:
    """The entries where the other matrix has none."""
    remaining = csr_array(bags - bags.multiply(excluded.astype(bool)))
    remaining.eliminate_zeros()
    return remaining


def draw(
    bags: csr_array, rows_P: np.ndarray, num_draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """int64 (P, num_draws): columns of each row's entries, sampled uniformly; bool (P,): whether it has any."""
    size_P = np.diff(bags.indptr)[rows_P]
    entry = bags.indptr[rows_P][:, None] + rng.integers(0, np.maximum(size_P, 1)[:, None], (len(rows_P), num_draws))
    return np.append(bags.indices, 0)[np.minimum(entry, bags.nnz)].astype(np.int64), size_P > 0


def input_of(community: Community, config: PinSageConfig, seed: int) -> np.ndarray:
    """float32 (I, h): features, tags and words, a spectral embedding of the favorites, and log degree.

    The paper has all but the third; its images have rich content, while a community's may have none. The spectral
    embedding is by singular vectors of the favorites over the roots of both degrees.
    """
    content = content_of(community, config.max_words)
    degrees_U = np.maximum(np.diff(community.favorites_UI.indptr), 1)
    degrees_I = np.maximum(community.popularity_I, 1)
    favorites_IU = csr_array(community.favorites_UI.multiply(degrees_U[:, None] ** -0.5).multiply(degrees_I**-0.5).T)
    log_degree_I = np.log1p(community.popularity_I)
    return np.hstack(
        [
            reduce(content.features_If, config.content_dims, seed),
            reduce(content.bag_Ic, config.content_dims, seed),
            reduce(favorites_IU, config.graph_dims, seed),
            (log_degree_I / max(log_degree_I.max(initial=0), 1))[:, None].astype(np.float32),
        ]
    )


def reduce(rows: np.ndarray | csr_array, dims: int, seed: int) -> np.ndarray:
    """float32: the rows in at most `dims` leading dimensions, each row that is not zero with mean square 1."""
    dims = min(dims, *rows.shape)
    if not dims:
        return np.zeros((rows.shape[0], 0), np.float32)
    left, strengths, _ = randomized_svd(rows, dims, random_state=seed)
    reduced = left * strengths
    norms = np.linalg.norm(reduced, axis=1, keepdims=True)
    return np.asarray(reduced * np.sqrt(dims) / np.where(norms > 1e-6, norms, np.inf), np.float32)
