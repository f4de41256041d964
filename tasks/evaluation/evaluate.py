"""The concealed favorites against the model: the paper's protocol in both versions, and full ranking."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError
from scipy.sparse import csr_array, hstack

from models.evaluation import metrics, protocols
from models.systems import Vectors
from storage import matrices, parquet, snapshots
from storage.refs import Ref
from storage.roots import Root
from storage.tables.evaluation import METRICS
from tasks.data.concealment import Split
from tasks.runtime.caching import stage
from tasks.systems.scoring import (
    Model,
    Scorer,
    Scores,
    best_images,
    model_of,
    read_scorer,
    ref_of_input,
    score_mixtures,
    usable_images,
)

log = logging.getLogger("tastegraph")

FULL_KS = (10, 20)
FULL_METRICS = {
    "recall": metrics.recall,
    "ndcg": metrics.ndcg,
    "hit_rate": metrics.hit_rate,
    "map": metrics.average_precision,
}


@dataclass(frozen=True, eq=False)
class Tested:
    """A system, and the rows that it has for the test users."""

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
        drawn = protocols.Split(training_UI, concealed_UI, test_users, split.thresholds)
        published = Tested(model.system, ours, _rows(user_ids[test_users], ours))
        baselines = _baselines(training_UI, split.thresholds.seed)
        systems = [published] + [
            Tested(name, Scorer(user_ids, ours.images, vectors), test_users)
            for name, vectors in baselines.items()
            if name != model.system
        ]
        usable_I = usable_images(ours, published.users_N, len(ours.images))
        for protocol, matched in (("paper", False), ("paper_matched", True)):
            rows += _paper(protocol, systems, drawn, favorites_UI, usable_I, matched=matched)
        is_warm_I = np.bincount(training_UI.indices, minlength=len(ours.images)) > 0
        rows += _full(systems, training_UI[test_users], concealed_UI[test_users], is_warm_I)
    return parquet.write(METRICS, pl.DataFrame(rows, schema=pl.Schema(METRICS.schema)), root)


def score_file(file: Path, root: Root) -> dict[str, Any]:
    """Full-ranking figures of the current export on held-out favorites, and what had to be left out.

    Every favorite that the run knew is masked, but those that are asked about. Raises ValueError without an export.
    """
    pointer = snapshots.current(root)
    if pointer is None:
        raise ValueError(f"{root.address}: nothing is published here; run `tastegraph nightly` first")
    manifest = snapshots.manifest(root, pointer.run_id)
    heldout = read_pairs(file)
    known = parquet.read(ref_of_input(manifest, "favorites"), root)
    scorer = read_scorer(model_of(manifest), root)
    ids = scorer.images
    tested = np.intersect1d(heldout["user_id"].unique().to_numpy(), scorer.users)
    arrow = heldout.to_arrow()
    heldout_NI = matrices.incidence(arrow["user_id"], arrow["image_id"], tested, ids)
    # Test images that the community does not have stay in the denominator: columns that no list can reach.
    unknown = heldout.filter(~pl.col("image_id").is_in(ids.tolist()) & pl.col("user_id").is_in(tested.tolist()))
    strangers = np.unique(unknown["image_id"].to_numpy())
    arrow = unknown.to_arrow()
    beyond_NJ = matrices.incidence(arrow["user_id"], arrow["image_id"], tested, strangers)
    seen_NI = matrices.incidence(known["user_id"], known["image_id"], tested, ids)
    seen_NI = csr_array(seen_NI - seen_NI.multiply(heldout_NI))
    seen_NI.eliminate_zeros()
    users_N = _rows(tested, scorer)
    ranked = best_images(scorer, users_N, {"all": np.arange(len(ids))}, max(FULL_KS), seen_NI)["all"].rows
    hits = metrics.find_hits(ranked, csr_array(hstack([heldout_NI, beyond_NJ])))
    figures = []
    for name in ("recall", "ndcg", "hit_rate"):
        for k in FULL_KS:
            interval = metrics.bootstrap(FULL_METRICS[name](hits, k))
            figures.append(
                {"metric": name, "k": k, "value": interval.value, "low": interval.low, "high": interval.high}
            )
    strangers_users = heldout["user_id"].n_unique() - len(tested)
    unusable = int((heldout_NI.sum(axis=0) * ~usable_images(scorer, users_N, len(ids))).sum())
    return {
        "run_id": pointer.run_id,
        "users": len(tested),
        "rows": len(heldout),
        "metrics": figures,
        "left_out": [
            f"{strangers_users} users of the file are not in the export and are not counted",
            f"{len(unknown)} rows name an image the community does not have, and {unusable} one the model has no input "
            f"for: they count as misses",
        ],
    }


def read_pairs(file: Path) -> pl.DataFrame:
    """The distinct user_id, image_id pairs of a Parquet, CSV or JSON-lines file, as strings."""
    readers = {
        ".parquet": pl.read_parquet,
        ".csv": lambda path: pl.read_csv(path, infer_schema=False),
        ".jsonl": pl.read_ndjson,
    }
    if file.suffix not in readers:
        raise ValueError(f"{file}: held-out favorites are read from .parquet, .csv or .jsonl")
    try:
        rows = readers[file.suffix](file)
    except PolarsError as error:
        raise ValueError(f"{file}: cannot be read as {file.suffix[1:]}: {error}; write it anew") from error
    if missing := {"user_id", "image_id"} - set(rows.columns):
        raise ValueError(f"{file}: no column {', '.join(sorted(missing))} (got {', '.join(rows.columns)})")
    return rows.select(pl.col("user_id", "image_id").cast(pl.String)).drop_nulls().unique(maintain_order=True)


def _rows(user_ids: np.ndarray, scorer: Scorer) -> np.ndarray:
    return matrices.rows_of(pa.array(user_ids, pa.string()), scorer.users)


def _baselines(training_UI: csr_array, seed: int) -> dict[str, Vectors]:
    num_users, num_images = training_UI.shape
    everything = np.ones(num_images, bool)
    return {
        "popularity": Vectors(*protocols.popularity_vectors(training_UI), everything),
        "random": Vectors(*protocols.random_vectors(num_users, num_images, seed), everything),
    }


def _paper(
    protocol: str,
    systems: list[Tested],
    split: protocols.Split,
    favorites_UI: csr_array,
    usable_I: np.ndarray,
    *,
    matched: bool,
) -> Iterator[dict[str, Any]]:
    try:
        others = protocols.draw_others(favorites_UI, split, usable_I, matched=matched)
    except ValueError as error:
        log.warning("%s: not measured: %s", protocol, error)
        return
    mixture_NM = protocols.mix(split, others)
    for system in systems:
        scores_NM = score_mixtures(system.scores, system.users_N, mixture_NM, len(usable_I))
        measured = protocols.mixture_metrics(scores_NM, split)
        for metric, values_NK in measured._asdict().items():
            for k, values_N in enumerate(values_NK.T, start=1):
                yield _row(protocol, "all", system.name, metric, k, values_N)


def _full(
    systems: list[Tested], training_NI: csr_array, concealed_NI: csr_array, is_warm_I: np.ndarray
) -> Iterator[dict[str, Any]]:
    """All images, and apart those with training favorites of anybody (warm) and those without (cold)."""
    wanted = {}
    for name, slice_I in {"all": np.ones_like(is_warm_I), "warm": is_warm_I, "cold": ~is_warm_I}.items():
        kept = csr_array(concealed_NI.multiply(slice_I[None, :]))
        kept.eliminate_zeros()
        if kept.nnz:
            wanted[name] = (kept, np.flatnonzero(slice_I))
    allowed = {name: images for name, (_, images) in wanted.items()}
    for system in systems:
        ranked = best_images(system.scores, system.users_N, allowed, max(FULL_KS), training_NI)
        for name, (kept, _) in wanted.items():
            hits = metrics.find_hits(ranked[name].rows, kept)
            for metric, measure in FULL_METRICS.items():
                for k in FULL_KS:
                    yield _row("full", name, system.name, metric, k, measure(hits, k))


def _row(protocol: str, slice_: str, system: str, metric: str, k: int, values_N: np.ndarray) -> dict[str, Any]:
    interval = metrics.bootstrap(values_N)
    return {
        "protocol": protocol,
        "slice": slice_,
        "system": system,
        "metric": metric,
        "k": k,
        **interval._asdict(),
    }
