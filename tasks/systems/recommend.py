"""Each user's best images, in blocks of users.

N users of a block, I images, d dimensions, K rows of the previous run.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from models.retrieval.incremental_topk import Before
from models.retrieval.ranking import Candidates, TopK
from models.sparse import changed_rows
from storage import matrices, parquet
from storage.matrices import Ids
from storage.roots import Root
from storage.tables.recommendations import RECOMMENDATIONS
from tasks.runtime import ledger
from tasks.runtime.caching import stage
from tasks.systems.listing import differ, listing, read_lists, update
from tasks.systems.lists import ListBlock, ListRequest, Lists, RecommendConfig
from tasks.systems.model import read_embeddings
from tasks.systems.scoring import best_images, read_scorer


@stage
def recommend(block: int, request: ListRequest, config: RecommendConfig, root: Root, last: Lists | None) -> ListBlock:
    """The lists of one block of users: the candidates with the best scores, without the users' favorites."""
    scorer, k = read_scorer(request.model, root), config.num_recommendations
    tags = _tags(root, request, *([last.request] if last else []))
    images, first = scorer.images, block * config.block_users
    chosen = np.arange(first, min(first + config.block_users, len(scorer.users)))
    users = scorer.users[chosen]
    vectors = scorer.vectors
    if vectors is None:
        seen_NI, candidates = _filters(request, users, images, tags, root)
        lists = best_images(scorer, chosen, {"all": np.arange(len(images))}, k, seen_NI, candidates)["all"]
        is_recomputed_N = np.ones(len(users), bool)
    else:
        images, images_Id = images[vectors.usable_I], vectors.images_Id[vectors.usable_I]
        filters = _filters(request, users, images, tags, root)
        now = _Inputs(users, images, vectors.users_Ud[chosen], images_Id, tags, *filters)
        before = _before(now, last, k + config.reserve, root) if last else None
        lists, is_recomputed_N, is_entered_N = update(
            now.users_Nd, images_Id, (k, k + config.reserve), before, now.seen_NI, now.candidates
        )
        ledger.count("users reached by new images", int(is_entered_N.sum()))
    ledger.count("users recommended", int(is_recomputed_N.sum()))
    exported, reserve = (
        parquet.write(RECOMMENDATIONS, _columns(users, images, lists, places, request.model.label), root)
        for places in (slice(0, k), slice(k, None))
    )
    return ListBlock(exported, reserve)


def _columns(users: Ids, images: Ids, lists: TopK, places: slice, label: str) -> dict[str, Any]:
    """These places of the lists as columns of RECOMMENDATIONS."""
    owner, rank, image, score = listing(users, images, lists, places)
    return {"user_id": owner, "rank": rank, "image_id": image, "score": score, "model": pa.repeat(label, len(owner))}


@dataclass(frozen=True, eq=False)
class _Inputs:
    """The users of a block and the images, with vectors, and what may be recommended."""

    users: Ids
    images: Ids
    users_Nd: np.ndarray
    images_Id: np.ndarray
    tags: Ids
    seen_NI: csr_array
    candidates: Candidates | None


def _before(now: _Inputs, last: Lists, depth: int, root: Root) -> Before:
    """The previous lists of these users, and which users and images have changed: their vector, favorites or tags."""
    users, (images_before, images_Kd) = now.users, read_embeddings(last.request.model.embeddings.images, root)
    users_before, users_Kd = read_embeddings([last.request.model.embeddings.users], root)
    row = matrices.rows_of(pa.array(users, pa.string()), users_before)
    is_stale_N = differ(now.users_Nd, users_Kd, row)
    image_row = matrices.rows_of(pa.array(now.images, pa.string()), images_before)
    is_changed_I = differ(now.images_Id, images_Kd, image_row)
    seen_NI, candidates = _filters(last.request, users, now.images, now.tags, root)
    is_stale_N |= changed_rows(now.seen_NI, seen_NI)
    if now.candidates and candidates:
        is_stale_N |= changed_rows(now.candidates.interests, candidates.interests)
        is_changed_I |= changed_rows(now.candidates.image_tags, candidates.image_tags)
    refs = [ref for block in last.recommendations for ref in (block.exported, block.reserve)]
    lists = read_lists(refs, ("user_id", "image_id"), users, now.images, depth, root)
    return Before(lists, is_stale_N, is_changed_I)


def _tags(root: Root, *requests: ListRequest) -> Ids:
    """All tags of interests and of images; none where all images are candidates."""
    refs = [ref for request in requests for ref in (request.interests, request.image_labels) if ref]
    return matrices.ids_of(*(parquet.read(ref, root, ["tag"])["tag"] for ref in refs)) if refs else np.empty(0, object)


def _filters(
    request: ListRequest, users: Ids, images: Ids, tags: Ids, root: Root
) -> tuple[csr_array, Candidates | None]:
    """bool (N, I), the favorites of these users, which are never recommended; and candidates, None: all images."""
    seen, candidates = parquet.read(request.favorites, root), None
    if request.interests and request.image_labels:
        interests, labels = parquet.read(request.interests, root), parquet.read(request.image_labels, root)
        candidates = Candidates(
            matrices.incidence(interests["user_id"], interests["tag"], users, tags),
            matrices.incidence(labels["image_id"], labels["tag"], images, tags),
        )
    return matrices.incidence(seen["user_id"], seen["image_id"], users, images), candidates
