"""Wide & Deep: the logits of a linear model of crosses, which memorises, and of a network, which generalises, summed.

U users, I images, V commonest tags, f features, k dimensions of an embedding, H hidden units; P favorites of a batch, S
images of each (the favorite and its negatives), N users to score, n users or images of a block.
"""

import numpy as np
import torch
from scipy.sparse import csr_array, vstack
from torch import Tensor, nn
from torch.nn import functional

from models.community import Community
from models.content.profiles import tag_counts
from models.devices import choose_device
from models.progress import told
from models.settings.wide_deep import WideDeepConfig
from models.sparse import commonest_columns, row_of_entry, unit_rows
from models.systems.base import System, pack_sparse, unpack_sparse
from models.systems.content import content_of
from models.uniform_negatives import UniformNegatives

HIDDEN_FLOATS = 2**22  # of the first hidden layer of a block of pairs: 16 MiB, so that a CPU's cache still helps


class WideDeep(System[WideDeepConfig]):
    """The logit that a user favors an image. No inner product: the hidden layers mix user and image."""

    name = "wide_deep"
    source = "Cheng et al., DLRS 2016, sections 3 and 4"
    grid = {"epochs": (10, 20, 40), "weight_decay": (0.0, 0.00001, 0.0001), "k": (32, 64)}
    Config = WideDeepConfig
    _fitted: dict[str, np.ndarray]
    _tags_IV: csr_array

    def fit(self, community: Community) -> None:
        config, device = self.config, choose_device("auto")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = Network(community, config)
        network.to(device)
        optimizer = torch.optim.Adam(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        rng = np.random.default_rng(self.seed)
        favorites_UI = community.favorites_UI
        negatives = UniformNegatives(favorites_UI)
        user_of_favorite = row_of_entry(favorites_UI)
        is_favorite_S = functional.one_hot(torch.tensor(0), 1 + config.negatives).float().to(device)
        for _ in told(range(config.epochs), config.epochs, "epochs"):
            order = rng.permutation(favorites_UI.nnz)
            for start in range(0, len(order), config.batch_favorites):
                chosen = order[start : start + config.batch_favorites]
                users_P = user_of_favorite[chosen]
                negatives_PS = negatives.draw(users_P, config.negatives, rng)
                images_PS = np.column_stack([favorites_UI.indices[chosen], negatives_PS])
                logits_PS = network(users_P, images_PS, rng.random(images_PS.shape) >= config.id_dropout)
                loss = functional.binary_cross_entropy_with_logits(logits_PS, is_favorite_S.expand_as(logits_PS))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        self._fitted, self._tags_IV = network.fitted(), network.tags_IV

    def score(self, users_N: np.ndarray) -> np.ndarray:
        device = choose_device("auto")
        fitted = {name: torch.from_numpy(value).to(device) for name, value in self._fitted.items()}
        images_IH = fitted["images_IH"]
        num_users = max(1, HIDDEN_FLOATS // max(1, images_IH.numel()))
        num_images = max(1, HIDDEN_FLOATS // (num_users * images_IH.shape[1]))
        scores_NI = (self._tags_IV @ self._fitted["crossed_UV"][users_N].T).T + self._fitted["bias_I"]
        scores_NI += self._fitted["owner_crosses"][
            hash_crosses(users_N[:, None], self._fitted["owner_I"], len(fitted["owner_crosses"]))
        ]
        for first in range(0, len(users_N), num_users):
            rows = slice(first, first + num_users)
            users_nH = fitted["users_UH"][torch.from_numpy(users_N[rows]).to(device)]
            for start in range(0, len(images_IH), num_images):
                columns = slice(start, start + num_images)
                hidden = (users_nH[:, None] + images_IH[columns]).relu_()
                last = functional.linear(hidden, fitted["last.weight"], fitted["last.bias"]).relu_()
                scores_NI[rows, columns] += (last @ fitted["out"]).cpu().numpy()
        return np.asarray(scores_NI, np.float32)

    def state(self) -> dict[str, np.ndarray]:
        return {**self._fitted, **pack_sparse("tags_IV", self._tags_IV)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._tags_IV = unpack_sparse("tags_IV", state)
        self._fitted = {name: value for name, value in state.items() if not name.startswith("tags_IV.")}


class Network(nn.Module):
    """Both parts, factored so that what depends on users alone, or on images alone, is computed once for each."""

    def __init__(self, community: Community, config: WideDeepConfig):
        super().__init__()
        num_users, num_images = community.favorites_UI.shape
        counts_UT, _ = tag_counts(community.user_tags_UT, community.favorites_UI, community.image_tags_IT)
        used = csr_array(vstack([counts_UT.sqrt(), community.image_tags_IT > 0]))
        tags = unit_rows(csr_array(used[:, commonest_columns(used, config.max_tags)]))
        self.tags_UV, self.tags_IV = tags[:num_users], tags[num_users:]
        self.features_If = content_of(community, 0).features_If
        self.is_warm_I = community.popularity_I > 0
        self.owner_I = np.where(community.owner_I < 0, num_users, community.owner_I)

        self.user_bias = nn.Parameter(torch.zeros(num_users))
        self.image_bias = nn.Parameter(torch.zeros(num_images))
        self.owner_bias = nn.Parameter(torch.zeros(num_users + 1))
        self.owner_crosses = nn.Parameter(torch.zeros(config.owner_crosses))
        self.tag_crosses = nn.Parameter(torch.zeros(tags.shape[1], tags.shape[1]))

        self.user = nn.Parameter(torch.randn(num_users, config.k) / config.k**0.5)
        self.image = nn.Parameter(torch.randn(num_images, config.k) / config.k**0.5)
        self.tag = nn.Parameter(torch.randn(tags.shape[1], config.k) / config.k**0.5)
        self.from_user = nn.Linear(2 * config.k, config.hidden)
        self.from_id = nn.Linear(config.k, config.hidden, bias=False)
        self.from_content = nn.Linear(config.k + self.features_If.shape[1], config.hidden, bias=False)
        self.last = nn.Linear(config.hidden, config.last_hidden)
        self.out = nn.Linear(config.last_hidden, 1, bias=False)

    def forward(self, users_P: np.ndarray, images_PS: np.ndarray, has_id_PS: np.ndarray) -> Tensor:
        """The logits (P, S) of each user with each of S images; `has_id_PS`: whether the image's id is used."""

        def on_device(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(self.out.weight.device)

        users, user_row_P = np.unique(users_P, return_inverse=True)
        images, image_row_PS = np.unique(images_PS, return_inverse=True)
        by_user, by_image = on_device(user_row_P), on_device(image_row_PS.reshape(images_PS.shape))
        has_id = on_device((has_id_PS & self.is_warm_I[images_PS]).astype(np.float32))
        owner_PS = self.owner_I[images_PS]

        users_nH, crossed_nV = self.users(users)
        id_nH, content_nH, tags_nV = self.images(images)
        hidden = users_nH[by_user][:, None] + content_nH[by_image] + has_id[..., None] * id_nH[by_image]
        deep_PS = self.out(self.last(hidden.relu()).relu()).squeeze(-1)
        wide_PS = (
            (crossed_nV[by_user][:, None] * tags_nV[by_image]).sum(-1)
            + self.owner_crosses[on_device(hash_crosses(users_P[:, None], owner_PS, len(self.owner_crosses)))]
            + self.owner_bias[on_device(owner_PS)]
            + self.image_bias[on_device(images_PS)] * has_id
            + self.user_bias[on_device(users_P)][:, None]
        )
        logits_PS: Tensor = deep_PS + wide_PS
        return logits_PS

    def users(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Of users: their part of the first hidden layer (n, H), and their weight of each image tag (n, V)."""
        tags_nV = torch.from_numpy(self.tags_UV[rows].toarray()).to(self.tag.device)
        embedded = torch.cat([self.user[torch.from_numpy(rows).to(self.tag.device)], tags_nV @ self.tag], dim=1)
        return self.from_user(embedded), tags_nV @ self.tag_crosses

    def images(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Of images: the parts of the first hidden layer from id and from content, both (n, H), and tags (n, V)."""
        device = self.tag.device
        tags_nV = torch.from_numpy(self.tags_IV[rows].toarray()).to(device)
        content = torch.cat([tags_nV @ self.tag, torch.from_numpy(self.features_If[rows]).to(device)], dim=1)
        return self.from_id(self.image[torch.from_numpy(rows).to(device)]), self.from_content(content), tags_nV

    @torch.no_grad()
    def fitted(self) -> dict[str, np.ndarray]:
        """The parts of users alone and of images alone, and the layers after both are added."""
        has_id_I = torch.from_numpy(self.is_warm_I).float().to(self.tag.device)
        users = [self.users(rows) for rows in blocks(len(self.user))]
        images_IH = torch.cat(
            [
                content_nH + has_id_I[torch.from_numpy(rows).to(self.tag.device), None] * id_nH
                for rows in blocks(len(self.image))
                for id_nH, content_nH, _ in [self.images(rows)]
            ]
        )
        parts = {
            "users_UH": torch.cat([users_nH for users_nH, _ in users]),
            "crossed_UV": torch.cat([crossed_nV for _, crossed_nV in users]),
            "images_IH": images_IH,
            "bias_I": self.image_bias * has_id_I + self.owner_bias[torch.from_numpy(self.owner_I).to(self.tag.device)],
            "owner_crosses": self.owner_crosses,
            "last.weight": self.last.weight,
            "last.bias": self.last.bias,
            "out": self.out.weight[0],
        }
        return {"owner_I": self.owner_I, **{name: value.cpu().numpy() for name, value in parts.items()}}


def hash_crosses(users: np.ndarray, owners: np.ndarray, num_weights: int) -> np.ndarray:
    """int64: the number of the weight for the cross of user and owner; the arguments are broadcast."""
    pairs = (users.astype(np.uint64) << np.uint64(32)) + owners.astype(np.uint64)
    mixed = (pairs ^ (pairs >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
    return np.asarray((mixed >> np.uint64(32)) % np.uint64(num_weights)).astype(np.int64)


def blocks(num_rows: int, size: int = 4096) -> list[np.ndarray]:
    """The row numbers 0 to num_rows - 1, in blocks."""
    return np.split(np.arange(num_rows), range(size, num_rows, size))
