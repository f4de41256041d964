"""What a long computation tells of its progress."""

import pytest

from models.ensemble.side_by_side import side_by_side
from models.progress import heard_by, told


def test_a_loop_tells_how_many_steps_are_done_and_loops_within_are_silent():
    heard = []
    with heard_by(lambda *what: heard.append(what)):
        for _ in told(range(2), 2, "epochs"):
            list(told(range(5), 5, "steps"))

    assert heard == [(1, 2, "epochs"), (2, 2, "epochs")]


def test_a_second_loop_is_heard_after_one_that_was_left_early():
    heard = []
    with heard_by(lambda *what: heard.append(what)):
        for epoch in told(range(9), 9, "epochs"):
            if epoch == 1:
                break
        list(told("ab", 2, "rounds"))

    assert heard == [(1, 9, "epochs"), (1, 2, "rounds"), (2, 2, "rounds")]


def test_nobody_need_listen():
    assert list(told("abc", 3, "letters")) == ["a", "b", "c"]


def test_what_is_computed_side_by_side_is_told_and_keeps_its_order():
    heard = []
    with heard_by(lambda *what: heard.append(what)):
        assert side_by_side(lambda item: item * 2, [3, 1, 2], "experts") == [6, 2, 4]

    assert heard == [(1, 3, "experts"), (2, 3, "experts"), (3, 3, "experts")]


def test_the_first_failure_side_by_side_is_raised():
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda item: 1 / item, [1, 0, 2], "experts")
