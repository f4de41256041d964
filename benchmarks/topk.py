"""The speed of exact top-K against plain implementations, on this machine: `python benchmarks/topk.py`.

Each round runs every implementation once, so that all have the same noise; times are medians over rounds, and a ratio
is the median of the ratios within rounds. Uses a GPU if there is one. `--help` lists the sizes.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy.sparse import csr_array

from models.retrieval.ranking import Candidates, top_k

PLAIN_BLOCK = 512  # users: numpy's argpartition returns int64 for every pair


def main() -> None:
    sizes = _sizes()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rng = np.random.default_rng(0)
    users = rng.standard_normal((sizes.users, sizes.dimensions), np.float32)
    images = rng.standard_normal((sizes.images, sizes.dimensions), np.float32)
    seen = _random_pairs(rng, (sizes.users, sizes.images), per_row=40)
    candidates = Candidates(
        _random_pairs(rng, (sizes.users, sizes.tags), per_row=20),
        _random_pairs(rng, (sizes.images, sizes.tags), per_row=8),
    )
    ours = partial(top_k, users, images, sizes.k, device=device)
    ways: dict[str, Callable[[], object]] = {
        "top_k": ours,
        "top_k, seen hidden": partial(ours, seen_UI=seen),
        "top_k, seen hidden, candidates only": partial(ours, seen_UI=seen, candidates=candidates),
        "torch: whole matrix, topk": partial(_torch_whole, users, images, sizes.k, device),
        "numpy: blocks, argpartition": partial(_numpy_blocks, users, images, sizes.k),
    }
    seconds = _measure(ways, sizes.rounds, device)

    place = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{sizes.users:,} users x {sizes.images:,} images x {sizes.dimensions}, k {sizes.k}; {place}")
    print(f"{f'median of {sizes.rounds} rounds':36} {'seconds':>8} {'users/s':>10} {'x top_k':>8}")
    for name, times in seconds.items():
        median = statistics.median(times)
        ratio = statistics.median(time / base for time, base in zip(times, seconds["top_k"], strict=True))
        print(f"{name:36} {median:8.2f} {sizes.users / median:10,.0f} {ratio:8.2f}")


def _measure(ways: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _torch_whole(users: np.ndarray, images: np.ndarray, k: int, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    scores, rows = (torch.from_numpy(users).to(device) @ torch.from_numpy(images).to(device).T).topk(k)
    return rows.cpu().numpy(), scores.cpu().numpy()


def _numpy_blocks(users: np.ndarray, images: np.ndarray, k: int) -> np.ndarray:
    lists = []
    for first in range(0, len(users), PLAIN_BLOCK):
        scores = users[first : first + PLAIN_BLOCK] @ images.T
        best = np.argpartition(scores, -k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        lists.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(lists)


def _random_pairs(rng: np.random.Generator, shape: tuple[int, int], per_row: int) -> csr_array:
    rows = np.repeat(np.arange(shape[0]), per_row)
    return csr_array((np.ones(len(rows), bool), (rows, rng.integers(0, shape[1], len(rows)))), shape=shape)


def _sizes() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time exact top-K against plain implementations.")
    for name, default, meaning in (
        ("users", 8_000, "how many users"),
        ("images", 80_000, "how many images; the plain torch way needs 4 bytes for each pair with a user"),
        ("dimensions", 64, "of the vectors"),
        ("k", 20, "length of a list"),
        ("tags", 2_000, "vocabulary; 20 tags a user, 8 an image"),
        ("rounds", 5, "how often each way runs, after one round to warm up"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default {default:,})")
    return parser.parse_args()


if __name__ == "__main__":
    main()
