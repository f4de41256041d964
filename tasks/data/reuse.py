"""Reuse per-row outputs of the previous run for unchanged rows; compute only the rest."""

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
    """A shard of input, and its output row by row, by the very network in use."""

    of: Ref
    output: Ref


def pairs_of(inputs: list[Ref], outputs: list[Ref]) -> list[ShardOutput]:
    """Each input shard with its output."""
    return [ShardOutput(of, output) for of, output in zip(inputs, outputs, strict=True)]


def fill(
    shard: Ref,
    last: list[ShardOutput],
    read: Callable[[Ref], np.ndarray],
    compute: Callable[[np.ndarray], np.ndarray],
    root: Root,
) -> tuple[Shards, np.ndarray, int]:
    """The shard, the output of its rows, float32 (n, d), and how many rows were computed.

    Args:
        last: shards of the previous run with their outputs.
        read: gives the output of such a shard, in the order of its ids.
        compute: takes values (m, *shape) and gives float32 (m, d); a row's output must not depend on other rows.
    """
    inputs = Shards.open([shard], root)
    parts, is_new = list(_same(inputs, last, read, root)), np.ones(len(inputs), bool)
    for rows, _ in parts:
        is_new[rows] = False
    computed = compute(inputs.gather(np.flatnonzero(is_new))) if is_new.any() else parts[0][1][:0]
    outputs = np.empty((len(inputs), computed.shape[1]), np.float32)
    outputs[is_new] = computed
    for rows, values in parts:
        outputs[rows] = values
    return inputs, outputs, int(is_new.sum())


def _same(
    inputs: Shards, last: list[ShardOutput], read: Callable[[Ref], np.ndarray], root: Root
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows whose input, byte for byte, stood in an earlier shard; and their outputs."""
    for earlier in last:
        first, end = shards.span(earlier.of, root)
        if end < inputs.ids[0] or inputs.ids[-1] < first:
            continue
        before = Shards.open([earlier.of], root)
        row = matrices.rows_of(pa.array(inputs.ids, pa.string()), before.ids)
        rows = np.flatnonzero(row >= 0)
        if (before.shape, before.dtype) != (inputs.shape, inputs.dtype) or not len(rows):
            continue
        rows = rows[_equal_rows(inputs, rows, before, row[rows])]
        yield rows, read(earlier.output)[row[rows]]


def _equal_rows(now: Shards, now_rows: np.ndarray, before: Shards, before_rows: np.ndarray) -> np.ndarray:
    """bool (n,): whether rows of two shards are equal bytes; compared in runs of consecutive rows, without a copy."""
    (_, now_NS), (_, before_KS) = next(now.blocks()), next(before.blocks())
    is_same_N = np.empty(len(now_rows), bool)
    cuts = np.flatnonzero((np.diff(now_rows) != 1) | (np.diff(before_rows) != 1)) + 1
    for first, end in pairwise([0, *cuts, len(now_rows)]):
        run = slice(first, end)
        ours, theirs = (
            values[rows[first] : rows[end - 1] + 1] for values, rows in ((now_NS, now_rows), (before_KS, before_rows))
        )
        is_same_N[run] = (_words(ours) == _words(theirs)).all(axis=1)
    return is_same_N


def _words(values: np.ndarray) -> np.ndarray:
    """The rows' bytes, eight at a time where they allow it."""
    rows = values.reshape(len(values), -1)
    return rows.view(np.uint64 if rows.shape[1] * rows.itemsize % 8 == 0 else np.uint8)
