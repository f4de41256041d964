"""Tags and the favorites that they betray."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.tag_assignments import TagAssignments, TagCounts, TagLeak, last_known, leak_of, withhold


def counts(rows: list[tuple[int, ...]], user_tags: list[list[int]], image_tags: list[list[int]]) -> TagCounts:
    """Tag counts, and assignments as (user, image, tag) or (user, image, tag, seconds)."""
    user, image, tag = (np.array([row[place] for row in rows], np.int64) for place in range(3))
    at = np.array([row[3] if len(row) > 3 else np.nan for row in rows], np.float64)
    matrices = (csr_array(np.array(table, np.float32)) for table in (user_tags, image_tags))
    return TagCounts(*matrices, TagAssignments(user, image, tag, at))


def heldout(*pairs: tuple[int, int]) -> csr_array:
    matrix = np.zeros((2, 3), bool)
    for pair in pairs:
        matrix[pair] = True
    return csr_array(matrix)


def test_a_users_count_falls_by_what_was_put_on_held_out_images_and_goes_at_zero():
    given = counts([(0, 0, 0), (0, 1, 0), (0, 1, 1)], [[2, 1], [0, 5]], [[1, 0], [1, 1], [0, 0]])
    left = withhold(given, heldout((0, 1)))

    assert left.user_tags_UT.toarray().tolist() == [[1, 0], [0, 5]]
    assert left.user_tags_UT.nnz == 2
    assert left.assignments.image_N.tolist() == [0]


def test_where_the_source_does_not_count_a_users_tag_stays_while_an_assignment_is_left():
    given = counts([(0, 0, 0), (0, 1, 0), (0, 2, 0)], [[1], [0]], [[1], [1], [1]])

    assert withhold(given, heldout((0, 0), (0, 1))).user_tags_UT.toarray().tolist() == [[1], [0]]
    assert withhold(given, heldout((0, 0), (0, 1), (0, 2))).user_tags_UT.nnz == 0


def test_a_tag_stays_on_an_image_as_long_as_somebody_else_put_it_there():
    given = counts([(0, 1, 0), (1, 1, 0), (0, 1, 1)], [[1, 1], [1, 0]], [[0, 0], [1, 1], [0, 0]])

    assert withhold(given, heldout((0, 1))).image_tags_IT.toarray()[1].tolist() == [1, 0]
    assert withhold(given, heldout((0, 1), (1, 1))).image_tags_IT.nnz == 0


def test_what_no_assignment_explains_stays():
    given = counts(
        [(0, 1, 1)], [[3, 1], [0, 0]], [[1, 0], [1, 1], [1, 0]]
    )  # tag 0 is a genre, and 3 uses are unexplained
    left = withhold(given, heldout((0, 1), (1, 0)))

    assert left.user_tags_UT.toarray().tolist() == [[3, 0], [0, 0]]
    assert left.image_tags_IT.toarray()[:, 0].tolist() == [1, 1, 1]


def test_assignments_later_than_what_is_learned_from_go_and_those_of_unknown_time_stay():
    given = counts(
        [(0, 0, 0, 100), (0, 1, 0, 150), (0, 2, 0), (1, 2, 1, 150)], [[3, 0], [0, 1]], [[1, 0], [1, 0], [1, 1]]
    )
    left = withhold(given, heldout(), np.array([100, np.inf]))

    assert left.user_tags_UT.toarray().tolist() == [[2, 0], [0, 1]]
    assert left.image_tags_IT.toarray().tolist() == [[1, 0], [0, 0], [1, 1]]


def test_what_was_put_on_held_out_images_goes_on_a_split_by_time_too_even_if_it_was_early_or_has_no_time():
    given = counts([(0, 0, 0, 50), (0, 1, 0, 50), (0, 2, 0)], [[3], [0]], [[1], [1], [1]])
    left = withhold(given, heldout((0, 1), (0, 2)), np.array([100, np.inf]))

    assert left.assignments.image_N.tolist() == [0]
    assert left.user_tags_UT.toarray().tolist() == [[1], [0]]


def test_the_last_known_moment_is_that_of_a_tested_users_latest_favorite_to_learn_from():
    user, at = np.array([0, 0, 1, 0]), np.array([20.0, 50.0, 70.0, 30.0])  # user 2 has no favorite to learn from
    is_tested = np.array([True, False, True])

    assert last_known(user, at, is_tested, without_any=5.0).tolist() == [50, np.inf, 5]


def test_more_assignments_than_counted_uses_leave_no_negative_count():
    given = counts([(0, 1, 0), (0, 1, 1)], [[0, 1], [0, 0]], [[0, 0], [1, 1], [0, 0]])

    assert withhold(given, heldout((0, 1))).user_tags_UT.nnz == 0


@pytest.mark.parametrize("held", [(), ((1, 2),)])
def test_nothing_changes_where_nobody_tagged_what_is_held_out(held):
    given = counts([(0, 0, 0)], [[1, 0], [0, 2]], [[1, 0], [0, 1], [0, 1]])

    assert withhold(given, heldout(*held)) is given


def test_tags_of_one_user_that_lie_on_their_favorites_show_a_leak():
    user_tags = csr_array(np.array([[3, 0, 1], [0, 1, 1]], np.float32))  # tags 0 and 1 have one user each
    image_tags = csr_array(np.array([[1, 0, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1]], np.float32))
    favorites = csr_array(np.array([[1, 0, 0, 0], [0, 0, 1, 0]], np.float32))
    found = leak_of(user_tags, image_tags, favorites)

    assert (found.pairs, found.share, found.base_rate) == (3, pytest.approx(2 / 3), pytest.approx(1 / 4))


def test_pairs_that_are_known_anyway_tell_nothing_more():
    user_tags = csr_array(np.array([[1, 0], [0, 1]], np.float32))
    image_tags = csr_array(np.array([[1, 0], [1, 0], [0, 1], [0, 0]], np.float32))
    favorites, known = (csr_array(np.array(rows)) for rows in ([[0, 1, 0, 0], [0] * 4], [[1, 0, 0, 0], [0] * 4]))
    found = leak_of(user_tags, image_tags, favorites, known)

    assert (found.pairs, found.share, found.base_rate) == (2, pytest.approx(1 / 2), pytest.approx(1 / 7))


def test_without_a_tag_of_one_user_nothing_is_measured():
    shared = csr_array(np.ones((2, 1), np.float32))

    assert leak_of(shared, csr_array(np.ones((3, 1), np.float32)), heldout()) == TagLeak(0, 0.0, 0.0)
