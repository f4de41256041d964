"""How many of the images of exact lists those of an index hold.

N sampled users or images, I images, K places of a list.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from models.evaluation import metrics
from models.retrieval import incremental_topk
from models.retrieval.ranking import TopK
from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from tasks.runtime.caching import stage
from tasks.systems.compared import only_itself, read_compared
from tasks.systems.inputs import list_depth, read_inputs, read_tags
from tasks.systems.listing import sample_rows
from tasks.systems.lists import Lists
from tasks.systems.scoring import read_scorer


@dataclass(frozen=True)
class Recall:
    """The share of the exact lists' images that a table's lists hold, a mean over sampled lists; 95 % interval."""

    table: str
    value: float
    low: float
    high: float
    k: int
    lists: int

    @property
    def line(self) -> str:
        """The figure in a few words."""
        return (
            f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}] of the exact first {self.k}, mean of {self.lists:,} "
            f"lists"
        )


@stage
def measure_recall(lists: Lists, pixels: list[Ref], root: Root) -> list[Recall]:
    """The recall of recommendations and of similar images; none of a table without rows.

    Args:
        pixels: shards of the images with a usable picture.
    """
    return [*_of_recommendations(lists, root), *_of_similar(lists, pixels, root)]


def _of_recommendations(lists: Lists, root: Root) -> list[Recall]:
    request, k = lists.request, lists.config.num_recommendations
    scorer = read_scorer(request.model, root)
    rows = sample_rows(len(scorer.users), seed=1)  # other users than those for whom the index was fitted
    now = read_inputs(scorer, rows, request, read_tags(root, request), root)
    exact = now.exact(np.arange(len(rows)), list_depth(lists.config, now.rules))
    if now.rules.config.chooses:
        exact = now.rules.choose(exact, k, now.exact, now.images_Id, request.model.system)
    exported = [block.exported for block in lists.recommendations]
    return _recall(
        "recommendations", exact, _exported(exported, ("user_id", "image_id"), now.users, now.images, root), k
    )


def _of_similar(lists: Lists, pixels: list[Ref], root: Root) -> list[Recall]:
    request, k = lists.request, lists.config.num_similar
    images, unit_If = read_compared(request.model, lists.appearance, request.policy, pixels, root)
    if not unit_If.size:
        return []
    rows = sample_rows(len(images), seed=1)
    exact = incremental_topk.best(unit_If[rows], unit_If, k, seen_UI=only_itself(rows, len(images)))
    return _recall(
        "similar_images",
        exact,
        _exported([lists.similar], ("image_id", "similar_image_id"), images[rows], images, root),
        k,
    )


def _exported(refs: list[Ref], columns: tuple[str, str], owners: Ids, images: Ids, root: Root) -> csr_array:
    """(N, I): an entry marks an image in the exported list of the owner."""
    listed = parquet.scan_all(refs, root).filter(pl.col(columns[0]).is_in(owners.tolist())).select(columns)
    owner, image = listed.collect().to_arrow().columns
    return matrices.incidence(owner, image, owners, images)


def _recall(table: str, exact: TopK, exported_NI: csr_array, k: int) -> list[Recall]:
    """The mean over owners whose exact list holds an image."""
    is_found_NK = metrics.find_hits(exact.rows, exported_NI).is_hit
    lengths_N = (exact.rows >= 0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        found = metrics.bootstrap(np.where(lengths_N > 0, is_found_NK.sum(axis=1) / np.maximum(lengths_N, 1), np.nan))
    return [Recall(table, found.value, found.low, found.high, k, found.users)] if found.users else []
