"""Digests of settings, references and plain values."""

from dataclasses import dataclass

import pytest

from tasks.runtime.digests import canonical, digest


@dataclass(frozen=True)
class One:
    items: tuple[int, ...]


@dataclass(frozen=True)
class Other:
    items: tuple[int, ...]


def test_equal_content_gives_equal_digests_whatever_the_order_of_keys():
    assert digest({"a": 1, "b": [One((1, 2))]}) == digest({"b": [One((1, 2))], "a": 1})


def test_another_value_or_another_class_gives_another_digest():
    assert len({digest(value) for value in (One((1,)), One((2,)), Other((1,)), [1], "1", 1, None)}) == 7


def test_a_value_without_stable_content_is_refused_and_its_place_is_named():
    with pytest.raises(TypeError, match=r"given\['a'\]\[1\]: object has no stable content"):
        canonical({"a": [1, object()]}, "given")
