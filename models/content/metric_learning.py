"""Image distances learned from favorites: a linear map of features under which socially similar images are near.

I images, U users, K keys, N anchors or pairs, C candidates of an anchor, b anchors of a step, t targets of an anchor,
f features, d dimensions; X and Y the rows and columns of any matrix.

Two images are socially similar if they share keys: users who favor both, tags on both, groups whose members favor both.
So every signal has the same form, and no images x images matrix is needed.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array, eye_array, hstack
from sklearn.preprocessing import normalize
from torch import Tensor

from models.community import Community
from models.devices import choose_device
from models.progress import told
from models.settings.metric_learning import MapConfig
from models.sparse import unit_rows

PAIRS = 2**17  # pairs of images compared at once
# (similarity to the targets (b, t), to the other anchors (b, b)) -> (b, t, b): how much further than the target each
# other anchor must be; 0: not compared
Margins = Callable[[Tensor, Tensor], Tensor]


class Targets(NamedTuple):
    """The images that each anchor is to be near: row n belongs to anchor n."""

    anchors_N: np.ndarray  # int64 image rows
    targets_Nt: np.ndarray  # int64 image rows; an anchor with fewer than t has some twice
    similarity_Nt: np.ndarray  # float32, the social similarity of anchor and target


def favoriters(community: Community) -> csr_array:
    """float32 (I, U), rows of length 1: the users who favor an image; those with few favorites have more weight."""
    return _weighted(csr_array(community.favorites_UI.T))


def social_keys(community: Community) -> csr_array:
    """float32 (I, K), rows of length 1 at most, whose inner products are the images' social similarities, 0 to 1.

    The mean over the available signals of the cosines: of the users who favor an image; of these and their contacts; of
    their groups; of the image's tags. In each signal rare keys have more weight, by their inverse frequency.
    """
    favoriters_IU = csr_array(community.favorites_UI.T)
    signals = [favoriters_IU]
    if community.has("contacts"):
        self_and_contacts_UU = eye_array(community.num_users, dtype=np.float32, format="csr") + community.contacts_UU
        signals.append(csr_array(favoriters_IU @ self_and_contacts_UU))
    if community.has("groups"):
        signals.append(csr_array(favoriters_IU @ community.memberships_UG))
    if community.has("tags"):
        signals.append(community.image_tags_IT)
    keys_IK = csr_array(hstack([_weighted(signal) for signal in signals], format="csr"))
    keys_IK.data = (keys_IK.data / np.sqrt(len(signals))).astype(np.float32)
    return keys_IK


def similarity(keys_IK: csr_array, left_N: np.ndarray, right_N: np.ndarray) -> np.ndarray:
    """float32 (N,): the inner products of pairs of rows."""
    similarity_N = np.empty(len(left_N), np.float32)
    for first in range(0, len(left_N), PAIRS):
        block = slice(first, first + PAIRS)
        similarity_N[block] = keys_IK[left_N[block]].multiply(keys_IK[right_N[block]]).sum(axis=1)
    return similarity_N


def draw_targets(
    keys_IK: csr_array, usable_I: np.ndarray, features_If: np.ndarray | None, config: MapConfig, seed: int
) -> Targets:
    """The best of `candidates` socially similar images sampled for each usable image that has any.

    A candidate is sampled in two steps, from image to key and from key to image, each in proportion to the weights. The
    best are the nearest by `features_If`, as in Weinberger and Saul, or the socially most similar if that is None. The
    cost is linear in images; exact nearest neighbors of all images would be quadratic.
    """
    rng = np.random.default_rng(seed)
    keys_IK = csr_array(keys_IK.multiply(usable_I[:, None]))
    keys_IK.eliminate_zeros()
    anchors_N = np.flatnonzero(np.diff(keys_IK.indptr))
    shape = (len(anchors_N), config.candidates)
    keys = _sample_columns(keys_IK, np.repeat(anchors_N, config.candidates), rng)
    candidates_NC = np.sort(_sample_columns(csr_array(keys_IK.T), keys, rng).reshape(shape), axis=1)
    left, right = np.repeat(anchors_N, config.candidates), candidates_NC.ravel()
    similarity_NC = similarity(keys_IK, left, right).reshape(shape)
    merit_NC = similarity_NC if features_If is None else -_squared_distances(features_If, left, right).reshape(shape)
    is_other_NC = candidates_NC != anchors_N[:, None]
    is_repeated_NC = np.zeros(shape, bool)
    is_repeated_NC[:, 1:] = candidates_NC[:, 1:] == candidates_NC[:, :-1]
    merit_NC = np.where(is_other_NC & ~is_repeated_NC, merit_NC, -np.inf)
    order_Nt = np.argsort(-merit_NC, axis=1, kind="stable")[:, : config.num_targets]
    is_target_Nt = np.isfinite(np.take_along_axis(merit_NC, order_Nt, axis=1))
    order_Nt = np.where(is_target_Nt, order_Nt, order_Nt[:, :1])
    found = is_target_Nt.any(axis=1)
    targets_Nt, similarity_Nt = (
        np.take_along_axis(of_NC, order_Nt, axis=1) for of_NC in (candidates_NC, similarity_NC)
    )
    return Targets(anchors_N[found], targets_Nt[found], similarity_Nt[found])


def standardised(features_If: np.ndarray, usable_I: np.ndarray) -> np.ndarray:
    """float32 (I, f): the features of usable images less their mean, each scaled to length 1; zeros elsewhere."""
    mean_f = features_If.sum(axis=0, where=usable_I[:, None], dtype=np.float64) / max(1, np.count_nonzero(usable_I))
    centered_If = features_If - mean_f.astype(np.float32)
    return np.asarray(normalize(np.where(usable_I[:, None], centered_If, 0)), np.float32)


def learn(
    features_If: np.ndarray, keys_IK: csr_array, targets: Targets, margins: Margins, config: MapConfig, seed: int
) -> np.ndarray:
    """float32 (f, d): the map L under which D(i, j) = |(x_i - x_j) L|^2 keeps the margins.

    Minimises `large_margin_loss`, starting from the principal components. The impostors are anchors of the same step.

    Args:
        features_If: float32, standardised.
        keys_IK: rows whose inner products are the social similarities.
    """
    device = choose_device("auto")
    map_fd = torch.from_numpy(_principal_components(features_If, config.dimensions)).to(device).requires_grad_()
    num_anchors = len(targets.anchors_N)
    num_steps = -(-num_anchors // config.batch_images)
    optimizer = torch.optim.Adam([map_fd], config.learning_rate)
    features = torch.from_numpy(features_If).to(device)
    rng = np.random.default_rng(seed)
    for epoch in told(range(config.epochs), config.epochs, "epochs"):
        for step, rows in enumerate(np.array_split(rng.permutation(num_anchors), max(1, num_steps))):
            if len(rows) < 2:
                continue
            anchors_b, targets_bt = targets.anchors_N[rows], targets.targets_Nt[rows]
            similarity_bb = torch.from_numpy((keys_IK[anchors_b] @ keys_IK[anchors_b].T).toarray()).to(device)
            similarity_bt = torch.from_numpy(targets.similarity_Nt[rows]).to(device)
            margin_btb = margins(similarity_bt, similarity_bb)
            mapped_bd = features[torch.from_numpy(anchors_b).to(device)] @ map_fd
            mapped_btd = features[torch.from_numpy(targets_bt).to(device)] @ map_fd
            target_distance_bt = (mapped_btd - mapped_bd[:, None]).square().sum(2)
            lengths_b = mapped_bd.square().sum(1)
            distance_bb = lengths_b[:, None] + lengths_b - 2 * mapped_bd @ mapped_bd.T
            loss = large_margin_loss(target_distance_bt, distance_bb, margin_btb, config.pull)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * (1 - (epoch * num_steps + step) / (config.epochs * num_steps))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return np.asarray(map_fd.detach().cpu().numpy())


def large_margin_loss(target_distance_bt: Tensor, distance_bb: Tensor, margin_btb: Tensor, pull: float) -> Tensor:
    """The loss of LMNN (Weinberger and Saul 2009, Eq. 13), where the margins are 1 for impostors and 0 for others.

    The mean over anchors i and their targets j of
        pull * D(i, j) + (1 - pull) * sum over the l with m(i, j, l) > 0 of [m(i, j, l) + D(i, j) - D(i, l)]+.

    Args:
        target_distance_bt: D(i, j).
        distance_bb: D(i, l).
        margin_btb: m(i, j, l).
    """
    hinge_btb = (margin_btb + target_distance_bt[:, :, None] - distance_bb[:, None]).clamp(min=0)
    push_bt = torch.where(margin_btb > 0, hinge_btb, 0).sum(2)
    return (pull * target_distance_bt + (1 - pull) * push_bt).mean()


def _weighted(signal_IK: csr_array) -> csr_array:
    """float32: the signal times the inverse frequencies of its columns, rows scaled to length 1."""
    images_of_key = np.bincount(signal_IK.indices, minlength=signal_IK.shape[1])
    rarity_K = np.log1p(signal_IK.shape[0] / np.maximum(images_of_key, 1)).astype(np.float32)
    weighted_IK = csr_array(signal_IK, dtype=np.float32, copy=True)
    weighted_IK.data *= rarity_K[weighted_IK.indices]
    return unit_rows(weighted_IK)


def _sample_columns(weights_XY: csr_array, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int64: a column for each of the rows, sampled in proportion to the row's weights; each row must have an entry."""
    cumulative = np.concatenate([[0.0], np.cumsum(weights_XY.data, dtype=np.float64)])
    start, stop = weights_XY.indptr[rows], weights_XY.indptr[rows + 1]
    point = cumulative[start] + rng.random(len(rows)) * (cumulative[stop] - cumulative[start])
    entry = np.clip(np.searchsorted(cumulative, point, side="right") - 1, start, stop - 1)
    return np.asarray(weights_XY.indices[entry], np.int64)


def _squared_distances(features_If: np.ndarray, left_N: np.ndarray, right_N: np.ndarray) -> np.ndarray:
    distances_N = np.empty(len(left_N), np.float32)
    step = max(1, (1 << 24) // features_If.shape[1])  # 64 MiB of gathered features
    for first in range(0, len(left_N), step):
        block = slice(first, first + step)
        distances_N[block] = np.square(features_If[left_N[block]] - features_If[right_N[block]]).sum(axis=1)
    return distances_N


def _principal_components(features_If: np.ndarray, dimensions: int) -> np.ndarray:
    """float32 (f, d): the directions of most variance, each of length 1."""
    _, directions_ff = np.linalg.eigh((features_If.T @ features_If).astype(np.float64))
    return np.ascontiguousarray(directions_ff[:, ::-1][:, :dimensions], np.float32)
