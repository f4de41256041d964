"""What an earlier night made of a row of input, taken over where the row is still the same: only new rows cost."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from storage import matrices, shards
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards


@dataclass(frozen=True)
class ShardOutput:
    """A shard of input, and what was made of it, row by row, by the very network at hand."""

    of: Ref
    made: Ref


def pairs_of(inputs: list[Ref], outputs: list[Ref]) -> list[ShardOutput]:
    """The shards of a night, and what it made of each."""
    return [ShardOutput(of, made) for of, made in zip(inputs, outputs, strict=True)]


def fill(
    shard: Ref,
    last: list[ShardOutput],
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
    inputs: Shards, last: list[ShardOutput], read: Callable[[Ref], np.ndarray], root: Root
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows whose input, byte for byte, some earlier shard had; and what was made of them."""
    for earlier in last:
        first, end = shards.span(earlier.of, root)
        if end < inputs.ids[0] or inputs.ids[-1] < first:
            continue
        before = Shards.open([earlier.of], root, verify=False)  # of damaged bytes no row is the same
        row = matrices.rows_of(pa.array(inputs.ids, pa.string()), before.ids)
        here = np.flatnonzero(row >= 0)
        if (before.shape, before.dtype) != (inputs.shape, inputs.dtype) or not len(here):
            continue
        here = here[_equal_rows(inputs, here, before, row[here])]
        yield here, read(earlier.made)[row[here]]


def _equal_rows(now: Shards, here: np.ndarray, before: Shards, there: np.ndarray) -> np.ndarray:
    """bool (n,): whether rows of one shard and of another are the same bytes; looked at in runs, without a copy."""
    (_, now_NS), (_, before_KS) = next(now.blocks()), next(before.blocks())
    is_same_N = np.empty(len(here), bool)
    cuts = np.flatnonzero((np.diff(here) != 1) | (np.diff(there) != 1)) + 1
    for first, end in pairwise([0, *cuts, len(here)]):
        run = slice(first, end)
        ours, theirs = (
            values[rows[first] : rows[end - 1] + 1] for values, rows in ((now_NS, here), (before_KS, there))
        )
        is_same_N[run] = (_words(ours) == _words(theirs)).all(axis=1)
    return is_same_N


def _words(values: np.ndarray) -> np.ndarray:
    """The rows' bytes, eight at a time where they allow it."""
    rows = values.reshape(len(values), -1)
    return rows.view(np.uint64 if rows.shape[1] * rows.itemsize % 8 == 0 else np.uint8)
