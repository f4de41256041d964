"""Lists by an index beside exact ones, and faiss' IVF, as a community grows: `python benchmarks/index.py`.

Made vectors at several times the paper's numbers of users and images, with as many topics and tails as long as
`world.py`'s; or with `--root` those that its nights have published there. One thread; CPU seconds, the index and faiss
turn about. Exact and indexed seconds are of a sample of users, times all users, and the index's with all that is done
once. Last lines: JSON, one a size and kind of list.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_array

from models.retrieval import index
from models.retrieval.incremental_topk import unit
from models.retrieval.ranking import top_k

USERS, IMAGES = 54_173, 101_496  # the paper's community
MEMBERS_OF_TOPIC = 300  # as in world.py
PLACES = {"recommend": 66, "find-similar": 20}
RECALLED = {"recommend": 50, "find-similar": 20}  # places whose recall is asked for


def main() -> None:
    """Measure both kinds of lists at each size."""
    parser = argparse.ArgumentParser(description="Lists by an index beside exact ones.")
    parser.add_argument("--times", type=float, nargs="+", default=[0.3, 1.0, 3.0], help="sizes, the paper's is 1")
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--recall", type=float, default=0.98)
    parser.add_argument("--users", type=int, default=4096, help="sampled users; exact lists of a fourth of them")
    parser.add_argument("--root", type=Path, help="the folder of world.py's communities and nights")
    parser.add_argument("--faiss", action="store_true", help="faiss' IVF too, with the fewest of its lists that do")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for times in options.times:
        users, images = _published(options.root, times) if options.root else _made(times, options.dimensions)
        for kind in PLACES:
            rows.append({"times": times} | _measured(kind, users, images, options))
            print(" ".join(f"{name}={value}" for name, value in rows[-1].items()), flush=True)
    for kind in PLACES:
        of_kind = [row for row in rows if row["kind"] == kind]
        for name in ("exact_s", "index_s"):
            first, last = of_kind[0], of_kind[-1]
            if first is not last:
                exponent = math.log(last[name] / first[name]) / math.log(last["times"] / first["times"])
                print(f"{kind} {name}: exponent {exponent:.2f}")
    for row in rows:
        print(json.dumps({"name": "index"} | row))


def _measured(kind: str, users: np.ndarray, images: np.ndarray, options: argparse.Namespace) -> dict[str, Any]:
    """What lists of this kind cost, and their recall, on users for whom the index was not fitted."""
    if kind == "find-similar":
        users = images = unit(images - images.mean(axis=0))
    rng, places, recalled = np.random.default_rng(0), PLACES[kind], RECALLED[kind]
    drawn = rng.permutation(len(users))[: 500 + options.users]
    fitted_on, sample = users[drawn[:500]], users[drawn[500:]]
    few = sample[: len(sample) // 4]
    once, found = _seconds(
        lambda: index.fit(fitted_on, images, recalled, options.recall, seen_NI=_nothing(fitted_on, images))
    )
    exact_s, exact = zip(*(_seconds(lambda: top_k(few, images, places, device="cpu")) for _ in range(3)), strict=True)
    index_s, lists = zip(
        *(
            _seconds(lambda: index.search(sample, images, places, found, seen_UI=_nothing(sample, images)))
            for _ in range(3)
        ),
        strict=True,
    )

    def recall(rows: np.ndarray) -> float:
        pairs = zip(rows[: len(few)], exact[0].rows, strict=True)
        return float(np.mean([np.isin(ours[:recalled], best[:recalled]).mean() for ours, best in pairs]))

    row = {
        "kind": kind,
        "users": len(users),
        "images": len(images),
        "exact_ms": round(median(exact_s) / len(few) * 1e3, 3),
        "index_ms": round(median(index_s) / len(sample) * 1e3, 3),
        "once_s": round(once, 1),
        "recall": round(recall(lists[0].rows), 4),
        "cells": len(found.cells_Lf),
        "probed": found.num_probed,
        "exact_s": round(median(exact_s) / len(few) * len(users), 1),
        "index_s": round(once + median(index_s) / len(sample) * len(users), 1),
    }
    return row | (_by_faiss(few, images, places, recall, options.recall, len(found.cells_Lf)) if options.faiss else {})


def _by_faiss(
    users: np.ndarray, images: np.ndarray, k: int, recall: Callable[[np.ndarray], float], asked: float, cells: int
) -> dict[str, float]:
    """Milliseconds a user of faiss' IVF with as many cells, of which it looks into the fewest that reach the recall."""
    import faiss

    faiss.omp_set_num_threads(1)
    ivf = faiss.IndexIVFFlat(faiss.IndexFlatIP(images.shape[1]), images.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    ivf.cp.max_points_per_centroid, ivf.cp.min_points_per_centroid, ivf.cp.niter = 32, 1, 5
    built, _ = _seconds(lambda: (ivf.train(images), ivf.add(images)))
    ivf.nprobe = 8
    while (reached := recall(ivf.search(users, k)[1])) < asked and ivf.nprobe < cells:
        ivf.nprobe = min(cells, ivf.nprobe * 2)
    seconds = median(_seconds(lambda: ivf.search(users, k))[0] for _ in range(3))
    return {
        "faiss_ms": round(seconds / len(users) * 1e3, 3),
        "faiss_once_s": round(built, 1),
        "faiss_recall": round(reached, 4),
        "faiss_probed": ivf.nprobe,
    }


def _made(times: float, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 vectors of users of three topics each, and of images of one, whose lengths have a long tail."""
    rng = np.random.default_rng(0)
    num_users, num_images = round(USERS * times), round(IMAGES * times)
    topics = unit(rng.standard_normal((max(2, num_users // MEMBERS_OF_TOPIC), dimensions), np.float32))

    def near(rows: np.ndarray, noise: float) -> np.ndarray:
        return topics[rows] + noise / math.sqrt(dimensions) * rng.standard_normal((len(rows), dimensions), np.float32)

    images = near(rng.integers(0, len(topics), num_images), 0.7)
    images *= rng.lognormal(0, 0.7, (num_images, 1)).astype(np.float32)
    weights = (0.7, 0.2, 0.1)
    users = sum(weight * near(rng.integers(0, len(topics), num_users), 0.3) for weight in weights)
    return np.asarray(users, np.float32), images


def _published(root: Path, times: float) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings of the night that is current there."""
    folder = root / f"{times:g}x" / "output"
    paths = json.loads((folder / "exports" / "current.json").read_text())["paths"]
    users, images = (
        np.concatenate([np.stack(pl.read_parquet(folder / path)["embedding"].to_numpy()) for path in paths[name]])
        for name in ("user_embeddings", "image_embeddings")
    )
    return np.asarray(users, np.float32), np.asarray(images, np.float32)


def _nothing(users: np.ndarray, images: np.ndarray) -> csr_array:
    return csr_array((len(users), len(images)), dtype=np.float32)


def _seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


if __name__ == "__main__":
    main()
