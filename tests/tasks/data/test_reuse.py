"""What was made of rows of input, taken over."""

import numpy as np
import pytest

from storage import shards
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from tasks.data import reuse


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def written(ids: str, values: np.ndarray, root: Root) -> Ref:
    return shards.write(list(ids), values.astype(np.float32), "vectors", root)


def test_rows_with_the_same_input_keep_what_was_made_of_them_and_only_others_are_made(root):
    inputs = np.arange(10).reshape(5, 2)
    last = reuse.pairs_of(
        [written("abc", inputs[:3], root), written("de", inputs[3:], root)],
        [written("abc", -np.ones((3, 1)), root), written("de", -np.ones((2, 1)), root)],
    )
    changed = inputs[[0, 2, 3, 4]] + np.array([0, 0, 100, 0])[:, None]
    computed: list[np.ndarray] = []

    def make(values: np.ndarray) -> np.ndarray:
        computed.append(values)
        return values[:, :1]

    found, made, num_new = reuse.fill(
        written("acdf", changed, root),
        last,
        lambda ref: Shards.open([ref], root).gather(np.arange(ref.rows)),
        make,
        root,
    )

    assert found.ids.tolist() == list("acdf")
    assert made[:, 0].tolist() == [-1, -1, 106, 8]  # d is changed, f is new
    assert (num_new, [len(values) for values in computed]) == (2, [2])
