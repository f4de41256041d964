"""How to rank with a published model or a fitted system: by its embeddings, or by its scores where it has none.

N users, I images, M images of each user's mixture, k places of a list, b users of a block.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from models.retrieval import ranking
from models.retrieval.ranking import Candidates, TopK
from models.systems import System, Vectors
from storage import matrices, parquet
from storage.matrices import Ids
from storage.roots import Root
from tasks.systems.model import Model, read_embeddings
from tasks.systems.restore import restore

BLOCK_SCORES = 1 << 24  # scores in memory at once: 64 MiB, several times over while they are ranked
ORDERS = 32  # of images with equal scores: with one for everybody, a popular image at its head would lift all users


class Scores(Protocol):
    """A fitted system, or one that was read back."""

    @property
    def vectors(self) -> Vectors | None:
        """Vectors whose inner product is the score; None where only `score` gives it."""

    def score(self, users_N: np.ndarray) -> np.ndarray:
        """float32 (N, I); -inf for images that cannot be scored."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """A published model that was read back."""

    users: Ids
    images: Ids
    vectors: Vectors | None
    restored: System[Any] | None = None

    def rows_of(self, users: Ids) -> np.ndarray:
        """int64 row numbers of users by id; -1 for an unknown one."""
        return matrices.rows_of(pa.array(users, pa.string()), self.users)

    def score(self, users_N: np.ndarray) -> np.ndarray:
        """The restored system's scores; a model with vectors has no other."""
        assert self.restored, "a model with vectors is scored by its vectors"
        return self.restored.score(users_N)


def read_scorer(model: Model, root: Root) -> Scorer:
    """The model over all users and all images; images without an embedding are not usable."""
    users, images = (
        matrices.ids_of(parquet.read(ref, root, [key])[key])
        for ref, key in ((model.users, "user_id"), (model.images, "image_id"))
    )
    if model.fitted:
        return Scorer(users, images, None, restore(model.fitted, root))
    (users_Ud, _), (images_Id, usable_I) = (
        _spread(*read_embeddings(refs, root), ids)
        for refs, ids in (([model.embeddings.users], users), (model.embeddings.images, images))
    )
    return Scorer(users, images, Vectors(users_Ud, images_Id, usable_I))


def best_images(
    scores: Scores,
    users_N: np.ndarray,
    allowed: Mapping[str, np.ndarray],
    k: int,
    seen_NI: csr_array,
    candidates: Candidates | None = None,
) -> dict[str, TopK]:
    """For each of several sets of image rows, every user's best of them but those seen: rows of all images, -1 at ends.

    `candidates` are of the users and of all images.
    """
    vectors = scores.vectors
    if vectors is not None:
        usable = {name: rows[vectors.usable_I[rows]] for name, rows in allowed.items()}
        return {
            name: _among(
                rows,
                ranking.top_k(
                    vectors.users_Ud[users_N],
                    vectors.images_Id[rows],
                    k,
                    seen_UI=seen_NI[:, rows],
                    candidates=candidates and Candidates(candidates.interests, candidates.image_tags[rows]),
                ),
            )
            for name, rows in usable.items()
        }
    lists: dict[str, list[TopK]] = {name: [_nothing(k)] for name in allowed}
    for block, scores_bI in _scored(scores, users_N, seen_NI.shape[1]):
        if candidates is not None:
            _hide_others(scores_bI, candidates, block)
        for name, rows in allowed.items():
            lists[name].append(_among(rows, ranking.top_k_of_scores(scores_bI[:, rows], k, seen_NI[block][:, rows])))
    return {name: TopK(*map(np.concatenate, zip(*blocks, strict=True))) for name, blocks in lists.items()}


def fair_lists(
    scores: Scores, users_N: np.ndarray, allowed: Mapping[str, np.ndarray], k: int, seen_NI: csr_array, seed: int
) -> dict[str, np.ndarray]:
    """As `best_images`, rows alone, int32 (N, k), for comparisons: no system gains or loses by the order of image ids.

    Equal scores are in a random order, and after them, where a list is not full, images that cannot be scored: a
    system that knows nothing of some images is at chance among them. Each of ORDERS groups of users has its own
    order.
    """
    rng = np.random.default_rng(seed)
    lists: dict[str, list[np.ndarray]] = {name: [np.empty((0, k), np.int32)] for name in allowed}
    for group in np.array_split(np.arange(len(users_N)), ORDERS):
        shuffled = {name: rng.permutation(rows) for name, rows in allowed.items()}
        for name, best in best_images(scores, users_N[group], shuffled, k, seen_NI[group]).items():
            lists[name].append(_filled(best.rows, shuffled[name], seen_NI[group]))
    return {name: np.concatenate(groups) for name, groups in lists.items()}


