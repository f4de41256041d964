"""Which id a night gets."""

import re

import pytest

from storage.roots import Root
from tasks.runtime import runs


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def test_a_night_is_named_by_the_time(root):
    assert re.fullmatch(r"\d{8}T\d{6}Z", runs.begin(None, "purpose", root).id)


def test_a_night_that_did_not_end_is_gone_on_with_under_its_id(root):
    begun = runs.begin(None, "purpose", root)

    assert runs.begin(None, "purpose", root) == begun


def test_a_night_of_another_purpose_gets_an_id_of_its_own_within_the_same_second(root):
    assert len({runs.begin(None, purpose, root).id for purpose in ("one", "two", "three")}) == 3


def test_a_night_that_ended_is_not_gone_on_with(root):
    begun = runs.begin(None, "purpose", root)
    runs.finish(begun, root)

    assert runs.begin(None, "purpose", root).id != begun.id


def test_an_id_that_is_asked_for_is_given(root):
    begun = runs.begin("monday", "purpose", root)

    assert (begun.id, begun.is_named) == ("monday", True)


@pytest.mark.parametrize("run_id", ["../exports/current", "", "-rf", "a/b"])
def test_an_id_that_cannot_be_part_of_a_path_is_refused_before_anything_runs(root, run_id):
    with pytest.raises(ValueError, match="run id"):
        runs.begin(run_id, "purpose", root)
    assert list(root.entries()) == []
