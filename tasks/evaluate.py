"""The concealed favorites against the model: the paper's protocol in both versions, and full ranking."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PolarsError
from scipy.sparse import csr_array, hstack

from models import metrics, protocols, ranking
from storage import matrices, parquet, snapshots, tables
from storage.refs import Ref
from storage.roots import Root
from tasks.caching import stage
from tasks.embed import Embeddings, read_embeddings
from tasks.split import Split

log = logging.getLogger("tastegraph")

FULL_KS = (10, 20)
FULL_METRICS = {
    "recall": metrics.recall,
    "ndcg": metrics.ndcg,
    "hit_rate": metrics.hit_rate,
    "map": metrics.average_precision,
}


@dataclass(frozen=True)
class System:
    """A system as vectors whose inner product is the score, over all images; those it cannot score are not usable."""

    name: str
    users_Nd: np.ndarray  # of the test users
    images_Id: np.ndarray
    usable_I: np.ndarray


@stage
def evaluate(split: Split, images: Ref, favorites: Ref, embeddings: Embeddings, root: Root) -> Ref:
    """METRICS of the model, of popularity and of random on the concealed favorites."""
    image_ids = matrices.ids_of(parquet.read(images, root, ["image_id"])["image_id"])
    training, concealed, all_favorites = (
        parquet.read(ref, root) for ref in (split.training, split.concealed, favorites)
    )
    user_ids = matrices.ids_of(all_favorites["user_id"])
    training_UI, concealed_UI, favorites_UI = (
        matrices.incidence(rows["user_id"], rows["image_id"], user_ids, image_ids)
        for rows in (training, concealed, all_favorites)
    )
    test_users = np.flatnonzero(np.diff(concealed_UI.indptr)).astype(np.int32)
    rows: list[dict[str, Any]] = []
    if len(test_users):
        drawn = protocols.Split(training_UI, concealed_UI, test_users, split.thresholds)
        ours = _exported("cdl", user_ids[test_users], image_ids, [embeddings.users], embeddings.images, root)
        systems = [ours, *_baselines(training_UI, test_users, split.thresholds.seed)]
        for protocol, matched in (("paper", False), ("paper_matched", True)):
            rows += _paper(protocol, systems, drawn, favorites_UI, ours.usable_I, matched=matched)
        is_warm_I = np.bincount(training_UI.indices, minlength=len(image_ids)) > 0
        rows += _full(systems, training_UI[test_users], concealed_UI[test_users], is_warm_I)
    return parquet.write(tables.METRICS, pl.DataFrame(rows, schema=pl.Schema(tables.METRICS.schema)), root)


def score_file(file: Path, root: Root) -> dict[str, Any]:
    """Full-ranking figures of the current export on held-out favorites, and what had to be left out.

    Every favorite that the run knew is masked, but those that are asked about. Raises ValueError without an export.
    """
    pointer = snapshots.current(root)
    if pointer is None:
        raise ValueError(f"{root.address}: nothing is published here; run `tastegraph nightly` first")
    manifest = snapshots.manifest(root, pointer.run_id)
    heldout = read_pairs(file)
    image_ids, known = (_read_input(manifest, name, root) for name in ("images", "favorites"))
    ids = matrices.ids_of(image_ids["image_id"])
    exports = {
        name: [
            Ref(name, file["path"], file["sha256"], file["rows"], file["bytes"])
            for file in manifest["files"]
            if file["table"] == name
        ]
        for name in ("user_embeddings", "image_embeddings")
    }
    users, _ = read_embeddings(exports["user_embeddings"], root)
    tested = np.intersect1d(heldout["user_id"].unique().to_numpy(), users)
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
    system = _exported("model", tested, ids, exports["user_embeddings"], exports["image_embeddings"], root)
    ranked = _rank(system, seen_NI, system.usable_I, max(FULL_KS))
    hits = metrics.find_hits(ranked, csr_array(hstack([heldout_NI, beyond_NJ])))
    figures = []
    for name in ("recall", "ndcg", "hit_rate"):
        for k in FULL_KS:
            interval = metrics.bootstrap(FULL_METRICS[name](hits, k))
            figures.append(
                {"metric": name, "k": k, "value": interval.value, "low": interval.low, "high": interval.high}
            )
    strangers_users = heldout["user_id"].n_unique() - len(tested)
    unusable = int((heldout_NI.sum(axis=0) * ~system.usable_I).sum())
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


def _read_input(manifest: dict[str, Any], name: str, root: Root) -> Any:
    content = {key: value for key, value in manifest["inputs"][name].items() if key != "class"}
    return parquet.read(Ref(**content), root)


def _exported(
    name: str, user_ids: np.ndarray, image_ids: np.ndarray, users: list[Ref], images: list[Ref], root: Root
) -> System:
    known_users, users_Ud = read_embeddings(users, root)
    known_images, known_Id = read_embeddings(images, root)
    images_Id = np.zeros((len(image_ids), known_Id.shape[1]), np.float32)
    row = np.searchsorted(image_ids.astype(str), known_images.astype(str))
    images_Id[row] = known_Id
    usable_I = np.zeros(len(image_ids), bool)
    usable_I[row] = True
    return System(name, users_Ud[np.searchsorted(known_users.astype(str), user_ids.astype(str))], images_Id, usable_I)


def _baselines(training_UI: csr_array, test_users: np.ndarray, seed: int) -> Iterator[System]:
    num_users, num_images = training_UI.shape
    everything = np.ones(num_images, bool)
    for name, (users, images) in {
        "popularity": protocols.popularity_vectors(training_UI),
        "random": protocols.random_vectors(num_users, num_images, seed),
    }.items():
        yield System(name, users[test_users], images, everything)


def _paper(
    protocol: str,
    systems: list[System],
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
        scores_NM = ranking.score_pairs(system.users_Nd, system.images_Id, mixture_NM)
        measured = protocols.mixture_metrics(np.where(system.usable_I[mixture_NM], scores_NM, -np.inf), split)
        for metric, values_NK in measured._asdict().items():
            for k, values_N in enumerate(values_NK.T, start=1):
                yield _row(protocol, "all", system.name, metric, k, values_N)


def _full(
    systems: list[System], training_NI: csr_array, concealed_NI: csr_array, is_warm_I: np.ndarray
) -> Iterator[dict[str, Any]]:
    """All images, and apart those with training favorites of anybody (warm) and those without (cold)."""
    for name, slice_I in {"all": np.ones_like(is_warm_I), "warm": is_warm_I, "cold": ~is_warm_I}.items():
        kept = csr_array(concealed_NI.multiply(slice_I[None, :]))
        kept.eliminate_zeros()
        if not kept.nnz:
            continue
        for system in systems:
            ranked = _rank(system, training_NI, system.usable_I & slice_I, max(FULL_KS))
            hits = metrics.find_hits(ranked, kept)
            for metric, measure in FULL_METRICS.items():
                for k in FULL_KS:
                    yield _row("full", name, system.name, metric, k, measure(hits, k))


def _rank(system: System, seen_NI: csr_array, allowed_I: np.ndarray, k: int) -> np.ndarray:
    """Rows of the best images among the allowed ones, int32 (N, k); -1 where a list has ended."""
    allowed = np.flatnonzero(allowed_I)
    found = ranking.top_k(system.users_Nd, system.images_Id[allowed], k, seen_UI=csr_array(seen_NI[:, allowed])).rows
    # A -1 finds the -1 at the end, even where no image is allowed at all.
    return np.asarray(np.append(allowed, -1)[found])


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
