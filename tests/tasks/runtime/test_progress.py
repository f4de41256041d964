"""How far a stage is: on a display, or in the log."""

import logging

from models.progress import told
from tasks.runtime import progress
from tasks.runtime.progress import Progress, fitting, showing, shown_by
from tasks.runtime.whereabouts import in_stage


class Seen:
    """A display that notes what it is told."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def began(self, stage: str) -> None:
        self.events.append(f"{stage} began")

    def moved(self, moved: Progress) -> None:
        self.events.append((moved.stage, moved.done, moved.total, moved.unit))

    def ended(self, stage: str) -> None:
        self.events.append(f"{stage} ended")


def test_a_display_has_each_stage_and_how_far_it_is(monkeypatch):
    monkeypatch.setattr(progress, "MOVED_S", 0.0)
    seen = Seen()
    with shown_by(seen), showing("decode-images"):
        counted = Progress("decode-images", 3, "pictures")
        counted.advance(2)
        counted.advance()

    assert seen.events == [
        *("decode-images began", ("decode-images", 2, 3, "pictures")),
        *(("decode-images", 3, 3, "pictures"), "decode-images ended"),
    ]


def test_a_display_is_not_told_of_each_of_a_million_units_but_of_the_last():
    seen = Seen()
    with shown_by(seen):
        counted = Progress("learn-vectors", 100_000, "sentences")
        for _ in range(100_000):
            counted.advance()

    assert len(seen.events) < 1000
    assert seen.events[-1] == ("learn-vectors", 100_000, 100_000, "sentences")


def test_each_loop_of_a_fit_is_counted_anew(monkeypatch):
    monkeypatch.setattr(progress, "MOVED_S", 0.0)
    seen = Seen()
    with shown_by(seen), in_stage("fit-system"), fitting():
        for _ in range(2):
            list(told("ab", 2, "epochs"))
        list(told("a", 1, "rounds"))

    of_fit = [event[1:] for event in seen.events]
    assert of_fit == [(1, 2, "epochs"), (2, 2, "epochs"), (1, 2, "epochs"), (2, 2, "epochs"), (1, 1, "rounds")]


def test_without_a_display_the_log_says_how_much_time_is_left(monkeypatch, caplog):
    monkeypatch.setattr(progress, "LINE_S", 0.0)
    caplog.set_level(logging.INFO, "tastegraph")

    Progress("train-cdl", 4, "steps").advance(1, ", loss 0.500")

    assert "train-cdl          1 of 4 steps, about 0 s left, loss 0.500" in caplog.text
