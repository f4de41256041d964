"""Stages in a flow: what the ledger notes, in whatever process they run."""

from pathlib import Path
from typing import Any

import pytest
from prefect import flow, unmapped
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from storage.roots import Root, StoreError, UnavailableError
from tasks.runtime import ledger
from tasks.runtime.caching import stage, uncached_stage
from tasks.runtime.ledger import Ledger
from tasks.runtime.record_store import records_below

pytestmark = pytest.mark.usefixtures("prefect_server")

PASSING, STAYING = (UnavailableError, ConnectionResetError, TimeoutError), (StoreError, ValueError)


@stage
def double(number: int, root: Root) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    ledger.count("numbers doubled", 1)
    return 2 * number


@uncached_stage
def store(number: int, root: Root) -> int:
    if root.exists("stored"):
        ledger.mark_reused()
    root.write("stored", b"1")
    return number


@stage
def fetch(kind: str, root: Root) -> int:
    """1 at the second call; the first ends with an error of this kind."""
    if not root.exists(kind):
        root.write(kind, b"")
        raise next(error for error in (*PASSING, *STAYING) if error.__name__ == kind)("away")
    return 1


def run(numbers: list[int], root: Root, runner: Any = None) -> tuple[list[int], Ledger]:
    """The doubled numbers, and the ledger of the flow run."""

    @flow(name="doubles", task_runner=runner or ThreadPoolTaskRunner(max_workers=2), persist_result=False)
    def doubles() -> list[int]:
        with records_below(root):
            doubled = double.map(numbers, unmapped(root))
            store(sum(doubled), root)
        return doubled

    state = doubles(return_state=True)
    return state.result(), ledger.of_run(str(state.state_details.flow_run_id))


def test_a_stage_that_ran_counts_its_work_and_one_that_was_reused_counts_none(tmp_path: Path):
    root = Root(str(tmp_path))
    doubled, first = run([3, 1, 2], root)
    _, second = run([1, 2, 3, 4], root)

    assert doubled == [6, 2, 4]
    assert first.work == {"numbers doubled": 3}
    assert second.work == {"numbers doubled": 1}
    assert [(line.stage, line.ran, line.reused) for line in first.lines.values()] == [("double", 3, 0), ("store", 1, 0)]
    assert [(line.stage, line.ran, line.reused) for line in second.lines.values()] == [
        ("double", 1, 3),
        ("store", 0, 1),
    ]
    assert first.records < second.records
    assert all(root.exists(record) for record in second.records)


def test_a_stage_that_runs_in_another_process_is_noted_in_the_flows(tmp_path: Path):
    doubled, noted = run([1, 2], Root(str(tmp_path)), ProcessPoolTaskRunner(max_workers=1))

    assert doubled == [2, 4]
    assert noted.work == {"numbers doubled": 2}
    assert len(noted.records) == 2


def test_a_stage_that_fails_is_noted_and_its_error_is_raised_or_returned(tmp_path: Path):
    root = Root(str(tmp_path))

    @flow(name="failing", persist_result=False)
    def failing() -> Exception | int:
        with records_below(root):
            return double.outcome(-1, root)

    state = failing(return_state=True)
    error = state.result(raise_on_failure=False)

    assert isinstance(error, ValueError)
    assert ledger.of_run(str(state.state_details.flow_run_id)).lines["double"].failed == 1
    with pytest.raises(ValueError, match="-1 is negative"):
        run([-1], root)


def test_a_stage_that_the_store_or_the_network_failed_for_a_moment_is_tried_again_and_no_other_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fetch.runs.task, "retry_delay_seconds", 0)

    @flow(name="fetching", persist_result=False)
    def fetching() -> list[Exception | int]:
        with records_below(root):
            return [fetch.outcome(error.__name__, root) for error in (*PASSING, *STAYING)]

    root = Root(str(tmp_path))
    *passed, refused, wrong = fetching(return_state=True).result(raise_on_failure=False)

    assert passed == [1, 1, 1]
    assert (type(refused), type(wrong)) == STAYING
