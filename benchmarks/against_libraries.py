"""Our systems and metrics against those of libraries, on movielens-posters: each user's last 20 %, or cold images.

    pip install implicit ir-measures cornac
    TASTEGRAPH_DATA=... python benchmarks/against_libraries.py [bpr] [vbpr] [vbpr_cold] [metrics] [auc]

Systems learn from training and validation; all images with a training favorite that the user does not favor are ranked.
Dimensions, epochs and penalties are the same on both sides, and nothing was tuned on the test.

bpr      `bpr_mf` and implicit's BPR. They differ: implicit samples negatives by popularity and takes plain gradient
         steps (at its default rate), ours samples uniformly and uses Adam.
vbpr     `vbpr` and Cornac's VBPR on one set of features: a thumbnail and histograms of gradients.
vbpr_cold  The same where a tenth of the images is held out, ranked among themselves: means of three seeds.
metrics  `models.evaluation.metrics` and ir-measures (trec_eval) on the lists of `ease`.
auc      `models.evaluation.metrics.auc` and scikit-learn's roc_auc_score on leave one out, scores of `ease`.
"""

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.sparse import csr_array
from sklearn.metrics import roc_auc_score

from models.community import Community
from models.content import features
from models.content.embedding import embed
from models.evaluation import metrics, splits
from models.evaluation.splits import Parts
from models.settings.splits import SplitConfig
from models.systems import SYSTEMS, System
from storage import matrices

K = 20
DIMENSIONS, BPR_EPOCHS, BPR_RATE, BPR_PENALTY = 50, 100, 0.01, 0.02
BATCH, LEARNING_RATE, PENALTY, VISUAL_PENALTY = 1024, 0.003, 0.003, 0.0001  # of both VBPRs: our defaults
SIDE = 64  # of a picture, in pixels
SEED = 0
COLD_SEEDS = 3  # cold images are few: which popular ones rank first depends on the seed
Measured = dict[str, np.ndarray]  # by metric: a value for each user


