"""Many lists in little memory: whose, of what, in order, with scores.

O owners, N entries of all lists, I items.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from storage import matrices
from storage.matrices import Ids


@dataclass(frozen=True, eq=False)
class Lists:
    """A list of items for each owner; eight bytes an entry. Row numbers are places in the ids given to `lists_of`."""

    starts_O: np.ndarray  # int64 (O + 1): where each owner's list begins, and the last ends
    items_N: np.ndarray  # int32
    scores_N: np.ndarray | None  # float32

    def of(self, owner: int, at_most: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """The items of an owner's list, int32, and their scores, float32 if there are any, in order."""
        start, end = self.starts_O[owner : owner + 2]
        end = end if at_most is None else min(end, start + at_most)
        return self.items_N[start:end], None if self.scores_N is None else self.scores_N[start:end]

    @cached_property
    def lengths(self) -> np.ndarray:
        """int64: how many items each list has."""
        return np.diff(self.starts_O)

    def turned(self, num_items: int) -> "Lists":
        """For each item the owners that have it, those first in whose lists it is nearer to the top."""
        owners_N = np.repeat(np.arange(len(self.starts_O) - 1, dtype=np.int32), self.lengths)
        places_N = np.arange(len(owners_N)) - np.repeat(self.starts_O[:-1], self.lengths)
        order_N = np.lexsort((owners_N, places_N, self.items_N))
        counts_I = np.bincount(self.items_N, minlength=num_items)
        return Lists(_starts(counts_I), owners_N[order_N], None)


def lists_of(
    owner: pa.ChunkedArray,
    item: pa.ChunkedArray,
    owners: Ids,
    items: Ids,
    rank: pa.ChunkedArray | None = None,
    score: pa.ChunkedArray | None = None,
) -> Lists:
    """The lists of a table's rows, in the order of `rank`, else of the rows. Rows with an unknown id are left out."""
    owner_N, item_N = matrices.rows_of(owner, owners), matrices.rows_of(item, items).astype(np.int32)
    is_known = (owner_N >= 0) & (item_N >= 0)
    by = np.arange(len(owner_N)) if rank is None else rank.to_numpy()
    order = np.lexsort((by, owner_N))
    order = order[is_known[order]]
    counts_O = np.bincount(owner_N[order], minlength=len(owners))
    scores = None if score is None else score.to_numpy().astype(np.float32)[order]
    return Lists(_starts(counts_O), item_N[order], scores)


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
