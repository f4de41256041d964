"""An index finds most of the exact lists' images, ranks what it finds exactly, and lists nothing that may not be."""

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from models.retrieval import index, ranking
from models.retrieval.index import Index
from models.retrieval.ranking import Candidates, TopK
from models.retrieval.reranking import choose

K = 10


def vectors(num_users: int, num_images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Users and images around 40 tastes, images with a long tail of lengths."""
    rng = np.random.default_rng(seed)
    tastes = rng.normal(size=(40, 16))
    users, images = (
        tastes[rng.integers(0, 40, num)] + 0.5 * rng.normal(size=(num, 16)) for num in (num_users, num_images)
    )
    return users.astype(np.float32), (images * rng.lognormal(0, 1, (num_images, 1))).astype(np.float32)


def marks(shape: tuple[int, int], density: float, seed: int = 0) -> csr_array:
    return csr_array(random_array(shape, density=density, rng=np.random.default_rng(seed), dtype=np.float32))


def share_found(found: TopK, exact: TopK) -> float:
    hits = [np.isin(ours, exactly[exactly >= 0]).sum() for ours, exactly in zip(found.rows, exact.rows, strict=True)]
    return sum(hits) / (exact.rows >= 0).sum()


@pytest.fixture(scope="module")
def fitted() -> Index:
    users, images = vectors(300, 4000)
    return index.fit(users, images, K, 0.9, seen_NI=csr_array((300, 4000)))


@pytest.mark.parametrize("recall", [0.9, 0.98])
def test_lists_of_other_users_have_the_recall_that_was_asked_for(recall):
    users, images = vectors(1200, 4000)
    nothing = csr_array((600, 4000), dtype=np.float32)
    fitted = index.fit(users[600:], images, K, recall, seen_NI=nothing)
    found = index.search(users[:600], images, K, fitted, seen_UI=nothing)

    assert share_found(found, ranking.top_k(users[:600], images, K)) == pytest.approx(recall, abs=0.03)
    assert fitted.num_probed < len(fitted.cells_Lf) / 3


def test_where_all_cells_are_looked_into_lists_are_the_exact_ones_to_the_byte():
    users, images = vectors(70, 900)
    users[3] = 0
    images[5:9] = images[4]
    seen, tags = marks((70, 900), 0.1), marks((900, 6), 0.2, seed=2)
    candidates = Candidates(marks((70, 6), 0.2, seed=1), tags)
    options = {"seen_UI": seen, "candidates": candidates}
    exact = ranking.top_k(users, images, K, **options)
    found = index.search(users, images, K, index.build(images), **options)

    assert np.array_equal(found.rows, exact.rows)
    assert found.scores.tobytes() == exact.scores.tobytes()


def test_no_seen_image_and_no_other_than_a_candidate_is_listed_and_lists_are_full_where_enough_are_left():
    users, images = vectors(100, 2000)
    seen, interests, tags = marks((100, 2000), 0.3), marks((100, 5), 0.3, seed=1), marks((2000, 5), 0.2, seed=2)
    candidates = Candidates(interests, tags)
    few = index.build(images)._replace(num_probed=2)
    found = index.search(users, images, 40, few, seen_UI=seen, candidates=candidates)
    allowed = (interests.astype(bool) @ tags.astype(bool).T).toarray() | (np.diff(interests.indptr) == 0)[:, None]
    allowed &= seen.toarray() == 0

    listed_UI = np.zeros((100, 2001), bool)
    listed_UI[np.arange(100)[:, None], found.rows] = True
    assert not (listed_UI[:, :-1] & ~allowed).any()
    assert ((found.rows >= 0).sum(axis=1) == np.minimum(allowed.sum(axis=1), 40)).all()
    assert np.array_equal(found.scores, ranking.score_pairs(users, images, found.rows))


def test_neither_the_other_users_nor_the_size_of_blocks_change_a_byte(monkeypatch, fitted):
    users, images = vectors(300, 4000)
    seen = marks((300, 4000), 0.01)
    whole = index.search(users, images, K, fitted, seen_UI=seen)
    monkeypatch.setattr(index, "SCORES", 2000)
    monkeypatch.setattr(index, "PROBES", 90 * fitted.num_probed)
    parts = [index.search(users[part], images, K, fitted, seen_UI=seen[part]) for part in (slice(0, 7), slice(7, 300))]

    for one, others in zip(whole, zip(*parts, strict=True), strict=True):
        assert one.tobytes() == np.concatenate(others).tobytes()


def test_of_many_images_that_score_the_same_the_first_are_listed(monkeypatch):
    monkeypatch.setattr(index, "MANY", (1, 0))
    users, images = vectors(3, 500)
    images[100:400] = images[100] * 1000
    users[0], users[1] = images[100], 0
    found = index.search(users, images, K, index.build(images), seen_UI=csr_array((3, 500), dtype=np.float32))

    assert found.rows[0].tolist() == list(range(100, 110))
    assert found.rows[1].tolist() == list(range(10))


def test_equal_images_give_equal_bytes_and_an_index_of_none_finds_none():
    _, images = vectors(1, 1500)
    one, other = index.build(images), index.build(images.copy())
    assert one.cells_Lf.tobytes() == other.cells_Lf.tobytes()
    assert one.cell_I.tobytes() == other.cell_I.tobytes()

    nothing = np.empty((0, 16), np.float32)
    none = index.fit(images[:4], nothing, K, 0.9, seen_NI=csr_array((4, 0)))
    assert (index.search(images[:4], nothing, K, none, seen_UI=csr_array((4, 0))).rows == -1).all()


def test_lists_within_an_owners_limit_stay_in_the_order_of_scores_where_more_than_the_cells_hold_is_needed():
    users, images = vectors(100, 2000)
    nothing, few = csr_array((100, 2000), dtype=np.float32), index.build(images)._replace(num_probed=2)
    owners = np.random.default_rng(0).integers(0, 12, 2000)

    def ranked(rows, depth):
        return index.search(users[rows], images, depth, few, seen_UI=nothing[rows])

    chosen = choose(ranked(np.arange(100), 2 * K), K, owners, ranked, max_of_owner=1)

    assert (chosen.rows >= 0).all()
    assert (np.diff(chosen.scores, axis=1) <= 0).all()
    assert all(len(set(owners[rows])) == K for rows in chosen.rows)
