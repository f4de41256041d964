"""The current export's figures on held-out favorites from a file: `tastegraph evaluate --test FILE`."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_array, hstack

from models.evaluation import metrics
from storage import matrices, parquet, snapshots
from storage.roots import Root
from tasks.data.pairs import read_pairs
from tasks.evaluation.full_ranking import FULL_KS, full_intervals
from tasks.systems.published import model_of
from tasks.systems.scoring import best_images, read_scorer, usable_images


def score_file(file: Path, root: Root) -> dict[str, Any]:
    """Full-ranking figures of the current export on held-out favorites, and what was left out.

    Lists leave out every favorite that the run ingested, except those held out. Raises ValueError without an export,
    and where the file names no user of it.
    """
    pointer = snapshots.current(root)
    if pointer is None:
        raise ValueError(f"{root.address}: nothing is published below this root; run `tastegraph nightly` first")
    manifest = snapshots.manifest(root, pointer.run_id)
    if "favorites" not in manifest.inputs:
        raise ValueError(
            f"{root.address}: the manifest of run {pointer.run_id} was lost and does not say any more what the run was "
            f"computed from; evaluate after the next night"
        )
    heldout, broken = read_pairs(file)
    favorites = parquet.read(manifest.inputs["favorites"], root)
    scorer = read_scorer(model_of(manifest), root)
    ids = scorer.images
    tested = np.intersect1d(heldout["user_id"].unique().to_numpy(), scorer.users)
    if not len(tested):
        some = ", ".join(map(repr, heldout["user_id"].unique().sort().head(3)))
        ours = ", ".join(map(repr, scorer.users[:3].tolist()))
        raise ValueError(
            f"{file}: none of its users is in run {pointer.run_id} (it names {some}; the run has {ours}); "
            f"give held-out favorites of the community that the run was made from"
        )
    arrow = heldout.to_arrow()
    heldout_NI = matrices.incidence(arrow["user_id"], arrow["image_id"], tested, ids)
    # Test images that the community does not have stay in the denominator: columns that no list can reach.
    unknown = heldout.filter(~pl.col("image_id").is_in(ids.tolist()) & pl.col("user_id").is_in(tested.tolist()))
    unknown_images = np.unique(unknown["image_id"].to_numpy())
    arrow = unknown.to_arrow()
    unknown_NJ = matrices.incidence(arrow["user_id"], arrow["image_id"], tested, unknown_images)
    seen_NI = matrices.incidence(favorites["user_id"], favorites["image_id"], tested, ids)
    known_NI = csr_array(seen_NI.multiply(heldout_NI))  # held-out favorites that the run ingested
    seen_NI = csr_array(seen_NI - known_NI)
    seen_NI.eliminate_zeros()
    users_N = scorer.rows_of(tested)
    ranked = best_images(scorer, users_N, {"all": np.arange(len(ids))}, max(FULL_KS), seen_NI)["all"].rows
    hits = metrics.find_hits(ranked, csr_array(hstack([heldout_NI, unknown_NJ])))
    figures = [
        {"metric": name, "k": k, "value": interval.value, "low": interval.low, "high": interval.high}
        for (name, k), interval in full_intervals(hits, ("recall", "ndcg", "hit_rate")).items()
    ]
    num_unknown_users = heldout["user_id"].n_unique() - len(tested)
    unusable = int((heldout_NI.sum(axis=0) * ~usable_images(scorer, users_N, len(ids))).sum())
    learned = ""
    if known_NI.nnz:
        learned = (
            f"{known_NI.nnz} rows of the file are favorites that run {pointer.run_id} ingested; it learned from "
            f"{manifest.learned_from or 'favorites'}, so these figures may be too high: evaluate on favorites that are "
            f"newer than the run"
        )
    return {
        "run_id": pointer.run_id,
        "users": len(tested),
        "rows": len(heldout),
        "metrics": figures,
        "learned_from": learned,
        "left_out": [
            f"{num_unknown_users} users of the file are not in the export and are not counted",
            f"{len(unknown)} rows name an image the community does not have, and {unusable} one the model has no input "
            f"for: they count as misses",
            *(f"{count} rows of the file cannot be used: {reason}" for reason, count in broken.items()),
        ],
    }
