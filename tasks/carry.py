"""What an earlier night made of a row of input, taken over where the row is still the same: only new rows cost."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from storage import matrices, shards
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards


@dataclass(frozen=True)
class Made:
    """A shard of input, and what was made of it, row by row, by the very network at hand."""

    of: Ref
    made: Ref


def pairs_of(inputs: list[Ref], outputs: list[Ref]) -> list[Made]:
    """The shards of a night, and what it made of each."""
    return [Made(of, made) for of, made in zip(inputs, outputs, strict=True)]


def fill(
    shard: Ref,
    last: list[Made],
    read: Callable[[Ref], np.ndarray],
    make: Callable[[np.ndarray], np.ndarray],
    root: Root,
) -> tuple[Shards, np.ndarray, int]:
    """The shard, float32 (n, d) what `make` gives for its rows, and how many rows it was asked for.

    Args:
        read: what was made of a shard of `last`, in the order of its ids.
        make: takes values (m, *shape) and gives float32 (m, d); a row's output may not hang on the other rows.
    """
    inputs = Shards.open([shard], root)
    parts, is_new = list(_same(inputs, last, read, root)), np.ones(len(inputs), bool)
    for rows, _ in parts:
        is_new[rows] = False
    fresh = make(inputs.gather(np.flatnonzero(is_new))) if is_new.any() else parts[0][1][:0]
    outputs = np.empty((len(inputs), fresh.shape[1]), np.float32)
    outputs[is_new] = fresh
    for rows, values in parts:
        outputs[rows] = values
    return inputs, outputs, int(is_new.sum())


def _same(
    inputs: Shards, last: list[Made], read: Callable[[Ref], np.ndarray], root: Root
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows whose input, byte for byte, some earlier shard had; and what was made of them."""
    for earlier in last:
        first, end = shards.span(earlier.of, root)
        if end < inputs.ids[0] or inputs.ids[-1] < first:
            continue
        before = Shards.open([earlier.of], root)
        row = matrices.rows_of(pa.array(inputs.ids, pa.string()), before.ids)
        here = np.flatnonzero(row >= 0)
        if (before.shape, before.dtype) != (inputs.shape, inputs.dtype) or not len(here):
            continue
        is_same = (inputs.gather(here) == before.gather(row[here])).reshape(len(here), -1).all(axis=1)
        here = here[is_same]
        yield here, read(earlier.made)[row[here]]
