"""What is known of a flow before it runs."""

from dataclasses import dataclass

import pytest

from storage.roots import Root
from tasks.runtime import keys
from tasks.runtime.caching import stage
from tasks.runtime.planning import NotKnownError, Unknown, differences, planning, waits_for
from tasks.settings.lists import RecommendConfig


@dataclass(frozen=True)
class Result:
    count: int


@stage
def make_things(count: int, root: Root) -> Result:
    """Things."""
    raise AssertionError("a plan runs nothing")


@stage
def use_things(things: Result, config: RecommendConfig, root: Root) -> Result:
    """Uses."""
    raise AssertionError("a plan runs nothing")


def noted(**given) -> dict:
    return keys.noted(keys.parts(__name__, given))


def test_a_stage_without_a_record_would_run_and_the_next_waits_for_it(tmp_path):
    root = Root(str(tmp_path))
    with planning(root, []) as plan:
        use_things(make_things(3, root), RecommendConfig(), root)

    outcomes = {name: planned.outcome for name, planned in plan.stages.items()}
    assert outcomes == {"make-things": "runs", "use-things": "waits"}
    assert plan.stages["use-things"].why == ["for make-things"]


def test_a_record_that_is_damaged_or_gone_is_not_called_new(tmp_path):
    root, record = Root(str(tmp_path)), "cache/make-things/abc"

    def why() -> list[str]:
        with planning(root, [record]) as plan:
            make_things(3, root)
        return plan.stages["make-things"].why

    assert why() == [f"the record {record} is gone"]
    for content in (b"", b"{}", b'{"metadata": {}, "result": "[]"}'):
        root.write(record, content)
        assert why() == [f"the record {record} is damaged"]


@pytest.mark.parametrize("use", [list, len, str, int, lambda it: it + 1, lambda it: f"{it}", lambda it: it.rows // 2])
def test_what_needs_an_unknown_result_names_its_stage(use):
    with pytest.raises(NotKnownError, match="ingest"):
        use(Unknown("ingest"))


def test_an_unknown_result_is_found_within_records_and_lists():
    assert waits_for([{"a": (Result(Unknown("x").part), 1)}, Unknown("y")["z"]]) == {"x", "y"}
    assert waits_for([Result(1), {"a": None}]) == set()


def test_differences_name_settings_with_their_values_and_other_input_by_its_name():
    one, other = (
        noted(things=Result(count), config=RecommendConfig(num_similar=similar)) for count, similar in ((1, 5), (2, 6))
    )

    assert differences(one, other) == ["config.num_similar is 6, was 5", "its things changed"]
    assert differences(one, {**one, "code": "other"}) == ["its code has changed"]


def test_what_a_record_notes_holds_settings_and_of_all_else_a_digest():
    found = noted(count="a-user-id")

    assert "a-user-id" not in str(found)
