"""What a published run left for later nights, readable or not."""

from dataclasses import replace
from typing import Any

import pytest

from storage.manifests import Manifest
from storage.refs import Ref
from tasks.night.records import STATE_VERSION
from tasks.night.start import states_of

REF = Ref("users", "tables/users/1.parquet", "ab", 1, 2)
MANIFEST = Manifest(run_id="night-1", generated_at="2026-11-28T02:00:00+00:00", metrics=[])


def reason(memory: Any, **changes: Any) -> str:
    """Why nothing can be built on a run that left this."""
    states = states_of(replace(MANIFEST, memory=memory, **changes))
    assert isinstance(states, str), "it was read"
    return states


def test_a_run_without_state_is_of_an_earlier_version_or_redacted():
    assert "earlier version" in reason(None)
    assert "forgotten" in reason(None, withdrawn={"from": "night-0"})


def test_a_state_of_another_version_is_named_with_both_versions():
    assert f"a state of version 1, and this code reads version {STATE_VERSION}" in reason({"last": {}, "base": None})
    assert "a state of version 99" in reason({"version": 99})


@pytest.mark.parametrize(
    "last", [{}, None, 3, "text", {"run_id": "night-1", "how": "sideways"}, [vars(Ref("", "", "", 0, 0))]]
)
def test_a_state_that_cannot_be_read_is_a_reason_and_no_crash(last):
    assert "cannot be read" in reason({"version": STATE_VERSION, "last": last, "base": None})
    assert "cannot be read" in reason({"version": STATE_VERSION})
