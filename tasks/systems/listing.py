"""Ranked lists: computed from vectors, or updated from the previous run's lists; as columns of a table, and read back.

N owners of lists, I images, d dimensions, K rows of the previous run.
"""

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from models.retrieval import incremental_topk
from models.retrieval.incremental_topk import Before, Updated
from models.retrieval.ranking import Candidates, TopK
from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root

SAMPLE = 500  # users, or images, for which exact lists are computed beside those of an index


def listing(owners: Ids, images: Ids, lists: TopK, places: slice) -> tuple[pa.Array, np.ndarray, pa.Array, np.ndarray]:
    """Owner, rank from 1, image and score of each place that holds an image."""
    rows, scores = lists.rows[:, places], lists.scores[:, places]
    owner, place = np.nonzero(rows >= 0)
    # Taken from Arrow's strings: numpy's object arrays would be turned into them one by one.
    owned, listed = (
        pa.array(ids, pa.string()).take(pa.array(row)) for ids, row in ((owners, owner), (images, rows[owner, place]))
    )
    return owned, (place + (places.start or 0) + 1).astype(np.int32), listed, scores[owner, place]


def update(
    users_Nd: np.ndarray,
    images_Id: np.ndarray,
    places: tuple[int, int],
    before: Before | None,
    seen_NI: csr_array,
    candidates: Candidates | None,
) -> Updated:
    """The lists, updated where there are lists `before`, else computed.

    Args:
        places: how many of a list are exported, and how many are kept.
    """
    k, depth = places
    if before is None:
        lists = incremental_topk.best(users_Nd, images_Id, depth, seen_UI=seen_NI, candidates=candidates)
        return Updated(lists, np.ones(len(users_Nd), bool), np.zeros(len(users_Nd), bool))
    return incremental_topk.update(users_Nd, images_Id, k, before, seen_UI=seen_NI, candidates=candidates)


def differ(now_Nd: np.ndarray, before_Kd: np.ndarray, row_N: np.ndarray) -> np.ndarray:
    """bool (N,): rows whose vector is new (row_N is -1) or another one than before."""
    if now_Nd.shape[1] != before_Kd.shape[1] or not len(before_Kd):
        return np.ones(len(now_Nd), bool)
    return np.asarray((row_N < 0) | (now_Nd != before_Kd[np.maximum(row_N, 0)]).any(axis=1))


def read_lists(refs: list[Ref], key: tuple[str, str], owners: Ids, images: Ids, k: int, root: Root) -> TopK:
    """The previous lists (N, k) of these owners, by rank; images by their current rows."""
    lists = pa.concat_tables([parquet.read(ref, root, [*key, "rank", "score"]) for ref in refs])
    row = matrices.rows_of(lists[key[0]], owners)
    is_owner = row >= 0
    found = matrices.rows_of(lists[key[1]], images)[is_owner]
    places = row[is_owner], lists["rank"].to_numpy()[is_owner] - 1
    listed = incremental_topk.empty(len(owners), k)
    listed.rows[places] = np.where(found < 0, incremental_topk.GONE, found)
    listed.scores[places] = lists["score"].to_numpy()[is_owner]
    return listed


def sample_rows(number: int, seed: int) -> np.ndarray:
    """int64: SAMPLE of so many rows, sorted; all where there are fewer."""
    return np.sort(np.random.default_rng(seed).permutation(number)[:SAMPLE])
