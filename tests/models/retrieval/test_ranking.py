import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from models.retrieval.coarse import WAYS, Coarse, Way
from models.retrieval.ranking import Candidates, score_pairs, top_k, top_k_blocks, top_k_of_scores


def sparse(rng: np.random.Generator, shape: tuple[int, int], density: float) -> csr_array:
    return csr_array(rng.random(shape) < density)


def whole_numbers(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Few distinct values, so that scores tie, and exact in float32, so that no order of summation matters."""
    return rng.integers(-2, 3, shape).astype(np.float32)


def plain_top_k(
    users: np.ndarray, images: np.ndarray, k: int, seen: csr_array, candidates: Candidates | None
) -> tuple[np.ndarray, np.ndarray]:
    """The definition: score all pairs, hide what may not be listed, sort by score and then by row."""
    return plain_lists(users @ images.T + np.float32(0), k, seen, candidates)


def plain_lists(
    scores: np.ndarray, k: int, seen: csr_array, candidates: Candidates | None
) -> tuple[np.ndarray, np.ndarray]:
    """Lists by these scores of all pairs, which are written to."""
    scores[seen.toarray()] = -np.inf
    if candidates:
        interests, tags = candidates.interests.toarray(), candidates.image_tags.toarray()
        allowed = (interests[:, None, :] & tags).any(axis=2) | ~interests.any(axis=1)[:, None]
        scores[~allowed] = -np.inf
    padded = np.pad(scores, ((0, 0), (0, k)), constant_values=-np.inf)
    rows = np.lexsort((np.broadcast_to(np.arange(padded.shape[1]), padded.shape), -padded))[:, :k]
    best = np.take_along_axis(padded, rows, axis=1)
    return np.where(best == -np.inf, -1, rows), best


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    num_images=st.integers(1, 60),
    k=st.integers(1, 12),
    block_shape=st.tuples(st.integers(1, 10), st.integers(1, 70)),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    filtered=st.booleans(),
)
def test_lists_are_those_of_a_full_sort(
    seed: int, num_images: int, k: int, block_shape: tuple[int, int], density: float, filtered: bool
) -> None:
    rng = np.random.default_rng(seed)
    users, images = whole_numbers(rng, (9, 3)), whole_numbers(rng, (num_images, 3))
    seen = sparse(rng, (9, num_images), density)
    candidates = Candidates(sparse(rng, (9, 5), 0.2), sparse(rng, (num_images, 5), 0.2)) if filtered else None
    found = top_k(users, images, k, seen_UI=seen, candidates=candidates, block_shape=block_shape)
    rows, scores = plain_top_k(users, images, k, seen, candidates)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.scores, scores)


def test_block_sizes_change_nothing() -> None:
    rng = np.random.default_rng(0)
    users, images = whole_numbers(rng, (300, 4)), whole_numbers(rng, (9000, 4))
    candidates = Candidates(sparse(rng, (300, 50), 0.05), sparse(rng, (9000, 50), 0.05))
    seen = sparse(rng, (300, 9000), 0.01)
    whole = top_k(users, images, 20, seen_UI=seen, candidates=candidates)
    for block_shape in ((1, 9000), (300, 100), (77, 1234)):
        blocks = top_k(users, images, 20, seen_UI=seen, candidates=candidates, block_shape=block_shape)
        assert blocks.rows.tobytes() == whole.rows.tobytes()
        assert blocks.scores.tobytes() == whole.scores.tobytes()


def test_real_vectors_give_the_same_bytes_twice_and_the_right_scores() -> None:
    rng = np.random.default_rng(0)
    users, images = rng.standard_normal((50, 64), np.float32), rng.standard_normal((20_000, 64), np.float32)
    once, again = top_k(users, images, 10), top_k(users, images, 10)
    assert once.rows.tobytes() == again.rows.tobytes()
    assert once.scores.tobytes() == again.scores.tobytes()
    exact = users.astype(np.float64) @ images.astype(np.float64).T
    np.testing.assert_array_equal(once.rows, np.argsort(-exact, axis=1)[:, :10])
    np.testing.assert_allclose(once.scores, -np.sort(-exact, axis=1)[:, :10], rtol=1e-5)


def test_of_equal_scores_the_lower_row_comes_first() -> None:
    found = top_k(np.ones((2, 1), np.float32), np.ones((5000, 1), np.float32), 4, block_shape=(2, 999))
    assert found.rows.tolist() == [[0, 1, 2, 3]] * 2


def test_minus_zero_and_zero_are_equal_scores() -> None:
    found = top_k(np.array([[0.0]], np.float32), np.array([[-1.0], [1.0]], np.float32), 2)
    assert found.rows.tolist() == [[0, 1]]


def test_a_list_ends_where_no_image_is_left() -> None:
    seen = csr_array(np.array([[True, False, True], [True, True, True]]))
    found = top_k(np.ones((2, 1), np.float32), np.ones((3, 1), np.float32), 2, seen_UI=seen)
    assert found.rows.tolist() == [[1, -1], [-1, -1]]
    assert found.scores.tolist() == [[1, -np.inf], [-np.inf, -np.inf]]


def test_candidates_share_a_tag_and_without_interests_all_images_are_candidates() -> None:
    image_tags = csr_array(np.array([[1, 0], [0, 1], [1, 1], [0, 0]], bool))
    interests = csr_array(np.array([[1, 0], [0, 0]], bool))
    found = top_k(
        np.ones((2, 1), np.float32), np.ones((4, 1), np.float32), 4, candidates=Candidates(interests, image_tags)
    )
    assert found.rows.tolist() == [[0, 2, -1, -1], [0, 1, 2, 3]]


def test_a_tag_that_an_image_has_twice_counts_once() -> None:
    image_tags = csr_array((np.ones(3), np.array([0, 0, 1]), np.array([0, 2, 3])), shape=(2, 2))
    candidates = Candidates(csr_array(np.array([[True, False]])), image_tags)
    found = top_k(np.ones((1, 1), np.float32), np.ones((2, 1), np.float32), 2, candidates=candidates)
    assert found.rows.tolist() == [[0, -1]]


def test_blocks_come_in_user_order() -> None:
    users = np.arange(5, dtype=np.float32)[:, None]
    blocks = list(top_k_blocks(users, np.ones((3, 1), np.float32), 1, block_shape=(2, 8)))
    assert [(block.first_user, block.scores[:, 0].tolist()) for block in blocks] == [(0, [0, 1]), (2, [2, 3]), (4, [4])]


def test_scores_have_full_precision_whatever_training_has_set() -> None:
    rng = np.random.default_rng(0)
    users, images = rng.standard_normal((300, 64), np.float32), rng.standard_normal((3000, 64), np.float32)
    expected = top_k(users, images, 5)
    torch.set_float32_matmul_precision("medium")
    try:
        assert top_k(users, images, 5).scores.tobytes() == expected.scores.tobytes()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_arrays_that_cannot_be_written_are_ranked_without_a_warning() -> None:
    users = np.ones((1, 1), np.float32)
    users.flags.writeable = False
    assert top_k(users, users, 1).rows.tolist() == [[0]]


@pytest.mark.parametrize("num_images", [1, 7, 200])
def test_scores_are_ranked_as_products_are(num_images: int) -> None:
    rng = np.random.default_rng(0)
    users, images = whole_numbers(rng, (9, 3)), whole_numbers(rng, (num_images, 3))
    seen = sparse(rng, (9, num_images), 0.3)
    found, expected = top_k_of_scores(users @ images.T, 5, seen), top_k(users, images, 5, seen_UI=seen)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_pairs_are_scored_by_inner_product() -> None:
    rng = np.random.default_rng(0)
    users, images, rows = rng.random((4, 3)), rng.random((9, 3)), rng.integers(0, 9, (4, 5))
    expected = np.take_along_axis(users @ images.T, rows, axis=1)
    np.testing.assert_allclose(score_pairs(users, images, rows), expected, rtol=1e-6)


def test_wrong_input_is_named() -> None:
    users, images = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match="k is 0"):
        top_k(users, images, 0)
    with pytest.raises(ValueError, match="users have 3 dimensions, images 2"):
        top_k(users, images[:, :2], 1)
    with pytest.raises(ValueError, match=r"seen_UI is \(2, 5\), but there are 2 users and 4 images"):
        top_k(users, images, 1, seen_UI=csr_array((2, 5)))
    with pytest.raises(ValueError, match="interests of 2 users and tags of 5 images"):
        top_k(users, images, 1, candidates=Candidates(csr_array((2, 1)), csr_array((5, 1))))
    images[3, 1] = np.nan
    with pytest.raises(ValueError, match="images: the vector of row 3 is not finite"):
        top_k(users, images, 1)


def vectors(rng: np.random.Generator, kind: str, count: int, dimensions: int = 40) -> np.ndarray:
    """Vectors that are hard to rank in little precision."""
    plain = rng.standard_normal((count, dimensions)).astype(np.float32)
    if kind == "norms of many sizes":
        return plain * np.exp(rng.uniform(-25, 25, (count, 1))).astype(np.float32)
    if kind == "almost the same":
        return (1 + plain[:1] + 1e-5 * plain).astype(np.float32)
    if kind == "each many times":
        return plain[rng.integers(0, min(30, count), count)]
    if kind == "mostly zeros":
        return np.where(rng.random((count, 1)) < 0.9, np.float32(0), plain)
    if kind == "too small to multiply":
        return plain * np.float32(1e-30)
    return -np.abs(plain) if kind == "far apart" else plain


KINDS = ["plain", "norms of many sizes", "almost the same", "each many times", "mostly zeros", "too small to multiply"]


@pytest.mark.parametrize("way", WAYS["cpu"], ids=str)
@pytest.mark.parametrize("kind", [*KINDS, "far apart"])
def test_every_way_to_multiply_ranks_all_pairs_by_their_score(kind: str, way: Way) -> None:
    rng = np.random.default_rng(0)
    users, images = abs(vectors(rng, kind, 25)), vectors(rng, kind, 7000)
    seen = sparse(rng, (25, 7000), 0.2)
    seen = csr_array(seen.toarray() | (np.arange(25) == 3)[:, None])  # user 3 has seen everything
    candidates = Candidates(sparse(rng, (25, 9), 0.2), sparse(rng, (7000, 9), 0.1))
    found = top_k(users, images, 30, seen_UI=seen, candidates=candidates, way=way)
    scores = score_pairs(users, images, np.tile(np.arange(7000), (25, 1))) + np.float32(0)
    rows, expected = plain_lists(scores, 30, seen, candidates)
    np.testing.assert_array_equal(found.rows, rows)
    assert found.scores.tobytes() == expected.tobytes()
    np.testing.assert_allclose(
        found.scores[rows >= 0],
        np.take_along_axis(users.astype(np.float64) @ images.astype(np.float64).T, rows.clip(0), axis=1)[rows >= 0],
        rtol=1e-4,
        atol=1e-5 * np.abs(expected[rows >= 0]).max() + 1e-37,
    )


@pytest.mark.parametrize("way", WAYS["cpu"], ids=str)
def test_no_product_is_farther_from_the_score_than_its_bound(way: Way) -> None:
    rng = np.random.default_rng(0)
    users, images = (torch.from_numpy(rng.random((count, 300), np.float32) - 0.3) for count in (40, 5000))
    images[:9] *= 1000
    coarse = Coarse(images, float(images.norm(dim=1).max()), way, (40, 2048))
    errors = coarse.errors(users, users.norm(dim=1).double())
    products = torch.cat([part.clone() for _, part in coarse.blocks(users)], dim=1)[:, :5000].double()
    scores = torch.from_numpy(score_pairs(users.numpy(), images.numpy(), np.tile(np.arange(5000), (40, 1)))).double()
    assert ((products - scores).abs() <= errors[:, None] + products.abs() * 2.0**-8).all()
    floors = coarse.floors(products.amax(1).float(), errors)  # nothing that is lower is better than the best product
    assert (scores.masked_fill(products >= floors[:, None].double(), -torch.inf).amax(1) < scores.amax(1)).all()


def test_products_that_float32_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="may be larger than float32 holds"):
        top_k(np.full((1, 2), 1e20, np.float32), np.full((3, 2), 1e20, np.float32), 1)
