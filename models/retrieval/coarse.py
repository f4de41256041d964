"""Products with a known bound on their error, by the library and in the precision that multiply fastest here.

U users, I images, d dimensions; b users and n images of a block.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import torch

FIRST_STEP = 4096  # images
PADDED = 64  # bits of the words in which marks are looked for
COPY_BYTES = 1 << 28  # images in bfloat16 are kept if they fit; else they are converted block by block
ROUNDING = {torch.bfloat16: 2.0**-8, torch.float32: 0.0}  # relative, of a product when it is stored
TINY = 2.0**-126  # matrix units of CPUs take smaller numbers for zero
MEASURED_WORK = 10**11  # multiplications; the measurement takes about a hundredth of so many


class Way(NamedTuple):
    """How to multiply."""

    dtype: torch.dtype  # of the vectors and of the products; sums are float32 in any case
    library: Literal["torch", "numpy"]


FLOAT32 = Way(torch.float32, "torch")
WAYS = {"cpu": (FLOAT32, Way(torch.float32, "numpy"), Way(torch.bfloat16, "torch")), "cuda": (FLOAT32,)}


class Coarse:
    """Inner products of users with all images, block by block of images, whose error is bounded.

    Let x' be x in the precision of the way. Then |u.i - u'.i'| <= |u - u'| |i| + |u'| |i - i'| (Cauchy-Schwarz), for
    which the norms of the differences are known; a float32 sum of d products is off by at most d 2^-24 |u'| |i'|, and
    so is the sum that a score is. Storing a product in bfloat16 rounds it by 2^-8 of itself.
    """

    def __init__(self, images_Id: torch.Tensor, longest: float, way: Way, block_shape: tuple[int, int]) -> None:
        self.images, self.way, self.step = images_Id, way, block_shape[1]
        self.longest = longest  # norm of an image
        is_kept = way.dtype != torch.float32 and images_Id.numel() * way.dtype.itemsize <= COPY_BYTES
        self.converted = images_Id.to(way.dtype) if is_kept else None
        self.residual = max((largest_residual(images_Id[part], way) for part in parts(len(images_Id))), default=0.0)
        self.buffer = torch.empty(0, dtype=way.dtype, device=images_Id.device)

    def blocks(self, users_bd: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """First image of each block and the block's products (b, n), padded with -inf to a multiple of 64 images.

        The first blocks are small: they tell what is worth a look in the others. Products lie in one buffer for all
        blocks: memory for each would take as long as the products, as the operating system hands out its pages.
        """
        users_bd, first, step = users_bd.to(self.way.dtype), 0, min(FIRST_STEP, self.step)
        while first < len(self.images):
            images_nd = (self.images if self.converted is None else self.converted)[first : first + step]
            padded = -(-len(images_nd) // PADDED) * PADDED
            if self.buffer.numel() < padded * len(users_bd):
                self.buffer = self.buffer.new_empty(padded * len(users_bd))
            products_bn = self.buffer[: padded * len(users_bd)].view(len(users_bd), padded)
            multiply(users_bd, images_nd.to(self.way.dtype), self.way, products_bn[:, : len(images_nd)])
            products_bn[:, len(images_nd) :] = -torch.inf
            yield first, products_bn
            first, step = first + step, min(4 * step, self.step)

    def errors(self, users_bd: torch.Tensor, norms_b: torch.Tensor) -> torch.Tensor:
        """float64 (b,): no product of the user, before it was stored, is farther from the pair's score."""
        residuals_b = residuals(users_bd, self.way)
        rounded = residuals_b * self.longest + (norms_b + residuals_b) * self.residual
        summed = rounding_errors(users_bd.shape[1], norms_b + residuals_b, self.longest + self.residual)
        return torch.where(norms_b > 0, 1.001 * rounded + summed, 0)

    def floors(self, kth_b: torch.Tensor, errors_b: torch.Tensor) -> torch.Tensor:
        """(b,): an image whose product is lower has a lower score than each of k images with products from kth_b on."""
        rounding, lowest = ROUNDING[self.way.dtype] * 1.01, torch.finfo(self.way.dtype).min
        kth_b = kth_b.double().clamp(min=lowest)
        scores_b = kth_b - kth_b.abs() * rounding - 2 * errors_b
        floors_b = (scores_b - scores_b.abs() * rounding).to(self.way.dtype)
        return torch.clamp(floors_b, min=lowest)  # -inf: hidden


def rounding_errors(dimensions: int, norms_b: torch.Tensor, longest: float) -> torch.Tensor:
    """float64 (b,): no float32 product of a user with this norm is farther from the pair's score, however it is summed.

    Args:
        longest: norm of an image.
    """
    flushed = 4 * dimensions * TINY * (1 + norms_b + longest)
    return 1.001 * (dimensions + 16) * 2.0**-23 * norms_b * longest + flushed


def multiply(users_bd: torch.Tensor, images_nd: torch.Tensor, way: Way, out_bn: torch.Tensor) -> None:
    """Write the inner products, users by images."""
    if way.library == "numpy":
        np.matmul(users_bd.numpy(), images_nd.numpy().T, out=out_bn.numpy())
    else:
        with _full_precision():
            torch.mm(users_bd, images_nd.T, out=out_bn)


def fastest(device: str, dimensions: int, work: int) -> Way:
    """The way that multiplies vectors of so many dimensions fastest here; float32 where little is to be multiplied."""
    if work < MEASURED_WORK or len(WAYS[device]) == 1:
        return FLOAT32
    return _measured(device, dimensions, torch.get_num_threads())


@cache
def _measured(device: str, dimensions: int, threads: int) -> Way:
    """The fastest way with this many threads, of three runs of each."""
    generator = torch.Generator().manual_seed(0)
    images_nd = torch.rand(4096, dimensions, generator=generator).to(device)
    users_bd = torch.rand(256, dimensions, generator=generator).to(device)
    seconds = {}
    for way in WAYS[device]:
        if way.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            continue  # torch multiplies without it, but far slower, and sums are rounded
        images, users = images_nd.to(way.dtype), users_bd.to(way.dtype)
        products_bn = torch.empty(len(users), len(images), dtype=way.dtype, device=device)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            multiply(users, images, way, products_bn)
            times.append(time.perf_counter() - start)
        seconds[way] = min(times)
    return min(seconds, key=lambda way: seconds[way])


def residuals(vectors_nd: torch.Tensor, way: Way) -> torch.Tensor:
    """float64 (n,): the norm of what each vector loses in the precision of the way."""
    if way.dtype == torch.float32:
        return torch.zeros(len(vectors_nd), dtype=torch.float64, device=vectors_nd.device)
    lost_nd = vectors_nd - vectors_nd.to(way.dtype).float()
    norms_n: torch.Tensor = torch.linalg.vector_norm(lost_nd, dim=1)
    return norms_n.double() + 2.0**-60  # squares of smaller numbers vanish


def largest_residual(vectors_nd: torch.Tensor, way: Way) -> float:
    """The largest of `residuals`."""
    return float(residuals(vectors_nd, way).max()) if len(vectors_nd) else 0.0


def parts(count: int, step: int = 1024) -> Iterator[slice]:
    """Slices of consecutive rows."""
    return (slice(first, first + step) for first in range(0, count, step))


@contextmanager
def _full_precision() -> Iterator[None]:
    """True float32 products, whatever precision training has set for this process."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
