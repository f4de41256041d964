"""The hourly budget: never more than the limit in any hour, for any number of processes and restarts."""

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from storage.settings.flickr import BudgetConfig
from storage.sources.flickr.budget import Budget

HOUR_S = 3600.0


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Time:
    return Time()


def turns(file: Path, config: BudgetConfig, clock: Time, number: int) -> list[float]:
    """When each of so many turns came, for a process that was just started."""
    taken = []
    with closing(Budget(file, config, clock, clock.sleep)) as budget:
        for _ in range(number):
            budget.take()
            taken.append(clock.now)
    return taken


def most_in_an_hour(taken: list[float]) -> int:
    return max(sum(1 for other in taken if start <= other < start + HOUR_S) for start in taken)


def test_no_hour_sees_more_requests_than_the_limit_and_hardly_fewer(tmp_path, clock):
    config = BudgetConfig(requests_per_hour=360, burst=30)
    taken = turns(tmp_path / "budget", config, clock, 1500)

    assert 355 <= most_in_an_hour(taken) <= 360
    assert taken[29] - taken[0] < 1  # the burst
    assert taken[30] - taken[29] > 10


def test_a_budget_is_kept_over_restarts(tmp_path, clock):
    config, taken = BudgetConfig(requests_per_hour=360, burst=30), []
    for _ in range(60):
        taken += turns(tmp_path / "budget", config, clock, 20)

    assert most_in_an_hour(taken) <= 360


def test_workers_share_one_budget(tmp_path):
    config = BudgetConfig(requests_per_hour=36_000, burst=10)  # ten a second
    end, taken = time.time() + 1.0, []

    def work() -> None:
        with closing(Budget(tmp_path / "budget", config)) as budget:
            while time.time() < end:
                budget.take()
                taken.append(time.time())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert len([at for at in taken if at < end]) <= 10 + 10 + 1


def test_a_pause_holds_for_all_who_share_the_budget_and_after_a_restart(tmp_path, clock):
    config = BudgetConfig()
    with closing(Budget(tmp_path / "budget", config, clock, clock.sleep)) as budget:
        budget.pause(90.0)
    before = clock.now
    (turn,) = turns(tmp_path / "budget", config, clock, 1)

    assert turn - before == pytest.approx(90.0, abs=1.1)


def test_a_clock_that_is_set_back_costs_hours_at_most(tmp_path, clock):
    turns(tmp_path / "budget", BudgetConfig(), clock, 100)
    clock.now -= 30 * 86_400
    before = clock.now
    (turn,) = turns(tmp_path / "budget", BudgetConfig(), clock, 1)

    assert turn - before < 3 * HOUR_S


def test_a_burst_that_leaves_nothing_of_the_hour_is_refused():
    with pytest.raises(ValueError, match=r"budget.burst = 3600"):
        BudgetConfig(burst=3600)
