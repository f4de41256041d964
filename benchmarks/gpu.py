"""All that a GPU computes, in one command that makes its data: `PYTHONPATH=. python benchmarks/gpu.py`.

Training step and embedding from mapped uint8 shards beside the same on resident tensors; how much of the device's
measured peak each layer reaches; exact top-100 of the paper's community at 1,024 dimensions; the ensemble's experts.
Results are checked against float64. `--small` is for a CPU: seconds, and no figure to quote. It imports only torch,
numpy, scipy, scikit-learn and what they need.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reach import Claim, measured, report
from scipy.sparse import csr_array
from steps import Case, Resident, embedding, training_step, waiting
from torch import Tensor, nn

from models.community import Community
from models.gather import Gather
from models.retrieval.ranking import top_k
from models.systems.tastegraph import TasteGraph

SHARD_IMAGES = 1024
CHECKED = 50  # users whose lists and scores are checked


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time all that a GPU computes.")
    parser.add_argument("--small", action="store_true", help="a case of seconds, for a CPU")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way runs (default 3)")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not options.small:
        parser.error(
            "torch finds no GPU here; --small runs a small case on the CPU, whose figures say nothing of a GPU"
        )
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if device == 'cuda' else 'CPU'}")
    small = (Case("small", 32, 40, 2, 8), Case("paper", 64, 24, 1, 4))
    large = (Case("small", 64, 20_000, 100), Case("paper", 256, 8_000, 20))
    for case in small if options.small else large:
        with tempfile.TemporaryDirectory() as folder:
            gather = _mapped(case.pixels(), Path(folder))
            line, resident = training_step(case, gather, device, options.rounds)
            _utilisation(case, resident, line["ours"], device)
            embedding(case, gather, device, options.rounds)
    _top_k((200, 500, 32, 10) if options.small else (54_173, 101_496, 1024, 100), device, options.rounds)
    _experts(_community(*((200, 300, 40, 5) if options.small else (54_173, 101_496, 35_844, 6))), device)


def _mapped(pixels: np.ndarray, folder: Path) -> Gather:
    """The pixels of rows, from files of SHARD_IMAGES that are mapped, as packed shards are."""
    blocks = []
    for first in range(0, len(pixels), SHARD_IMAGES):
        file = folder / f"{first}.npy"
        np.save(file, pixels[first : first + SHARD_IMAGES])
        blocks.append(np.load(file, mmap_mode="r"))

    def gather(rows: np.ndarray) -> np.ndarray:
        values = np.empty((len(rows), *pixels.shape[1:]), np.uint8)
        for number in np.unique(rows // SHARD_IMAGES):
            is_here = rows // SHARD_IMAGES == number
            values[is_here] = blocks[number][rows[is_here] % SHARD_IMAGES]
        return values

    return gather


def _utilisation(case: Case, resident: Resident, step_s: float, device: str) -> None:
    """Print for each layer with a product: operations of a step, its seconds alone, and the share of the peak.

    Forward, gradient of the weights, and gradient of the input but for the first layer of a tower, whose input has
    none. The peak is that of a large product in the same precision, measured here.
    """
    dtype = torch.bfloat16 if resident.in_bfloat16 else torch.float32
    size = 8192 if device == "cuda" else 512
    factors = torch.randn(2, size, size, device=device, dtype=dtype)
    peak = 2 * size**3 / _seconds(lambda: factors[0] @ factors[1], device)
    network = case.network().to(device)
    print(f"{case.label}: a product reaches {peak / 1e12:.2f} Tflop/s in {dtype}")
    total, total_s = 0.0, 0.0
    for name, (layer, given) in _given(network, resident).items():
        is_first = name.endswith((".convolutions.0", "user_tower.layers.0"))
        wanted = [*layer.parameters(), *([] if is_first else [given.requires_grad_()])]

        def once(layer: nn.Module = layer, given: Tensor = given, wanted: list[Tensor] = wanted) -> Tensor:
            with torch.autocast(device, torch.bfloat16, enabled=resident.in_bfloat16):
                out: Tensor = layer(given)
            torch.autograd.grad(out, wanted, torch.ones_like(out))
            return out

        per_output = next(layer.parameters())[0].numel()
        operations = 2.0 * once().numel() * per_output * (2 if is_first else 3)
        seconds = _seconds(once, device)
        total, total_s = total + operations, total_s + seconds
        print(f"  {name:32} {operations / 1e9:10.3f} Gflop {seconds * 1e3:9.3f} ms {operations / seconds / peak:6.1%}")
    print(
        f"  {'the step':32} {total / 1e9:10.3f} Gflop {step_s * 1e3:9.3f} ms {total / step_s / peak:6.1%}; "
        f"layers alone {total_s * 1e3:.3f} ms"
    )


def _given(network: nn.Module, resident: Resident) -> dict[str, tuple[nn.Module, Tensor]]:
    """The layers that multiply, by name, and what each is given in the first step."""
    given: dict[str, tuple[nn.Module, Tensor]] = {}
    hooks = []
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):

            def record(layer: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                given[name] = (layer, inputs[0].detach())

            hooks.append(layer.register_forward_pre_hook(record))
    with torch.autocast(resident.steps[0][0].device.type, torch.bfloat16, enabled=resident.in_bfloat16):
        network(*resident.steps[0])
    for hook in hooks:
        hook.remove()
    return given


def _seconds(run: Callable[[], object], device: str, times: int = 5) -> float:
    """The median of some runs after one that is not counted."""
    run = waiting(run, device)
    run()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def _top_k(size: tuple[int, int, int, int], device: str, rounds: int) -> None:
    """Print the row of everybody's exact list beside the bare float32 product."""
    num_users, num_images, dimensions, k = size
    rng = np.random.default_rng(0)
    users, images = (rng.standard_normal((count, dimensions), np.float32) for count in (num_users, num_images))
    some = rng.choice(num_users, min(CHECKED, num_users), replace=False)
    scores = users[some].astype(np.float64) @ images.T.astype(np.float64)
    found = top_k(users[some], images, k, device=device)
    np.testing.assert_allclose(
        np.take_along_axis(scores, found.rows.astype(np.int64), axis=1), -np.sort(-scores, axis=1)[:, :k], rtol=1e-5
    )
    on_device, transposed = torch.from_numpy(users).to(device), torch.from_numpy(images).to(device).T

    def product() -> None:
        for part in on_device.split(2048):
            part @ transposed

    runs = {"ours": lambda: top_k(users, images, k, device=device), "product": product}
    seconds = measured({name: waiting(run, device) for name, run in runs.items()}, rounds)
    claim = Claim(f"top-{k}, {num_users:,} x {num_images:,} x {dimensions}", "the bare float32 product", None)
    report(claim, seconds["ours"], seconds["product"], device=device, seconds_reach=2.0)


