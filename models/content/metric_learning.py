"""Image distances learned from who favorited what: a linear map under which socially similar images are near.

I images, U users, K keys, N anchors, b anchors of a step, t targets of an anchor, f features, d dimensions.

Two images are alike socially where they share keys: a user who favorited both, a tag on both, a group with favoriters
of both. One statement serves every signal, and neither similar pairs nor similarities need an images x images matrix.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array, eye_array, hstack
from sklearn.preprocessing import normalize
from torch import Tensor

from models.community import Community
from models.devices import choose_device

PAIRS = 2**17  # pairs of images compared at once
# (similarity to the targets (b, t), to the other anchors (b, b)) -> (b, t, b): by how much further than the target the
# other must be; 0 where nothing is asked
Margins = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class MapConfig:
    """How a map is learned."""

    dimensions: int = 64  # of the mapped vectors; at most the features'
    num_targets: int = 3  # images pulled towards each anchor (k of Weinberger and Saul)
    candidates: int = 32  # socially similar images drawn for each anchor, of which the targets are the best
    pull: float = 0.5  # weight of the distance to targets against that of too near others (1 - mu there)
    epochs: int = 15  # passes over the anchors
    batch_images: int = 256  # anchors of a step; each is among the others for the rest
    learning_rate: float = 0.003  # of Adam, falling to nothing in a straight line


class Targets(NamedTuple):
    """The images that shall be near: row n belongs to anchor n."""

    anchors_N: np.ndarray  # int64 image rows
    targets_Nt: np.ndarray  # int64 image rows; an anchor with fewer than t has some twice
    similarity_Nt: np.ndarray  # float32, socially


def favoriters(community: Community) -> csr_array:
    """float32 (I, U), rows of length 1: an image's favoriters, those who favor little weighing more."""
    return _weighted(csr_array(community.favorites_UI.T))


def social_keys(community: Community) -> csr_array:
    """float32 (I, K), rows of length 1 at most, whose inner products are the images' social similarities, 0 to 1.

    The mean of the cosines over each signal that the source tells: the favoriters; they and those they follow; the
    groups they joined; the image's tags. Rare keys learn_weights more in each, by their inverse frequency.
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
    """The best of `candidates` socially similar images drawn for each usable image that has any.

    A candidate is drawn by two steps, to a key of the image and to an image of that key, each in proportion to its
    weight. Best are those nearest by `features_If`, as in Weinberger and Saul, or, where it is None, the socially most
    similar. Cost is linear in images; exact nearest neighbors of all images would be quadratic.
    """
    rng = np.random.default_rng(seed)
    keys_IK = csr_array(keys_IK.multiply(usable_I[:, None]))
    keys_IK.eliminate_zeros()
    anchors_N = np.flatnonzero(np.diff(keys_IK.indptr))
    shape = (len(anchors_N), config.candidates)
    keys = _step(keys_IK, np.repeat(anchors_N, config.candidates), rng)
    candidates_NC = np.sort(_step(csr_array(keys_IK.T), keys, rng).reshape(shape), axis=1)
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
    """float32 (I, f): the usable features less their mean, each scaled to length 1; zeros elsewhere."""
    mean_f = features_If.sum(axis=0, where=usable_I[:, None], dtype=np.float64) / max(1, np.count_nonzero(usable_I))
    centered_If = features_If - mean_f.astype(np.float32)
    return np.asarray(normalize(np.where(usable_I[:, None], centered_If, 0)), np.float32)


def learn(
    features_If: np.ndarray, keys_IK: csr_array, targets: Targets, margins: Margins, config: MapConfig, seed: int
) -> np.ndarray:
    """float32 (f, d): the map L under which D(i, j) = |(x_i - x_j) L|^2 obeys the margins.

    Minimises `large_margin_loss` from the principal components on. The others are the anchors of the same step.

    Args:
        features_If: float32, standardised.
        keys_IK: whose inner products are the social similarities.
    """
    device = choose_device("auto")
    map_fd = torch.from_numpy(_principal_components(features_If, config.dimensions)).to(device).requires_grad_()
    num_anchors = len(targets.anchors_N)
    num_steps = -(-num_anchors // config.batch_images)
    optimizer = torch.optim.Adam([map_fd], config.learning_rate)
    features = torch.from_numpy(features_If).to(device)
    rng = np.random.default_rng(seed)
    for epoch in range(config.epochs):
        for step, rows in enumerate(np.array_split(rng.permutation(num_anchors), max(1, num_steps))):
            if len(rows) < 2:
                continue
            anchors_b, targets_bt = targets.anchors_N[rows], targets.targets_Nt[rows]
            alike_bb = torch.from_numpy((keys_IK[anchors_b] @ keys_IK[anchors_b].T).toarray()).to(device)
            alike_bt = torch.from_numpy(targets.similarity_Nt[rows]).to(device)
            margin_btb = margins(alike_bt, alike_bb)
            mapped_bd = features[torch.from_numpy(anchors_b).to(device)] @ map_fd
            mapped_btd = features[torch.from_numpy(targets_bt).to(device)] @ map_fd
            near_bt = (mapped_btd - mapped_bd[:, None]).square().sum(2)
            lengths_b = mapped_bd.square().sum(1)
            others_bb = lengths_b[:, None] + lengths_b - 2 * mapped_bd @ mapped_bd.T
            loss = large_margin_loss(near_bt, others_bb, margin_btb, config.pull)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * (1 - (epoch * num_steps + step) / (config.epochs * num_steps))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return np.asarray(map_fd.detach().cpu().numpy())


def large_margin_loss(near_bt: Tensor, others_bb: Tensor, margin_btb: Tensor, pull: float) -> Tensor:
    """The loss of LMNN (Weinberger and Saul 2009, Eq. 13), if the margins are 1 for impostors and 0 for others.

    The mean over anchors i and their targets j of
        pull * D(i, j) + (1 - pull) * sum over the others l with m(i, j, l) > 0 of [m(i, j, l) + D(i, j) - D(i, l)]+.

    Args:
        near_bt: D(i, j).
        others_bb: D(i, l).
        margin_btb: m(i, j, l).
    """
    hinge_btb = (margin_btb + near_bt[:, :, None] - others_bb[:, None]).clamp(min=0)
    push_bt = torch.where(margin_btb > 0, hinge_btb, 0).sum(2)
    return (pull * near_bt + (1 - pull) * push_bt).mean()


def _weighted(signal_IK: csr_array) -> csr_array:
    """The signal times the inverse frequencies of its columns, rows scaled to length 1."""
    images_of_key = np.bincount(signal_IK.indices, minlength=signal_IK.shape[1])
    rarity_K = np.log1p(signal_IK.shape[0] / np.maximum(images_of_key, 1)).astype(np.float32)
    weighted_IK = csr_array(signal_IK, dtype=np.float32, copy=True)
    weighted_IK.data *= rarity_K[weighted_IK.indices]
    return csr_array(normalize(weighted_IK))


def _step(weights_XY: csr_array, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """int64: for each row a column, drawn in proportion to its weights; each row must have an entry."""
    reached = np.concatenate([[0.0], np.cumsum(weights_XY.data, dtype=np.float64)])
    start, stop = weights_XY.indptr[rows], weights_XY.indptr[rows + 1]
    point = reached[start] + rng.random(len(rows)) * (reached[stop] - reached[start])
    entry = np.clip(np.searchsorted(reached, point, side="right") - 1, start, stop - 1)
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
