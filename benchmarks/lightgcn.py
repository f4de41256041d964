"""LightGCN against its published figures: Gowalla, the official split, full ranking.

    TASTEGRAPH_DATA=... python benchmarks/lightgcn.py --epochs 520 --batch 8192 --learning-rate 0.004 --schedule cosine

Prints Recall@20 and NDCG@20 every so many epochs, against the published .1830 and .1554 (He et al., SIGIR 2020, table
4). Nothing is chosen on the test favorites: the result is the last line, whose epoch is fixed by the command. Uses a
GPU if there is one: the command above takes two and a half minutes of an H200. `--users FILE` writes each user's
metrics, as a comparison's `users/SYSTEM.parquet`, for `benchmarks/paired.py`. `--help` lists the settings.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_array

from models.devices import choose_device
from models.evaluation import metrics
from models.retrieval import ranking
from models.settings.lightgcn import LightGCNConfig
from models.systems.lightgcn import train

PUBLISHED_RECALL, PUBLISHED_NDCG, TOLERANCE, K = 0.1830, 0.1554, 0.01, 20


def main() -> None:
    """Train, and print a line every so many epochs."""
    arguments = _arguments()
    if "TASTEGRAPH_DATA" not in os.environ:
        print("skipped: TASTEGRAPH_DATA is not set; set it to the folder that has gowalla-scale")
        return
    folder = Path(os.environ["TASTEGRAPH_DATA"]) / "gowalla-scale"
    if not folder.is_dir():
        print(f"skipped: there is no {folder}")
        return
    training_UI, test_UI = _favorites(folder)
    config = LightGCNConfig(
        epochs=arguments.epochs,
        batch_triplets=arguments.batch,
        max_batches=training_UI.nnz,  # no bound
        learning_rate=arguments.learning_rate,
        layers=arguments.layers,
        dimensions=arguments.dimensions,
        l2=arguments.l2,
        schedule=arguments.schedule,
    )
    print(f"{training_UI.nnz:,} favorites, {test_UI.nnz:,} to find; {choose_device('auto')}; {config}")
    print(f"published: Recall@{K} {PUBLISHED_RECALL:.4f}, NDCG@{K} {PUBLISHED_NDCG:.4f}")
    started = time.perf_counter()
    for epoch in train(training_UI, config, arguments.seed):
        last = epoch.number == config.epochs
        line = f"epoch {epoch.number:4}  loss {epoch.loss:.4f}  {time.perf_counter() - started:6.0f} s"
        if epoch.number % arguments.every == 0 or last:
            figures = _measure(*epoch.vectors(), training_UI, test_UI)
            recall, ndcg = (float(np.nanmean(values_U)) for values_U in figures.values())
            line += f"  Recall@{K} {recall:.4f} ({_ahead(recall, PUBLISHED_RECALL)})"
            line += f"  NDCG@{K} {ndcg:.4f} ({_ahead(ndcg, PUBLISHED_NDCG)})"
            if last:
                reached = min(recall / PUBLISHED_RECALL, ndcg / PUBLISHED_NDCG) >= 1 - TOLERANCE
                line += f"\nwithin {TOLERANCE:.0%} of the published figures, or above: {'yes' if reached else 'no'}"
                if arguments.users:
                    _keep(figures, arguments.users)
        print(line, flush=True)


def _favorites(folder: Path) -> tuple[csr_array, csr_array]:
    """Training and test favorites; the ids of this set are row numbers."""
    tables = [pq.read_table(folder / f"{name}.parquet") for name in ("favorites", "official_test")]
    pairs = [
        [table[name].to_numpy(zero_copy_only=False).astype(np.int64) for name in ("user_id", "image_id")]
        for table in tables
    ]
    shape = tuple(max(int(rows.max()) for rows in column) + 1 for column in zip(*pairs, strict=True))
    training_UI, test_UI = (csr_array((np.ones(len(user), np.float32), (user, image)), shape) for user, image in pairs)
    return training_UI, test_UI


def _measure(
    users_Ud: np.ndarray, images_Id: np.ndarray, training_UI: csr_array, test_UI: csr_array
) -> dict[str, np.ndarray]:
    """Recall and NDCG of every user, nan without test favorites."""
    ranked = ranking.top_k(users_Ud, images_Id, K, seen_UI=training_UI)
    hits = metrics.find_hits(ranked.rows, test_UI)
    return {"recall": metrics.recall(hits, K), "ndcg": metrics.ndcg(hits, K)}


def _keep(figures: dict[str, np.ndarray], file: str) -> None:
    """Write metrics as rows of the table USER_METRICS."""
    rows = [
        {"protocol": "full", "slice": "all", "metric": metric, "k": K, "user_id": str(user), "value": value}
        for metric, values_U in figures.items()
        for user, value in enumerate(values_U.tolist())
        if not np.isnan(value)
    ]
    pq.write_table(pa.Table.from_pylist(rows), file)


def _ahead(ours: float, published: float) -> str:
    return f"{ours / published - 1:+.1%}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train LightGCN on gowalla-scale and measure it.")
    for name, default, meaning in (
        ("epochs", 1000, "how many; the last one is the result"),
        ("every", 20, "epochs between two measurements"),
        ("batch", 2048, "triplets a step; larger ones are faster an epoch, and learn less in it"),
        ("learning-rate", 0.001, "of Adam"),
        ("layers", 3, "how often embeddings are propagated"),
        ("dimensions", 64, "of the embeddings"),
        ("l2", 1e-4, "penalty on the embeddings"),
        ("schedule", "constant", "of the rate: constant or cosine"),
        ("seed", 0, "of the first embeddings and the draws"),
    ):
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{meaning} (default {default})")
    parser.add_argument("--users", help="a Parquet file for each user's metrics of the last epoch")
    return parser.parse_args()


if __name__ == "__main__":
    main()
