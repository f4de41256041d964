"""Packed shards: one array per image, all of one shape, in memory-mapped Arrow files named by their content."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np
import pyarrow as pa

from storage.refs import Ref, store
from storage.roots import Root
from storage.tables.schema import SCHEMA_VERSION


def write(ids: Sequence[str], values: np.ndarray, kind: str, root: Root) -> Ref:
    """The ref of one immutable shard. Equal ids and values give the same file, hence the same ref.

    Args:
        ids: one image_id per row of `values`.
        values: uint8 (n, *shape), such as pixels (n, S, S, 3), or float32 (n, d).
        kind: what the values are; names the folder below `shards/` and is stored in the file's metadata.
    Raises:
        ValueError: values of another dtype, or not one id per row.
    """
    num_rows, shape = len(values), values.shape[1:]
    if len(ids) != num_rows:
        raise ValueError(f"shard of {kind}: {len(ids)} ids for {num_rows} rows; give one id per row")
    column: pa.Array
    if values.dtype == np.uint8:
        buffer = pa.py_buffer(np.ascontiguousarray(values))
        column = pa.Array.from_buffers(pa.binary(prod(shape)), num_rows, [None, buffer])
    elif values.dtype == np.float32 and len(shape) == 1:
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), *shape)
    else:
        raise ValueError(f"shard of {kind}: {values.dtype} {values.shape}; give uint8 (n, ...) or float32 (n, d)")
    schema = pa.schema(
        [pa.field("image_id", pa.string(), nullable=False), pa.field("values", column.type, nullable=False)],
        metadata={
            "tastegraph.schema_version": SCHEMA_VERSION,
            "tastegraph.kind": kind,
            "tastegraph.dtype": values.dtype.name,
            "tastegraph.shape": json.dumps(shape),
        },
    )
    with root.workspace() as folder:
        file = folder / f"{kind}.arrow"
        with pa.ipc.new_file(file, schema) as writer:  # uncompressed and one batch, so that a reader can map it
            writer.write_batch(pa.record_batch([pa.array(ids, pa.string()), column], schema=schema))
        return store(file, f"shards/{kind}", kind, num_rows, root)


def cut(ids: Sequence[str] | np.ndarray, size: int) -> list[slice]:
    """Slices of consecutive ids: `size` on average, from half to twice as many, cut after ids whose digest says so.

    Adding or removing an id moves at most the cuts next to it. Cuts by position would all move.
    """
    least, most = -(-size // 2), 2 * size
    cuts, first = [], 0
    for row, name in enumerate(ids, 1):
        length = row - first
        if length >= most or (length >= least and _number(name) % max(1, size - least) == 0):
            cuts.append(slice(first, row))
            first = row
    return [*cuts, slice(first, len(ids))] if first < len(ids) else cuts


@cache
def span(ref: Ref, root: Root) -> tuple[str, str]:
    """The first and last id in a shard."""
    with pa.memory_map(str(ref.local(root))) as source:
        ids = pa.ipc.open_file(source).get_batch(0).column(0)
        return ids[0].as_py(), ids[len(ids) - 1].as_py()


@dataclass(frozen=True)
class Shards:
    """The rows of several shards, one after the other. Values are read from disk on access."""

    ids: np.ndarray  # object array of id strings, one per row
    shape: tuple[int, ...]  # of one row
    dtype: np.dtype[np.generic]
    _blocks: tuple[np.ndarray, ...]  # one memory map per shard, (n, *shape)
    _starts: np.ndarray  # int64: the first row of each shard

    @classmethod
    def open(cls, refs: Sequence[Ref], root: Root) -> "Shards":
        """Map the shards. Raises ValueError for an empty list, or shards whose rows differ in shape or dtype."""
        if not refs:
            raise ValueError(f"{root.address}: no shards to open; no image has a row, the quarantine says why")
        shards = [_map(ref, root) for ref in refs]
        _, first = shards[0]
        for ref, (_, block) in zip(refs, shards, strict=True):
            if (block.shape[1:], block.dtype) != (first.shape[1:], first.dtype):
                raise ValueError(
                    f"{root.url(ref.path)}: rows are {block.dtype} {block.shape[1:]}, those of {refs[0].path} are "
                    f"{first.dtype} {first.shape[1:]}; open shards that were written with one setting"
                )
        starts = np.cumsum([0, *(len(block) for _, block in shards[:-1])])
        ids = np.concatenate([ids for ids, _ in shards])
        return cls(ids, first.shape[1:], first.dtype, tuple(block for _, block in shards), starts)

    def __len__(self) -> int:
        return len(self.ids)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows), *shape): copies of these rows, in this order. Raises IndexError for a row out of range.

        Only the pages of those rows are read, one shard after the other.
        """
        rows = np.asarray(rows, np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(
                f"rows {rows.min()} to {rows.max()} of {len(self)} do not exist; -1 stands for an id without a row"
            )
        values = np.empty((len(rows), *self.shape), self.dtype)
        shard_of = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shard_of):
            is_in_shard = shard_of == shard
            values[is_in_shard] = self._blocks[shard][rows[is_in_shard] - self._starts[shard]]
        return values

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The ids and the mapped values (n, *shape) of one shard after the other, read-only and not copied."""
        for start, block in zip(self._starts, self._blocks, strict=True):
            yield self.ids[start : start + len(block)], block


def _map(ref: Ref, root: Root) -> tuple[np.ndarray, np.ndarray]:
    file = ref.local(root)
    with pa.memory_map(str(file)) as source:
        reader = pa.ipc.open_file(source)
        metadata, batch = reader.schema.metadata, reader.get_batch(0)
    shape = json.loads(metadata[b"tastegraph.shape"])
    ids, column = batch.columns
    values = np.frombuffer(column.buffers()[-1], metadata[b"tastegraph.dtype"].decode(), ref.rows * prod(shape))
    return ids.to_numpy(zero_copy_only=False), values.reshape(ref.rows, *shape)


def _number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