def main() -> None:
    """Run the named parts, or all."""
    if "TASTEGRAPH_DATA" not in os.environ:
        print("skipped: TASTEGRAPH_DATA does not name the folder that holds movielens-posters")
        return
    folder = Path(os.environ["TASTEGRAPH_DATA"]) / "movielens-posters"
    chosen = sys.argv[1:] or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        sys.exit(f"no part is called {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    for name in chosen:
        print(f"-- {name}")
        try:
            PARTS[name](folder)
        except ModuleNotFoundError as error:
            print(f"left out: there is no {error.name}; pip install implicit ir-measures cornac")


def compare_bpr(folder: Path) -> None:
    """BPR-MF."""
    community, parts = _by_time(folder)
    training = {"learning_rate": BPR_RATE}
    ours = _fitted(
        "bpr_mf",
        community,
        {"K": DIMENSIONS, "epochs": BPR_EPOCHS, "lambda_theta": BPR_PENALTY, "candidates": 1, **training},
    )
    theirs = _fitted(
        "bpr",
        community,
        {"factors": DIMENSIONS, "iterations": BPR_EPOCHS, "regularization": BPR_PENALTY, "popular": 0.0, **training},
    )
    everybody = np.arange(community.num_users)
    _print_both({"bpr_mf": [ours.score(everybody)], "implicit bpr": [theirs.score(everybody)]}, community, parts)


def compare_vbpr(folder: Path) -> None:
    """VBPR, warm images."""
    community, parts = _by_time(folder)
    ours, theirs = _both_vbpr(replace(community, features_If=_features(folder)), dimensions=32, epochs=40, seed=SEED)
    _print_both({"vbpr": [ours], "Cornac VBPR": [theirs]}, community, parts)


def compare_vbpr_cold(folder: Path) -> None:
    """VBPR, cold images."""
    favorites_UI, _ = _favorites(folder)
    parts = splits.cold(favorites_UI, SplitConfig())
    community = Community(favorites_UI=(parts.training + parts.validation).tocsr(), features_If=_features(folder))
    scores = [_both_vbpr(community, dimensions=64, epochs=20, seed=seed) for seed in range(COLD_SEEDS)]
    ours, theirs = (list(of_seeds) for of_seeds in zip(*scores, strict=True))
    _print_both({"vbpr": ours, "Cornac VBPR": theirs}, community, parts)


def _both_vbpr(community: Community, dimensions: int, epochs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    settings = {
        "K": dimensions,
        "K_visual": dimensions,
        "lambda_theta": PENALTY,
        "lambda_visual": VISUAL_PENALTY,
        "epochs": epochs,
        "learning_rate": LEARNING_RATE,
        "batch_triplets": BATCH,
        "pool_images": 0,
    }
    ours = _fitted("vbpr", community, settings, seed)
    return ours.score(np.arange(community.num_users)), _cornac_vbpr(community, dimensions, epochs, seed)


def compare_metrics(folder: Path) -> None:
    """Full-ranking metrics."""
    import ir_measures
    from ir_measures import AP, P, R, Success, nDCG

    community, parts = _by_time(folder)
    scores_UI = _fitted("ease", community, {}).score(np.arange(community.num_users))
    ranked_UI = _ranked(scores_UI, community, parts, community.num_images)
    hits = metrics.find_hits(ranked_UI, parts.test)
    qrels = {str(user): {str(image): 1 for image in parts.test[[user]].indices} for user in _tested(parts)}
    run = {
        user: {str(image): -float(place) for place, image in enumerate(ranked_UI[int(user)]) if image >= 0}
        for user in qrels
    }
    pairs = {
        nDCG @ 10: metrics.ndcg(hits, 10),
        nDCG @ K: metrics.ndcg(hits, K),
        R @ 10: metrics.recall(hits, 10),
        R @ K: metrics.recall(hits, K),
        P @ K: metrics.precision(hits, K),
        Success @ 10: metrics.hit_rate(hits, 10),
        AP: metrics.average_precision(
            hits, community.num_images
        ),  # trec_eval divides by all held out, also at a cutoff
    }
    theirs = {(one.measure, one.query_id): one.value for one in ir_measures.iter_calc(list(pairs), qrels, run)}
    print(f"{'metric':10} {'ours':>8} {'theirs':>8}  largest difference of {len(qrels)} users")
    for measure, ours_U in pairs.items():
        theirs_N = np.array([theirs[measure, user] for user in qrels])
        ours_N = ours_U[[int(user) for user in qrels]]
        print(f"{measure!s:10} {ours_N.mean():8.5f} {theirs_N.mean():8.5f}  {np.abs(ours_N - theirs_N).max():.1e}")


def compare_auc(folder: Path) -> None:
    """AUC over all unobserved images."""
    favorites_UI, _ = _favorites(folder)
    parts = splits.leave_one_out(favorites_UI, SplitConfig(seed=SEED))
    training_UI = (parts.training + parts.validation).tocsr()
    tested = _tested(parts)
    scores_NI = _fitted("ease", Community(favorites_UI=training_UI), {}).score(tested)
    observed_NI = training_UI[tested]
    ours_N = metrics.auc(scores_NI, parts.test[tested].indices, observed_NI)
    theirs_N = np.empty(len(tested))
    for row, user in enumerate(tested):
        unobserved = np.setdiff1d(np.arange(favorites_UI.shape[1]), observed_NI[[row]].indices)
        finite = np.maximum(scores_NI[row, unobserved], np.finfo(np.float32).min)  # scikit-learn refuses -inf
        theirs_N[row] = roc_auc_score(parts.test[[user]].toarray()[0, unobserved] > 0, finite)
    print(f"AUC of {len(tested)} users: ours {ours_N.mean():.6f}, scikit-learn {theirs_N.mean():.6f}", end="")
    print(f", largest difference {np.abs(ours_N - theirs_N).max():.1e}")


PARTS: dict[str, Callable[[Path], None]] = {
    "bpr": compare_bpr,
    "vbpr": compare_vbpr,
    "vbpr_cold": compare_vbpr_cold,
    "metrics": compare_metrics,
    "auc": compare_auc,
}


def _favorites(folder: Path) -> tuple[csr_array, csr_array]:
    """Favorites and their times."""
    favorites, images = pq.read_table(folder / "favorites.parquet"), pq.read_table(folder / "images.parquet")
    users, ids = matrices.ids_of(favorites["user_id"]), matrices.ids_of(images["image_id"])
    favorites_UI = matrices.incidence(favorites["user_id"], favorites["image_id"], users, ids)
    rows = [matrices.rows_of(favorites["user_id"], users), matrices.rows_of(favorites["image_id"], ids)]
    times = favorites["favorited_at"].cast(pa.int64()).to_numpy().astype(np.float64)
    return favorites_UI, csr_array((times, rows), favorites_UI.shape)


def _by_time(folder: Path) -> tuple[Community, Parts]:
    favorites_UI, times_UI = _favorites(folder)
    parts = splits.by_time(favorites_UI, times_UI, SplitConfig())
    return Community(favorites_UI=(parts.training + parts.validation).tocsr()), parts


def _fitted(name: str, community: Community, settings: dict[str, float], seed: int = SEED) -> System:
    system = SYSTEMS[name](SYSTEMS[name].Config(**settings), seed=seed)
    started = time.perf_counter()
    system.fit(community)
    print(f"{name}: {time.perf_counter() - started:.0f} s  {system.config}")
    return system


def _cornac_vbpr(community: Community, dimensions: int, epochs: int, seed: int) -> np.ndarray:
    """float32 (U, I): scores of Cornac's VBPR; by features alone for images without a training favorite.

    Its objective adds a column to a row, so that each batch has B² terms of the visual bias of one triplet and the rest
    of another (recom_vbpr.py of 3.0.1, `feat_diff.mm(Bp)`); its penalties are sums over B triplets of λ/2. So its λ are
    2B of ours, and that of E, which it adds once a batch, 2B².
    """
    from cornac.data import Dataset, ImageModality
    from cornac.models import VBPR

    assert community.features_If is not None
    warm = np.flatnonzero(community.popularity_I)
    favorites_UW = community.favorites_UI[:, warm].tocoo()
    num_users, num_warm = favorites_UW.shape
    dataset = Dataset(
        num_users,
        num_warm,
        {user: user for user in range(num_users)},
        {image: image for image in range(num_warm)},
        (favorites_UW.row, favorites_UW.col, favorites_UW.data),
        seed=seed,
    )
    dataset.add_modalities(item_image=ImageModality(features=community.features_If[warm]))
    model = VBPR(
        k=dimensions,
        k2=dimensions,
        n_epochs=epochs,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        lambda_w=2 * BATCH * PENALTY,
        lambda_b=2 * BATCH * PENALTY,
        lambda_e=2 * BATCH**2 * VISUAL_PENALTY,
        verbose=False,
        seed=seed,
    )
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        model.fit(dataset)
    print(f"Cornac VBPR: {time.perf_counter() - started:.0f} s")
    scores_UI = model.theta_user @ (community.features_If @ model.emb_matrix).T
    scores_UI += (community.features_If @ model.beta_prime).ravel()
    scores_UI[:, warm] = model.get_user_vectors() @ model.get_item_vectors().T
    return np.asarray(scores_UI, np.float32)


def _features(folder: Path) -> np.ndarray:
    """float32 (I, 768) of unit norm: a thumbnail of 8 x 8 and oriented gradients, z-scored, both of equal weight."""
    images = pq.read_table(folder / "images.parquet", columns=["image_id", "path"]).sort_by("image_id")
    pictures = np.stack([_picture(folder / path) for path in images["path"].to_pylist()])
    config = features.FeatureConfig(kind="descriptors")
    *_, (network, _) = features.learn(
        lambda rows: pictures[rows], len(pictures), config
    )  # counts means, learns nothing
    return np.concatenate(
        [embed(network, pictures[first : first + 256], 256) for first in range(0, len(pictures), 256)]
    )


def _picture(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        picture.draft("RGB", (SIDE, SIDE))
        return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))


def _tested(parts: Parts) -> np.ndarray:
    return np.flatnonzero(np.diff(parts.test.indptr))


def _ranked(scores_UI: np.ndarray, community: Community, parts: Parts, k: int) -> np.ndarray:
    """Tested users' k best candidates, or images with a training favorite, without their own; -1 for other users."""
    hidden_UI = scores_UI.copy()
    is_ranked_I = community.popularity_I > 0
    if parts.test_candidates is not None:
        is_ranked_I = np.isin(np.arange(community.num_images), parts.test_candidates)
    hidden_UI[:, ~is_ranked_I] = -np.inf
    hidden_UI[community.favorites_UI.nonzero()] = -np.inf
    ranked_UK = np.argsort(-hidden_UI, axis=1, kind="stable")[:, :k]
    ranked_UK[np.isneginf(np.take_along_axis(hidden_UI, ranked_UK, axis=1))] = -1
    ranked_UK[np.diff(parts.test.indptr) == 0] = -1
    return np.asarray(ranked_UK)


def _print_both(scores: dict[str, list[np.ndarray]], community: Community, parts: Parts) -> None:
    """Print the metrics of two systems with 95 % intervals over users, and whether each is within the other's interval.

    With several seeds, of each user's mean.
    """
    measured: dict[str, Measured] = {}
    for name, of_seeds in scores.items():
        hits = [metrics.find_hits(_ranked(scores_UI, community, parts, K), parts.test) for scores_UI in of_seeds]
        by_seed = {
            f"{metric}@{K}": [measure(of_seed, K) for of_seed in hits]
            for metric, measure in (("Recall", metrics.recall), ("NDCG", metrics.ndcg))
        }
        measured[name] = {metric: np.mean(values, axis=0) for metric, values in by_seed.items()}
        if len(hits) > 1:
            seeds = ", ".join(f"{np.nanmean(values):.4f}" for values in by_seed[f"NDCG@{K}"])
            print(f"{name}: NDCG@{K} by seed {seeds}")
    one, other = measured
    for metric in measured[one]:
        intervals = [metrics.bootstrap(measured[name][metric]) for name in (one, other)]
        figures = "   ".join(
            f"{name} {interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
            for name, interval in zip((one, other), intervals, strict=True)
        )
        ours, theirs = intervals
        within = ours.low <= theirs.value <= ours.high and theirs.low <= ours.value <= theirs.high
        test = metrics.paired_test(measured[one][metric], measured[other][metric])
        print(f"{metric:10} {figures}   within each other's: {'yes' if within else 'no'}   p {test.p_value:.3f}")


if __name__ == "__main__":
    main()
