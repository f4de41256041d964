"""Exact top-K with both filters beside the bare product, faiss and implicit: `python benchmarks/topk.py`.

`--paper` takes the size of the reach: 20,000 users, 100,000 images, 128 and 1,024 dimensions. The lists are checked
against the scores of all pairs in float64 first. `--help` lists the sizes.
"""

import argparse
import tracemalloc
from functools import partial

import numpy as np
import torch
from reach import Claim, Run, measured, report
from scipy.sparse import csr_array, csr_matrix

from models.retrieval.coarse import fastest
from models.retrieval.ranking import Candidates, top_k

REACH = {128: 1.1, 1024: 0.8}  # times the faster of the bare products, by dimensions
BLOCK = 512  # users of a bare product at once
CHECKED = 50  # users whose lists are checked


def main() -> None:
    """One line for each reference."""
    options = _options()
    for dimensions in options.dimensions:
        _compare(options, dimensions)


def _compare(options: argparse.Namespace, dimensions: int) -> None:
    rng = np.random.default_rng(0)
    users = rng.standard_normal((options.users, dimensions), np.float32)
    images = rng.standard_normal((options.images, dimensions), np.float32)
    seen = _random_pairs(rng, (options.users, options.images), per_row=40)
    candidates = Candidates(
        _random_pairs(rng, (options.users, options.tags), per_row=20),
        _random_pairs(rng, (options.images, options.tags), per_row=8),
    )
    ours = partial(top_k, users, images, options.k, seen_UI=seen, candidates=candidates, device="cpu")
    _check(users, images, options.k, seen, candidates)
    runs: dict[str, Run] = {
        "ours": ours,
        "ours, no filter": partial(top_k, users, images, options.k, device="cpu"),
        "numpy's product": partial(_numpy_product, users, images),
        "torch's product": partial(_torch_product, users, images),
        **_libraries(users, images, options.k, seen),
    }
    found = measured(runs, options.rounds, warm_up=False)
    products = ("numpy's product", "torch's product")
    faster = min(products, key=lambda name: sorted(found[name].cpu_seconds)[options.rounds // 2])
    way = fastest("cpu", dimensions, 1 << 60)
    more = {"threads": torch.get_num_threads(), "way": f"{way.dtype}, {way.library}"}
    size = f"top-{options.k}, {options.users:,} x {options.images:,} x {dimensions}, filters on"
    for name in runs:
        if name.startswith("ours"):
            continue
        reach = REACH.get(dimensions) if name == faster else None if name in products else 1.0
        report(Claim(size, name, reach), found["ours"], found[name], **more)
    report(Claim(f"{size} (bare: off)", faster, None), found["ours, no filter"], found[faster], **more)
    tracemalloc.start()
    ours()
    print(f"numpy's memory beyond inputs: {tracemalloc.get_traced_memory()[1] >> 20} MiB")
    tracemalloc.stop()


def _check(users: np.ndarray, images: np.ndarray, k: int, seen: csr_array, candidates: Candidates) -> None:
    """Lists of some users against the scores in float64: the same images but where scores are equal to six digits."""
    some = candidates.of(np.arange(CHECKED))
    found = top_k(users[:CHECKED], images, k, seen_UI=seen[:CHECKED], candidates=some, device="cpu")
    scores = users[:CHECKED].astype(np.float64) @ images.T.astype(np.float64)
    shared = (some.interests.astype(np.float32) @ some.image_tags.T.astype(np.float32)).toarray() > 0
    scores[~shared | seen[:CHECKED].toarray()] = -np.inf
    best = -np.sort(-scores, axis=1)[:, :k]
    listed = np.where(found.rows < 0, -np.inf, np.take_along_axis(scores, found.rows.clip(0), axis=1))
    np.testing.assert_allclose(listed, best, rtol=1e-5)


def _numpy_product(users: np.ndarray, images: np.ndarray) -> None:
    out = np.empty((BLOCK, len(images)), np.float32)
    for first in range(0, len(users), BLOCK):
        part = users[first : first + BLOCK]
        np.matmul(part, images.T, out=out[: len(part)])


def _torch_product(users: np.ndarray, images: np.ndarray) -> None:
    out, transposed = torch.empty(BLOCK, len(images)), torch.from_numpy(images).T
    for first in range(0, len(users), BLOCK):
        part = torch.from_numpy(users[first : first + BLOCK])
        torch.mm(part, transposed, out=out[: len(part)])


def _libraries(users: np.ndarray, images: np.ndarray, k: int, seen: csr_array) -> dict[str, Run]:
    """Libraries that are installed, at the same number of threads; without the candidate filter, which they lack."""
    runs: dict[str, Run] = {}
    threads = torch.get_num_threads()
    try:
        import faiss

        faiss.omp_set_num_threads(threads)
        index = faiss.IndexFlatIP(images.shape[1])
        index.add(images)
        runs["faiss IndexFlatIP, no filter"] = lambda: index.search(users, k)
    except ImportError:
        pass
    try:
        from implicit.cpu.topk import topk

        filtered = csr_matrix(seen.astype(np.float32))  # it takes no sparse arrays

        def by_implicit() -> None:
            for first in range(0, len(users), BLOCK):
                block = slice(first, first + BLOCK)
                topk(images, users[block], k, filter_query_items=filtered[block], num_threads=threads)

        runs["implicit's topk, seen hidden"] = by_implicit
    except ImportError:
        pass
    return runs


def _random_pairs(rng: np.random.Generator, shape: tuple[int, int], per_row: int) -> csr_array:
    rows = np.repeat(np.arange(shape[0]), per_row)
    return csr_array((np.ones(len(rows), bool), (rows, rng.integers(0, shape[1], len(rows)))), shape=shape)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time exact top-K beside its references.")
    parser.add_argument("--paper", action="store_true", help="20,000 users and 100,000 images")
    parser.add_argument("--users", type=int, help="how many users (default 4,096)")
    parser.add_argument("--images", type=int, help="how many images (default 50,000)")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[128, 1024], help="of vectors (default 128 1024)")
    for name, default, meaning in (
        ("k", 100, "length of a list"),
        ("tags", 2_000, "vocabulary; 20 tags a user, 8 an image"),
        ("rounds", 3, "how often each way runs"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} (default {default:,})")
    options = parser.parse_args()
    options.users = options.users or (20_000 if options.paper else 4_096)
    options.images = options.images or (100_000 if options.paper else 50_000)
    return options


if __name__ == "__main__":
    main()
