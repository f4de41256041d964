"""Everybody's best images, and similar images, in blocks."""

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
def recommend(block: int, asked: ListRequest, config: RecommendConfig, root: Root, last: Lists | None) -> ListBlock:
    """One block of users: candidates but their favorites, by score."""
    scorer, k = read_scorer(asked.model, root), config.num_recommendations
    tags = _tags(root, asked, *([last.asked] if last else []))
    images, first = scorer.images, block * config.block_users
    chosen = np.arange(first, min(first + config.block_users, len(scorer.users)))
    users = scorer.users[chosen]
    vectors = scorer.vectors
    if vectors is None:
        seen_NI, candidates = _filters(asked, users, images, tags, root)
        lists = best_images(scorer, chosen, {"all": np.arange(len(images))}, k, seen_NI, candidates)["all"]
        is_made_N = np.ones(len(users), bool)
    else:
        images, images_Id = images[vectors.usable_I], vectors.images_Id[vectors.usable_I]
        filters = _filters(asked, users, images, tags, root)
        now = _Drawn(users, images, vectors.users_Ud[chosen], images_Id, tags, *filters)
        before = _before(now, last, k + config.reserve, root) if last else None
        lists, is_made_N, is_reached_N = update(
            now.users_Nd, images_Id, (k, k + config.reserve), before, now.seen_NI, now.candidates
        )
        ledger.count("users reached by new images", int(is_reached_N.sum()))
    ledger.count("users recommended", int(is_made_N.sum()))
    exported, reserve = (
        parquet.write(RECOMMENDATIONS, _columns(users, images, lists, places, asked.model.label), root)
        for places in (slice(0, k), slice(k, None))
    )
    return ListBlock(exported, reserve)


def _columns(users: Ids, images: Ids, lists: TopK, places: slice, label: str) -> dict[str, Any]:
    """Those places of the lists as columns of RECOMMENDATIONS."""
    owner, rank, image, score = listing(users, images, lists, places)
    return {"user_id": owner, "rank": rank, "image_id": image, "score": score, "model": pa.repeat(label, len(owner))}


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Users and images with vectors, and what may be listed."""

    users: Ids
    images: Ids
    users_Nd: np.ndarray
    images_Id: np.ndarray
    tags: Ids
    seen_NI: csr_array
    candidates: Candidates | None


def _before(now: _Drawn, last: Lists, depth: int, root: Root) -> Before:
    """The earlier lists of these users, and whose vector, favorites, interests or tags are others now."""
    users, (images, images_Kd) = now.users, read_embeddings(last.asked.model.embeddings.images, root)
    known, users_Kd = read_embeddings([last.asked.model.embeddings.users], root)
    row = matrices.rows_of(pa.array(users, pa.string()), known)
    is_stale_N = differ(now.users_Nd, users_Kd, row)
    image_row = matrices.rows_of(pa.array(now.images, pa.string()), images)
    is_changed_I = differ(now.images_Id, images_Kd, image_row)
    seen_NI, candidates = _filters(last.asked, users, now.images, now.tags, root)
    is_stale_N |= changed_rows(now.seen_NI, seen_NI)
    if now.candidates and candidates:
        is_stale_N |= changed_rows(now.candidates.interests, candidates.interests)
        is_changed_I |= changed_rows(now.candidates.image_tags, candidates.image_tags)
    refs = [ref for made in last.recommendations for ref in (made.exported, made.reserve)]
    lists = read_lists(refs, ("user_id", "image_id"), users, now.images, depth, root)
    return Before(lists, is_stale_N, is_changed_I)


def _tags(root: Root, *asked: ListRequest) -> Ids:
    """All tags of interest and all that images carry; none where there is no filter."""
    refs = [ref for item in asked for ref in (item.interests, item.carried) if ref]
    return matrices.ids_of(*(parquet.read(ref, root, ["tag"])["tag"] for ref in refs)) if refs else np.empty(0, object)


def _filters(asked: ListRequest, users: Ids, images: Ids, tags: Ids, root: Root) -> tuple[csr_array, Candidates | None]:
    """What these users never get, and what they may get."""
    seen, candidates = parquet.read(asked.favorites, root), None
    if asked.interests and asked.carried:
        wanted, has = parquet.read(asked.interests, root), parquet.read(asked.carried, root)
        candidates = Candidates(
            matrices.incidence(wanted["user_id"], wanted["tag"], users, tags),
            matrices.incidence(has["image_id"], has["tag"], images, tags),
        )
    return matrices.incidence(seen["user_id"], seen["image_id"], users, images), candidates
