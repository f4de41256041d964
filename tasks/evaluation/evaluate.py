"""How well the model finds the concealed favorites: the paper's protocol in both versions, and full ranking.

U users, N of them tested, I images, M images of each user's mixture, K places in a list.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from models.evaluation import metrics, protocols
from models.systems import Vectors
from storage import matrices, parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.evaluation import METRICS
from tasks.data.split import Split
from tasks.evaluation.full_ranking import FULL_KS, full_intervals
from tasks.runtime.caching import stage
from tasks.systems.model import Model
from tasks.systems.scoring import Scorer, Scores, best_images, read_scorer, score_mixtures, usable_images

log = logging.getLogger("tastegraph")


@dataclass(frozen=True, eq=False)
class _Tested:
    """A system, and its rows of the test users."""

    name: str
    scores: Scores
    users_N: np.ndarray


@stage
def evaluate(split: Split, favorites: Ref, model: Model, root: Root) -> Ref:
    """METRICS of the model, of popularity and of random on the concealed favorites."""
    ours = read_scorer(model, root)
    training, concealed, all_favorites = (
        parquet.read(ref, root) for ref in (split.training, split.concealed, favorites)
    )
    user_ids = matrices.ids_of(all_favorites["user_id"])
    training_UI, concealed_UI, favorites_UI = (
        matrices.incidence(rows["user_id"], rows["image_id"], user_ids, ours.images)
        for rows in (training, concealed, all_favorites)
    )
    test_users = np.flatnonzero(np.diff(concealed_UI.indptr)).astype(np.int32)
    rows: list[dict[str, Any]] = []
    if len(test_users):
        concealment = protocols.Split(training_UI, concealed_UI, test_users, split.thresholds)
        published = _Tested(model.system, ours, ours.rows_of(user_ids[test_users]))
        baselines = _baselines(training_UI, split.thresholds.seed)
        systems = [published] + [
            _Tested(name, Scorer(user_ids, ours.images, vectors), test_users)
            for name, vectors in baselines.items()
            if name != model.system
        ]
        usable_I = usable_images(ours, published.users_N, len(ours.images))
        for protocol, matched in (("paper", False), ("paper_matched", True)):
            rows += _paper(protocol, systems, concealment, favorites_UI, usable_I, matched=matched)
        is_warm_I = np.bincount(training_UI.indices, minlength=len(ours.images)) > 0
        rows += _full(systems, training_UI[test_users], concealed_UI[test_users], is_warm_I)
    return parquet.write(METRICS, pl.DataFrame(rows, schema=pl.Schema(METRICS.schema)), root)


def _baselines(training_UI: csr_array, seed: int) -> dict[str, Vectors]:
    num_users, num_images = training_UI.shape
    everything = np.ones(num_images, bool)
    return {
        "popularity": Vectors(*protocols.popularity_vectors(training_UI), everything),
        "random": Vectors(*protocols.random_vectors(num_users, num_images, seed), everything),
    }


def _paper(
    protocol: str,
    systems: list[_Tested],
    concealment: protocols.Split,
    favorites_UI: csr_array,
    usable_I: np.ndarray,
    *,
    matched: bool,
) -> Iterator[dict[str, Any]]:
    try:
        others = protocols.draw_distractors(favorites_UI, concealment, usable_I, matched=matched)
    except ValueError as error:
        log.warning("%s: not measured: %s", protocol, error)
        return
    mixture_NM = protocols.mix(concealment, others)
    for system in systems:
        scores_NM = score_mixtures(system.scores, system.users_N, mixture_NM, len(usable_I))
        measured = protocols.mixture_metrics(scores_NM, concealment)
        intervals = metrics.bootstrap_columns(np.hstack(measured))
        at = [(metric, k) for metric, values_NK in measured._asdict().items() for k in range(1, values_NK.shape[1] + 1)]
        for (metric, k), interval in zip(at, intervals, strict=True):
            yield _row(protocol, "all", system.name, metric, k, interval)


def _full(
    systems: list[_Tested], training_NI: csr_array, concealed_NI: csr_array, is_warm_I: np.ndarray
) -> Iterator[dict[str, Any]]:
    """Rankings of all images, of those with a training favorite (warm), and of those without one (cold)."""
    slices = {}
    for name, slice_I in {"all": np.ones_like(is_warm_I), "warm": is_warm_I, "cold": ~is_warm_I}.items():
        kept = csr_array(concealed_NI.multiply(slice_I[None, :]))
        kept.eliminate_zeros()
        if kept.nnz:
            slices[name] = (kept, np.flatnonzero(slice_I))
    allowed = {name: images for name, (_, images) in slices.items()}
    for system in systems:
        ranked = best_images(system.scores, system.users_N, allowed, max(FULL_KS), training_NI)
        for name, (kept, _) in slices.items():
            hits = metrics.find_hits(ranked[name].rows, kept)
            for (metric, k), interval in full_intervals(hits).items():
                yield _row("full", name, system.name, metric, k, interval)


def _row(protocol: str, slice_: str, system: str, metric: str, k: int, interval: metrics.Interval) -> dict[str, Any]:
    return {
        "protocol": protocol,
        "slice": slice_,
        "system": system,
        "metric": metric,
        "k": k,
        **interval._asdict(),
    }
