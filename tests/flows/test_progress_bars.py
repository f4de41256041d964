"""What a terminal shows of the stages at work."""

import io
import logging

import pytest
from rich.console import Console

from flows import progress_bars, terminal
from flows.progress_bars import StageBars
from tasks.runtime.progress import Progress


@pytest.fixture
def bars(monkeypatch) -> StageBars:
    """Bars that appear at once."""
    monkeypatch.setattr(progress_bars, "MEASURED_S", 0.0)
    return StageBars(Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None))


def shown(bars: StageBars) -> str:
    for stage, line in bars._shown.items():
        bars._uncover(stage, line.bar)
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(bars.bars.get_renderable())
    return console.file.getvalue()


def test_a_bar_says_what_is_done_how_fast_and_how_long_it_takes(bars):
    bars.began("train-cdl")
    progress = Progress("train-cdl", 40, "steps")
    progress.started -= 5
    progress.done, progress.note = 10, ", loss 0.5"
    bars.moved(progress)

    text = shown(bars)

    assert "train-cdl" in text
    assert "10 of 40 steps, loss 0.5" in text
    assert "2.0/s, 15 s left" in text


def test_a_bar_of_parts_counts_what_is_done_within_them(bars):
    bars.began("decode-images")
    parts = Progress("decode-images", 4, "parts", is_of_parts=True)
    within = Progress("decode-images", 100, "pictures of the shard")
    within.done = 50
    parts.done = 1
    bars.moved(within)
    bars.moved(parts)

    assert bars.bars.tasks[0].completed == 1.5
    assert "1 of 4 parts" in shown(bars)


def test_a_single_part_is_shown_by_what_is_counted_within_it(bars):
    bars.began("decode-images")
    within = Progress("decode-images", 100, "pictures of the shard")
    within.done = 50
    bars.moved(within)
    bars.moved(Progress("decode-images", 1, "parts", is_of_parts=True))

    assert "50 of 100 pictures of the shard" in shown(bars)


def test_a_stage_that_says_nothing_has_a_bar_that_pulses_and_no_speed(bars):
    bars.began("cluster-vectors")

    assert bars.bars.tasks[0].total is None
    assert "left" not in shown(bars)


def test_a_stage_that_has_ended_has_no_bar(bars):
    bars.began("ingest")
    bars.ended("ingest")

    assert "ingest" not in shown(bars)


def test_a_stage_that_is_done_soon_never_has_a_bar(bars):
    bars.began("ingest")

    assert not bars.bars.tasks[0].visible


@pytest.mark.parametrize(
    ("is_terminal", "term", "expected"), [(True, "xterm", True), (False, "xterm", False), (True, "dumb", False)]
)
def test_only_a_terminal_that_moves_its_cursor_gets_bars(monkeypatch, is_terminal, term, expected):
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal, raising=False)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    assert terminal.wants_bars() is expected


def test_a_time_is_said_in_minutes_and_seconds():
    assert [progress_bars._duration(seconds) for seconds in (4.4, 59.6, 754)] == ["4 s", "1:00", "12:34"]
