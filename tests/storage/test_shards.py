import numpy as np
import pytest

from storage import shards
from storage.refs import Ref
from storage.roots import DamagedError, Root
from storage.shards import Shards
from tests.storage.damage import flip


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def pixels(num_images: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_images, 4, 4, 3), dtype=np.uint8)


def three_shards(root: Root) -> tuple[list[Ref], np.ndarray]:
    parts = [pixels(num_images, seed=num_images) for num_images in (3, 1, 5)]
    refs = [shards.write([f"{len(part)}-{row}" for row in range(len(part))], part, "pixels", root) for part in parts]
    return refs, np.concatenate(parts)


def test_pixels_survive_write_and_open(root):
    refs, everything = three_shards(root)
    opened = Shards.open(refs, root)
    assert (len(opened), opened.shape, opened.dtype) == (9, (4, 4, 3), np.uint8)
    assert opened.ids.tolist() == ["3-0", "3-1", "3-2", "1-0", "5-0", "5-1", "5-2", "5-3", "5-4"]
    np.testing.assert_array_equal(opened.gather(np.arange(9)), everything)


def test_feature_vectors_survive_write_and_open(root):
    features = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    opened = Shards.open([shards.write(list("abcde"), features, "features", root)], root)
    assert (opened.shape, opened.dtype) == ((7,), np.float32)
    np.testing.assert_array_equal(opened.gather(np.array([4, 0])), features[[4, 0]])


def test_gather_across_shards_equals_indexing_the_whole(root):
    refs, everything = three_shards(root)
    rows = np.random.default_rng(1).integers(0, 9, 100)
    np.testing.assert_array_equal(Shards.open(refs, root).gather(rows), everything[rows])


def test_gathering_no_rows_gives_no_rows(root):
    refs, _ = three_shards(root)
    assert Shards.open(refs, root).gather(np.array([], np.int64)).shape == (0, 4, 4, 3)


@pytest.mark.parametrize("row", [-1, 9])
def test_a_row_out_of_range_cannot_be_gathered(root, row):
    refs, _ = three_shards(root)
    with pytest.raises(IndexError, match=f"{row}.* of 9"):
        Shards.open(refs, root).gather(np.array([row]))


def test_blocks_are_views_of_the_files(root):
    refs, everything = three_shards(root)
    blocks = list(Shards.open(refs, root).blocks())
    assert [ids.tolist()[0] for ids, _ in blocks] == ["3-0", "1-0", "5-0"]
    np.testing.assert_array_equal(np.concatenate([values for _, values in blocks]), everything)
    assert not any(values.flags.owndata or values.flags.writeable for _, values in blocks)


def test_equal_content_is_the_same_ref(root):
    first = shards.write(["a", "b"], pixels(2, seed=0), "pixels", root)
    assert shards.write(["a", "b"], pixels(2, seed=0), "pixels", root) == first
    assert shards.write(["a", "c"], pixels(2, seed=0), "pixels", root) != first
    assert shards.write(["a", "b"], pixels(2, seed=1), "pixels", root) != first


def test_a_damaged_shard_is_recognised(root):
    ref = shards.write(["a", "b"], pixels(2, seed=0), "pixels", root)
    Shards.open([ref], root)  # a digest that was found good once must not cover up later damage
    flip(root, ref.path)
    with pytest.raises(DamagedError, match=rf"{ref.path}: damaged: .* expected {ref.sha256}; `tastegraph verify"):
        Shards.open([ref], root)
    root.delete(ref.path)
    assert Shards.open([shards.write(["a", "b"], pixels(2, seed=0), "pixels", root)], root).ids.tolist() == ["a", "b"]


def test_a_shard_that_is_written_again_replaces_a_damaged_one(root):
    ref = shards.write(["a", "b"], pixels(2, seed=0), "pixels", root)
    flip(root, ref.path)
    assert shards.write(["a", "b"], pixels(2, seed=0), "pixels", root) == ref  # of that size there is a file already
    assert Shards.open([ref], root).ids.tolist() == ["a", "b"]


def test_shards_of_different_shapes_cannot_be_opened_together(root):
    small = shards.write(["a"], np.zeros((1, 2, 2, 3), np.uint8), "pixels", root)
    large = shards.write(["b"], np.zeros((1, 4, 4, 3), np.uint8), "pixels", root)
    with pytest.raises(ValueError, match=r"\(4, 4, 3\), those of .* uint8 \(2, 2, 3\)"):
        Shards.open([small, large], root)


def test_no_shards_cannot_be_opened(root):
    with pytest.raises(ValueError, match="quarantine says why"):
        Shards.open([], root)


def test_a_shard_needs_an_id_for_every_row_and_a_type_it_can_hold(root):
    with pytest.raises(ValueError, match="1 ids for 2 rows"):
        shards.write(["a"], pixels(2, seed=0), "pixels", root)
    with pytest.raises(ValueError, match=r"float64 \(1, 3\)"):
        shards.write(["a"], np.zeros((1, 3)), "features", root)


def test_cuts_are_about_the_size_and_another_id_moves_only_those_near_it():
    ids = [f"i{row:05d}" for row in range(3000)]
    more = sorted([*ids, "i00100x"])
    before, after = ({tuple(names[part]) for part in shards.cut(names, 50)} for names in (ids, more))
    sizes = [len(part) for part in before]

    assert [name for part in shards.cut(ids, 50) for name in ids[part]] == ids
    assert max(sizes) <= 100
    assert sorted(sizes)[1] >= 25  # but for the last
    assert 40 < sum(sizes) / len(sizes) < 60
    assert 1 <= len(after - before) <= 4


@pytest.mark.parametrize("size", [1, 2, 7])
def test_cuts_of_few_ids_leave_none_out(size):
    for num_ids in range(12):
        ids = [str(row) for row in range(num_ids)]
        assert [name for part in shards.cut(ids, size) for name in ids[part]] == ids


def test_the_span_of_a_shard_is_its_first_and_its_last_id(root):
    assert shards.span(shards.write(list("bcd"), pixels(3, seed=0), "pixels", root), root) == ("b", "d")
