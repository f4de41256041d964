"""Full-ranking evaluation beside its top-K stage alone: `python benchmarks/evaluation.py`, or `--paper`."""

import argparse

import numpy as np
from reach import Claim, measured, report
from scipy.sparse import csr_array

from models.evaluation import metrics
from models.retrieval.ranking import TopK, top_k
from tasks.evaluation.full_ranking import FULL_KS, full_intervals

DIMENSIONS = 128


def main() -> None:
    parser = argparse.ArgumentParser(description="Time full-ranking evaluation beside its top-K stage.")
    parser.add_argument("--paper", action="store_true", help="50,000 users and 100,000 images")
    options = parser.parse_args()
    num_users, num_images = (50_000, 100_000) if options.paper else (8_000, 20_000)
    rng = np.random.default_rng(0)
    users, images = (rng.standard_normal((count, DIMENSIONS), np.float32) for count in (num_users, num_images))
    seen, heldout = (_pairs(rng, num_users, num_images, each) for each in (5, 2))

    def ranked() -> TopK:
        return top_k(users, images, max(FULL_KS), seen_UI=seen, device="cpu")

    def evaluated() -> object:
        return full_intervals(metrics.find_hits(ranked().rows, heldout))

    found = measured({"ours": evaluated, "top-K alone": ranked})
    size = f"full ranking of {num_users:,} users, {num_images:,} images"
    report(Claim(size, "top-K alone", 1.2), found["ours"], found["top-K alone"])


def _pairs(rng: np.random.Generator, num_users: int, num_images: int, each: int) -> csr_array:
    rows, images = np.repeat(np.arange(num_users), each), rng.integers(0, num_images, num_users * each)
    pairs = np.unique(rows * num_images + images)
    entries = (np.ones(len(pairs), np.float32), (pairs // num_images, pairs % num_images))
    return csr_array(entries, shape=(num_users, num_images))


if __name__ == "__main__":
    main()