def _filled(rows_NK: np.ndarray, order: np.ndarray, seen_NI: csr_array) -> np.ndarray:
    """The lists, with the images of `order` that are neither listed nor seen in the places of -1."""
    filled_NK = rows_NK.copy()
    for row in np.flatnonzero((rows_NK < 0).any(axis=1)):
        taken = np.append(rows_NK[row], seen_NI[[row]].indices)
        is_empty = rows_NK[row] < 0
        others = order[~np.isin(order, taken)][: is_empty.sum()]
        filled_NK[row, np.flatnonzero(is_empty)[: len(others)]] = others
    return filled_NK


def score_mixtures(scores: Scores, users_N: np.ndarray, images_NM: np.ndarray, num_images: int) -> np.ndarray:
    """float32 (N, M): each user's scores of the images in their row; -inf where an image cannot be scored."""
    if scores.vectors is not None:
        users_Ud, images_Id, usable_I = scores.vectors
        return np.where(usable_I[images_NM], ranking.score_pairs(users_Ud[users_N], images_Id, images_NM), -np.inf)
    blocks = [
        np.take_along_axis(scores_bI, images_NM[block], axis=1)
        for block, scores_bI in _scored(scores, users_N, num_images)
    ]
    return np.concatenate([np.empty((0, images_NM.shape[1]), np.float32), *blocks])


def usable_images(scores: Scores, users_N: np.ndarray, num_images: int) -> np.ndarray:
    """bool (I,): images that the system can score, for at least one of the first of these users."""
    if scores.vectors is not None:
        return scores.vectors.usable_I
    for _, scores_bI in _scored(scores, users_N, num_images):
        return np.asarray(np.isfinite(scores_bI).any(axis=0))
    return np.ones(num_images, bool)


def user_blocks(num_users: int, num_images: int) -> Iterator[slice]:
    """Consecutive users whose scores of all images fit into memory."""
    step = max(1, BLOCK_SCORES // max(1, num_images))
    return (slice(first, first + step) for first in range(0, num_users, step))


def _scored(scores: Scores, users_N: np.ndarray, num_images: int) -> Iterator[tuple[slice, np.ndarray]]:
    for block in user_blocks(len(users_N), num_images):
        scores_bI = scores.score(users_N[block])
        if np.isnan(scores_bI).any():
            raise ValueError("a score is nan; a system gives -inf where it cannot score an image")
        yield block, scores_bI


def _hide_others(scores_bI: np.ndarray, candidates: Candidates, block: slice) -> None:
    """Set the scores of images without a tag of the user's interests to -inf; without interests all may be shown."""
    interests_bT = candidates.interests[block]
    is_candidate_bI = (interests_bT @ candidates.image_tags.T).toarray() > 0
    is_candidate_bI[np.diff(interests_bT.indptr) == 0] = True
    scores_bI[~is_candidate_bI] = -np.inf


def _among(rows: np.ndarray, lists: TopK) -> TopK:
    # Row -1 is the -1 at the end, even where no image is allowed at all.
    return TopK(np.append(rows, -1)[lists.rows].astype(np.int32), lists.scores)


def _nothing(k: int) -> TopK:
    return TopK(np.empty((0, k), np.int32), np.empty((0, k), np.float32))


def _spread(vector_ids: Ids, vectors_Kd: np.ndarray, ids: Ids) -> tuple[np.ndarray, np.ndarray]:
    """The vectors over all ids, zeros where an id has none; and bool, which ids have one."""
    if len(vector_ids) == len(ids):
        return vectors_Kd, np.ones(len(ids), bool)
    row = matrices.rows_of(pa.array(vector_ids, pa.string()), ids)
    vectors, has_vector = np.zeros((len(ids), vectors_Kd.shape[1]), np.float32), np.zeros(len(ids), bool)
    vectors[row], has_vector[row] = vectors_Kd, True
    return vectors, has_vector
