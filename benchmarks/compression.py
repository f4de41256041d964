"""The ensemble as one inner product, by the number of power iterations: `python benchmarks/compression.py --root DIR`.

The community is one of `world.py`, below the same root. A row has the CPU seconds of the compression, the share of the
exact ensemble's 50 best images that its lists hold, and its squared error relative to the exact scores; of 600 users.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from growth import read
from world import community_below

from models.ensemble.low_rank import singular_vectors
from models.settings.tastegraph import TasteGraphConfig
from models.systems.tastegraph import TasteGraph

K, NUM_USERS, DIMENSIONS = 50, 600, 512


def main() -> None:
    """Fit the ensemble, compress it several times and print a row of each."""
    parser = argparse.ArgumentParser(description="What power iterations of the compression cost and bring.")
    parser.add_argument("--root", type=Path, required=True, help="the folder of world.py's communities")
    parser.add_argument("--times", type=float, default=0.3, help="how many times the paper's numbers (default .3)")
    parser.add_argument("--iterations", type=int, nargs="+", default=[0, 1, 2, 3])
    options = parser.parse_args()
    community = read(community_below(options.root, options.times))
    system = TasteGraph(TasteGraphConfig())
    system.fit(community)
    users_N = np.sort(np.random.default_rng(1).permutation(community.num_users)[:NUM_USERS])
    exact_NI = system.score(users_N)
    best_NK = _best(exact_NI)
    shape = (community.num_users, community.num_images)
    print("iterations  CPU s  seconds  shared  relative error")
    for iterations in options.iterations:
        cpu, start = time.process_time(), time.perf_counter()
        found = singular_vectors(system.times, system.times_transposed, shape, DIMENSIONS, 0, iterations)
        users_Ud = system.times(found.right_CD)
        cpu_s, seconds = time.process_time() - cpu, time.perf_counter() - start
        scores_NI = users_Ud[users_N] @ found.right_CD.T
        shared = np.mean([np.isin(*pair).mean() for pair in zip(best_NK, _best(scores_NI), strict=True)])
        error = np.square(exact_NI - scores_NI).sum() / np.square(exact_NI).sum()
        print(f"{iterations:10} {cpu_s:6.0f} {seconds:8.0f} {shared:7.4f} {error:15.6f}", flush=True)


def _best(scores_NI: np.ndarray) -> np.ndarray:
    return np.argpartition(-scores_NI, K, axis=1)[:, :K]


if __name__ == "__main__":
    main()