def _community(num_users: int, num_images: int, num_tags: int, each: int) -> Community:
    """Favorites and tags with long tails; times for sequences."""
    rng = np.random.default_rng(0)

    def pairs(rows: int, columns: int, number: int) -> csr_array:
        names = rng.permutation(columns)[(rng.random((rows, number)) ** 3 * columns).astype(np.int64)]
        keys = np.unique(np.arange(rows)[:, None] * columns + names)
        return csr_array((np.ones(len(keys), np.float32), (keys // columns, keys % columns)), shape=(rows, columns))

    favorites, user_tags = pairs(num_users, num_images, each), pairs(num_users, num_tags, 4 * each)
    image_tags, contacts = pairs(num_images, num_tags, each), pairs(num_users, num_users, each)
    times = csr_array((rng.integers(1, 10**6, favorites.nnz).astype(np.float64), favorites.indices, favorites.indptr))
    times.resize(favorites.shape)
    return Community(favorites, times, user_tags, image_tags, contacts_UU=contacts)


def _experts(community: Community, device: str) -> None:
    """Print what fitting each expert of the ensemble costs; its scores of some users are checked against float64."""
    some = np.arange(min(CHECKED, community.num_users))
    for name, maker in TasteGraph().unfitted().items():
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        fitted: list[Any] = []
        start = time.perf_counter()
        waiting(lambda maker=maker, fitted=fitted: fitted.append(maker.fit(community, 0)), device)()  # type: ignore[misc]
        seconds = time.perf_counter() - start
        if fitted[0] is None:
            continue
        exact = sum(
            part.users_UR[some].astype(np.float64) @ part.images_RI.astype(np.float64) for part in fitted[0].products
        )
        exact = exact.toarray() if hasattr(exact, "toarray") else np.asarray(exact)
        scores = fitted[0].scores(some)
        np.testing.assert_allclose(scores, exact, rtol=1e-3, atol=1e-4 * max(float(np.abs(exact).max()), 1e-9))
        memory = f" {torch.cuda.max_memory_allocated() >> 20:8,} MiB of the GPU" if device == "cuda" else ""
        print(f"expert {name:26} {seconds:8.2f} s{memory}", flush=True)


if __name__ == "__main__":
    main()
