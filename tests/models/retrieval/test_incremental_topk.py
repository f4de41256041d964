"""Updated lists equal lists ranked from scratch, to the byte."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array

from models.retrieval import incremental_topk, ranking
from models.retrieval.incremental_topk import GONE, Before
from models.retrieval.ranking import Candidates, TopK

K = 5


def random_matrix(rng: np.random.Generator, shape: tuple[int, int], density: float) -> csr_array:
    return csr_array(random_array(shape, density=density, rng=rng, dtype=np.float32))


def listed(rows: list[list[int]]) -> TopK:
    """Lists of images that score as much as their row."""
    return TopK(np.array(rows), np.array(rows, np.float32))


class World:
    """Users and images of two nights: some changed, some are new, some are gone."""

    def __init__(self, seed: int, num_users: int, num_images: int, coarse: bool, filtered: bool) -> None:
        rng = np.random.default_rng(seed)

        def vectors(num: int) -> np.ndarray:
            normal = rng.standard_normal((num, 7))
            return np.asarray(np.round(normal) if coarse else normal, np.float32)  # coarse: many scores tie

        self.users, self.images = vectors(num_users), vectors(num_images)
        self.seen = random_matrix(rng, (num_users, num_images), 0.2)
        self.interests, self.tags = random_matrix(rng, (num_users, 4), 0.3), random_matrix(rng, (num_images, 4), 0.3)
        self.filtered = filtered
        stays = np.flatnonzero(rng.random(num_images) < 0.8)  # the images of last night that are still there
        self.is_changed = rng.random(num_images) < 0.1
        self.is_stale = rng.random(num_users) < 0.2
        was = np.where(self.is_changed[:, None], vectors(num_images), self.images)
        # Last night had the images that stay, with their vectors of last night, and as many others that are gone now.
        self.number = np.concatenate([stays, np.full(len(stays), GONE)])
        others = rng.permutation(num_images)[: len(stays)]
        self.was = np.concatenate([was[stays], vectors(len(stays))])
        self.was_seen = csr_array(np.concatenate([self.seen[:, stays].toarray(), np.zeros((num_users, len(stays)))], 1))
        self.was_tagged = csr_array(np.concatenate([self.tags[stays].toarray(), self.tags[others].toarray()]))
        came = np.ones(num_images, bool)
        came[stays] = False
        self.is_changed |= came

    def candidates(self, tags: csr_array) -> Candidates | None:
        return Candidates(self.interests, tags) if self.filtered else None

    def before(self, reserve: int) -> Before:
        """The previous lists, with so many places in reserve, some of which earlier nights have used up."""
        tagged = self.candidates(self.was_tagged)
        rows, scores = incremental_topk.best(
            self.users, self.was, K + reserve, seen_UI=self.was_seen, candidates=tagged
        )
        left = np.random.default_rng(0).integers(K, K + reserve + 1, len(rows))
        rows = np.where(np.arange(K + reserve) < left[:, None], rows, -1)
        return Before(TopK(np.append(self.number, -1)[rows], scores), self.is_stale, self.is_changed)


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 90), st.booleans(), st.booleans(), st.integers(0, 6)
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_updated_lists_are_those_ranked_from_scratch(seed, num_users, num_images, coarse, filtered, reserve):
    world = World(seed, num_users, num_images, coarse, filtered)
    options = {"seen_UI": world.seen, "candidates": world.candidates(world.tags)}
    from_scratch = incremental_topk.best(world.users, world.images, K, **options)
    updated = incremental_topk.update(world.users, world.images, K, world.before(reserve), **options)

    assert np.array_equal(updated.lists.rows[:, :K], from_scratch.rows)
    assert updated.lists.scores[:, :K].tobytes() == from_scratch.scores.tobytes()


def test_a_list_outlives_images_that_leave_as_long_as_its_reserve_lasts():
    users, images = np.ones((2, 1), np.float32), np.arange(8, dtype=np.float32)[:, None]
    lists = listed([[7, GONE, 5, 4], [7, GONE, GONE, 4]])
    nothing = csr_array((2, 8), dtype=np.float32)
    updated = incremental_topk.update(
        users, images, 3, Before(lists, np.zeros(2, bool), np.arange(8) == 6), seen_UI=nothing
    )

    assert updated.is_recomputed_U.tolist() == [False, True]
    assert updated.lists.rows.tolist() == [[7, 6, 5, 4], [7, 6, 5, 4]]


def test_a_list_ends_behind_the_last_image_that_is_certain():
    users, images = np.ones((1, 1), np.float32), np.arange(8, dtype=np.float32)[:, None]
    lists = listed([[7, 6, GONE, GONE]])  # 4 and 3 may be better than image 1, which is new
    nothing = csr_array((1, 8), dtype=np.float32)
    updated = incremental_topk.update(
        users, images, 2, Before(lists, np.zeros(1, bool), np.arange(8) == 1), seen_UI=nothing
    )

    assert updated.lists.rows.tolist() == [[7, 6, -1, -1]]


def test_a_list_is_ranked_again_only_if_it_lost_an_image_or_its_user_changed():
    users, images = np.ones((4, 1), np.float32), np.arange(8, dtype=np.float32)[:, None]
    lists = listed([[5, 4], [5, 4], [5, GONE], [5, 4]])
    stale, changed = np.array([False, True, False, False]), np.arange(8) == 7
    seen = csr_array(([1.0], ([3], [7])), shape=(4, 8))
    updated = incremental_topk.update(users, images, 2, Before(lists, stale, changed), seen_UI=seen)

    assert updated.is_recomputed_U.tolist() == [False, True, True, False]
    assert updated.is_entered_U.tolist() == [True, False, False, False]
    assert updated.lists.rows.tolist() == [[7, 5], [7, 6], [7, 6], [5, 4]]


@pytest.mark.parametrize("num_images", [0, 3, 200])
def test_the_best_are_those_of_the_plain_ranking(num_images):
    rng = np.random.default_rng(1)
    users, images = (rng.standard_normal((num, 9)).astype(np.float32) for num in (6, num_images))
    seen = random_matrix(rng, (6, num_images), 0.1)
    ours, plain = incremental_topk.best(users, images, 10, seen_UI=seen), ranking.top_k(users, images, 10, seen_UI=seen)

    assert np.array_equal(ours.rows, plain.rows)
    assert np.allclose(ours.scores, plain.scores, rtol=1e-5)


def test_the_list_of_a_user_whose_scores_are_rounding_errors_depends_on_no_other_pair():
    rng = np.random.default_rng(0)
    images = rng.standard_normal((500, 64)).astype(np.float32)
    images[:, 1:] *= 1e-7  # for this user a product is the first entry's, one for all, and noise
    images[:, 0] = 1
    users = np.ones((1, 64), np.float32)
    nothing = csr_array((1, 500), dtype=np.float32)
    exact = ranking.score_pairs(users, images, np.arange(500)[None])[0]
    found = incremental_topk.best(users, images, 10, seen_UI=nothing)

    assert found.rows[0].tolist() == np.lexsort((np.arange(500), -exact))[:10].tolist()


def test_by_unit_vectors_the_most_similar_go_by_direction_and_leave_out_the_image_itself():
    images = incremental_topk.unit(np.array([[1, 0], [9, 1], [0, 2], [0, 0]], np.float32))
    found = incremental_topk.best(images, images, 2, seen_UI=csr_array(np.eye(4, dtype=np.float32)))

    assert found.rows.tolist() == [[1, 2], [0, 2], [1, 0], [0, 1]]
    assert np.allclose(found.scores[1], np.array([9, 1]) / np.sqrt(82), rtol=1e-6)
    assert found.scores[3].tolist() == [0, 0]
