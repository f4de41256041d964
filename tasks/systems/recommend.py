"""Each user's best images, in blocks of users.

N users of a block, I images, d dimensions, K rows of the previous run.
"""

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from models.retrieval.incremental_topk import Before
from models.retrieval.ranking import Candidates, TopK
from models.retrieval.reranking import Ranked
from models.sparse import changed_rows
from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.tables.recommendations import RECOMMENDATIONS
from tasks.runtime import ledger
from tasks.runtime.caching import stage
from tasks.settings.lists import RecommendConfig
from tasks.systems.inputs import ListInputs, list_depth, read_filters, read_index, read_inputs, read_tags
from tasks.systems.listing import differ, listing, read_lists, update
from tasks.systems.lists import ListBlock, ListRequest, Lists
from tasks.systems.model import read_embeddings
from tasks.systems.policy import Rules, read_rules
from tasks.systems.scoring import Scorer, best_images, read_scorer


@stage
def recommend(
    block: int, request: ListRequest, config: RecommendConfig, root: Root, last: Lists | None, index: Ref | None = None
) -> ListBlock:
    """The lists of one block of users: the candidates with the best scores that the policy lets in, without favorites.

    Where the policy chooses of longer lists, those are what is kept and updated.

    Args:
        index: that of `index_images`, which finds the lists; None: they are exact.
    """
    scorer, k = read_scorer(request.model, root), config.num_recommendations
    tags = read_tags(root, request, *([last.request] if last else []))
    first = block * config.block_users
    block_users = np.arange(first, min(first + config.block_users, len(scorer.users)))
    users, everybody = scorer.users[block_users], np.arange(len(block_users))
    is_recomputed_N = np.ones(len(users), bool)
    if scorer.vectors is None:
        rules = read_rules(request.policy, users, scorer.images, root)
        depth = list_depth(config, rules)
        images, images_Id = scorer.images, None
        seen_NI, candidates = read_filters(request, users, images, tags, root)
        ranked: Ranked = partial(
            _scored, scorer, block_users, np.flatnonzero(rules.allowed), rules, seen_NI, candidates
        )
        lists = ranked(everybody, depth)
    else:
        now = read_inputs(scorer, block_users, request, tags, root)
        images, images_Id, rules = now.images, now.images_Id, now.rules
        depth = list_depth(config, rules)
        if index:
            ranked = now.by(read_index(index, root))
            lists = ranked(everybody, depth)
        else:
            ranked, kept = now.exact, depth + config.reserve
            before = _before(now, last, kept, root) if last else None
            lists, is_recomputed_N, is_entered_N = update(
                now.users_Nd, images_Id, (depth, kept), before, now.unlisted_NI, now.candidates
            )
            ledger.count("users reached by new images", int(is_entered_N.sum()))
    ledger.count("users recommended", int(is_recomputed_N.sum()))
    chosen, reserve = lists, slice(k, None)
    if rules.config.chooses:
        certain = TopK(lists.rows[:, :depth], lists.scores[:, :depth])
        chosen, reserve = rules.choose(certain, k, ranked, images_Id, request.model.system), slice(0, None)
    label = request.model.label
    return ListBlock(
        parquet.write(RECOMMENDATIONS, _columns(users, images, chosen, slice(0, k), label), root),
        parquet.write(RECOMMENDATIONS, _columns(users, images, lists, reserve, label), root),
    )


def _scored(
    scorer: Scorer,
    block_users: np.ndarray,
    allowed: np.ndarray,
    rules: Rules,
    seen_NI: csr_array,
    candidates: Candidates | None,
    rows: np.ndarray,
    depth: int,
) -> TopK:
    """The best images of some users of a block by a system without vectors."""
    unlisted, some = rules.unlisted(seen_NI)[rows], candidates and candidates.of(rows)
    return best_images(scorer, block_users[rows], {"all": allowed}, depth, unlisted, some)["all"]


def _columns(users: Ids, images: Ids, lists: TopK, places: slice, label: str) -> dict[str, Any]:
    """These places of the lists as columns of RECOMMENDATIONS."""
    owner, rank, image, score = listing(users, images, lists, places)
    return {"user_id": owner, "rank": rank, "image_id": image, "score": score, "model": pa.repeat(label, len(owner))}


def _before(now: ListInputs, last: Lists, depth: int, root: Root) -> Before:
    """The previous lists of these users, and which users and images have changed.

    Of users: their vector, favorites, interests, or what the policy hides from them. Of images: their vector or tags,
    or that they were blocked for everybody.
    """
    users, (images_before, images_Kd) = now.users, read_embeddings(last.request.model.embeddings.images, root)
    users_before, users_Kd = read_embeddings([last.request.model.embeddings.users], root)
    row = matrices.rows_of(pa.array(users, pa.string()), users_before)
    is_stale_N = differ(now.users_Nd, users_Kd, row)
    image_row = matrices.rows_of(pa.array(now.images, pa.string()), images_before)
    rules = read_rules(last.request.policy, users, now.images, root)
    is_changed_I = differ(now.images_Id, images_Kd, image_row) | ~rules.allowed
    seen_NI, candidates = read_filters(last.request, users, now.images, now.tags, root)
    is_stale_N |= changed_rows(now.unlisted_NI, rules.unlisted(seen_NI))
    if now.candidates and candidates:
        is_stale_N |= changed_rows(now.candidates.interests, candidates.interests)
        is_changed_I |= changed_rows(now.candidates.image_tags, candidates.image_tags)
    parts = ("reserve",) if rules.config.chooses else ("exported", "reserve")
    refs = [getattr(block, part) for block in last.recommendations for part in parts]
    lists = read_lists(refs, ("user_id", "image_id"), users, now.images, depth, root)
    return Before(lists, is_stale_N, is_changed_I)
