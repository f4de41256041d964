"""Lists and scores are the same, whether a model has vectors or only scores."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.retrieval.ranking import Candidates
from models.systems import Vectors
from tasks.systems import scoring
from tasks.systems.scoring import best_images, fair_lists, score_mixtures, usable_images

NUM_USERS, NUM_IMAGES, K = 7, 40, 5


class OnlyScores:
    """The scores of vectors that it hides."""

    vectors = None

    def __init__(self, vectors: Vectors):
        self.hidden = vectors

    def score(self, users_N: np.ndarray) -> np.ndarray:
        scores_NI = self.hidden.users_Ud[users_N] @ self.hidden.images_Id.T
        scores_NI[:, ~self.hidden.usable_I] = -np.inf
        return np.asarray(scores_NI)


class ByVectors(OnlyScores):
    """The same, with its vectors."""

    @property
    def vectors(self) -> Vectors:  # type: ignore[override]
        return self.hidden


@pytest.fixture(params=[OnlyScores, ByVectors])
def scorer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Small whole numbers, so that every product is exact and some are equal; three users' scores fit into memory."""
    monkeypatch.setattr(scoring, "BLOCK_SCORES", 3 * NUM_IMAGES)
    rng = np.random.default_rng(0)
    users, images = (rng.integers(-3, 4, (count, 4)).astype(np.float32) for count in (NUM_USERS, NUM_IMAGES))
    usable = np.arange(NUM_IMAGES) % 9 != 0
    images[~usable] = 0
    return request.param(Vectors(users, images, usable))


def test_lists_are_the_best_of_each_set_but_those_seen_and_those_that_cannot_be_scored(scorer):
    users, some = np.array([5, 0, 2, 6]), np.arange(10, 20)
    seen = csr_array(np.random.default_rng(1).random((len(users), NUM_IMAGES)) < 0.2)
    found = best_images(scorer, users, {"all": np.arange(NUM_IMAGES), "some": some}, K, seen)

    scores = OnlyScores(scorer.hidden).score(users)
    scores[seen.toarray()] = -np.inf
    assert np.array_equal(found["all"].rows, np.argsort(-scores, axis=1, kind="stable")[:, :K])
    assert np.array_equal(found["some"].rows, some[np.argsort(-scores[:, some], axis=1, kind="stable")[:, :K]])
    assert np.array_equal(found["all"].scores, np.take_along_axis(scores, found["all"].rows, axis=1))


def test_a_list_ends_where_nothing_is_left(scorer):
    found = best_images(
        scorer, np.arange(2), {"few": np.array([0, 1, 9]), "none": np.array([], int)}, 3, nothing_seen(2)
    )

    assert found["few"].rows.tolist() == [[1, -1, -1]] * 2  # 0 and 9 cannot be scored
    assert found["none"].rows.tolist() == [[-1] * 3] * 2


def test_candidates_have_a_tag_of_interest_and_are_all_images_for_a_user_without_interests(scorer):
    interests = csr_array(np.array([[1, 0], [0, 0], [0, 1], [1, 0]], np.float32))
    image_tags = csr_array((np.arange(NUM_IMAGES)[:, None] % 4 == [1, 2]).astype(np.float32))
    candidates = Candidates(interests, image_tags)
    rows = best_images(scorer, np.arange(4), {"all": np.arange(NUM_IMAGES)}, K, nothing_seen(4), candidates)["all"].rows

    assert set(rows[[0, 3]].ravel() % 4) == {1}
    assert set(rows[2] % 4) == {2}
    assert np.array_equal(
        rows[[1]], best_images(scorer, np.array([1]), {"a": np.arange(40)}, K, nothing_seen(1))["a"].rows
    )


def test_fair_lists_have_the_best_scores_and_then_images_without_any(scorer):
    users, few = np.array([5, 0, 2, 6]), np.arange(8, 14)  # 9 cannot be scored
    seen = csr_array(np.eye(4, NUM_IMAGES, 10, dtype=bool))  # 10 to 13, one for each user
    lists = fair_lists(scorer, users, {"few": few}, 7, seen, seed=0)["few"]

    scores = OnlyScores(scorer.hidden).score(users)
    scores[seen.toarray()] = -np.inf
    best = best_images(scorer, users, {"few": few}, 7, seen)["few"]
    assert np.array_equal(np.take_along_axis(scores, lists[:, :4], axis=1), best.scores[:, :4])
    assert lists[:, 4:].tolist() == [[9, -1, -1]] * 4


def test_images_of_equal_scores_are_equally_often_first_whatever_their_ids():
    nothing = Vectors(np.zeros((3200, 1), np.float32), np.zeros((4, 1), np.float32), np.array([1, 1, 1, 0], bool))
    first = [
        fair_lists(ByVectors(nothing), np.arange(3200), {"all": np.arange(4)}, 4, nothing_seen(3200, 4), seed)["all"]
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])
    assert (first[0][:, 3] == 3).all()  # what cannot be scored is behind
    assert (np.bincount(first[0][:, 0]) > 500).all()


def test_a_mixture_is_scored_pair_by_pair(scorer):
    users, images = np.array([6, 1, 1, 3, 0]), np.random.default_rng(2).integers(0, NUM_IMAGES, (5, 8))

    expected = np.take_along_axis(OnlyScores(scorer.hidden).score(users), images, axis=1)
    assert np.array_equal(score_mixtures(scorer, users, images, NUM_IMAGES), expected)
    assert np.array_equal(usable_images(scorer, users, NUM_IMAGES), scorer.hidden.usable_I)


def nothing_seen(num_users: int, num_images: int = NUM_IMAGES) -> csr_array:
    return csr_array((num_users, num_images), dtype=np.float32)
