"""How far a long stage is: a display on the terminal or lines in the log, and a bar in Prefect's UI."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID

from models.progress import heard_by
from tasks.runtime.whereabouts import RUN, STAGE

log = logging.getLogger("tastegraph")

MOVED_S = 0.1
LINE_S = 5.0
ARTIFACT_S = 15.0  # an update is a request of about 27 ms to the server


class Display(Protocol):
    """Shows the stages of this process's flow while they run. Called from any of its threads."""

    def began(self, stage: str) -> None:
        """A stage was called."""

    def moved(self, progress: "Progress") -> None:
        """A part of a stage has come further."""

    def ended(self, stage: str) -> None:
        """The stage's result is there, or it failed."""


_displays: list[Display] = []  # one at most


@contextmanager
def shown_by(display: Display) -> Iterator[None]:
    """Within this context stages appear on the display, in place of lines in the log."""
    _displays.append(display)
    try:
        yield
    finally:
        _displays.remove(display)


@contextmanager
def showing(stage: str) -> Iterator[None]:
    """Around a flow's call of a stage: the display has it."""
    for display in _displays:
        display.began(stage)
    try:
        yield
    finally:
        for display in _displays:
            display.ended(stage)


@contextmanager
def fitting() -> Iterator[None]:
    """Inside a stage, around a fit: its epochs, rounds or experts are shown."""
    progress: Progress | None = None

    def hear(done: int, total: int, unit: str) -> None:
        nonlocal progress
        if progress is None or unit != progress.unit or done <= progress.done:  # the next loop of the fit
            progress = Progress(STAGE.get() or "fit", total, unit)
        progress.reach(done, total)

    with heard_by(hear):
        yield


class Progress:
    """Counts the finished units of a stage, or of one part of it, out of a total.

    Args:
        is_of_parts: whether the units are the parts of a sharded stage, each of which may count units of its own.
    """

    def __init__(self, stage: str, total: int, unit: str, *, is_of_parts: bool = False):
        self.stage, self.total, self.unit, self.is_of_parts = stage, total, unit, is_of_parts
        self.done, self.note = 0, ""
        self.started = self._line = self._shown = time.monotonic()
        self._moved = 0.0
        self._artifact: UUID | None = None

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more units as done, and show it if the last showing is some seconds ago."""
        self.reach(self.done + count, self.total, note)

    def reach(self, done: int, total: int, note: str = "") -> None:
        """So many units are done, out of a total that may have changed; shown if the last showing is seconds ago."""
        self.done, self.total, self.note = done, total, note
        now = time.monotonic()
        if _displays and (done == total or now - self._moved >= MOVED_S):  # what counts may be a thousandfold faster
            self._moved = now
            for display in _displays:
                display.moved(self)
        if not _displays and now - self._line >= LINE_S:
            self._line = now
            left_s = (now - self.started) / max(1, done) * (total - done)
            log.info("%-18s %d of %d %s, about %.0f s left%s", self.stage, done, total, self.unit, left_s, note)
        if now - self._shown >= ARTIFACT_S and total and (RUN.get() or STAGE.get()):
            self._shown = now
            self._show()

    def _show(self) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact
        from prefect.context import FlowRunContext, TaskRunContext

        if TaskRunContext.get() or FlowRunContext.get():
            percent = 100 * self.done / self.total
            if self._artifact is None:
                created = create_progress_artifact(percent, description=f"{self.stage}: {self.total} {self.unit}")
                assert isinstance(created, UUID)
                self._artifact = created
            else:
                update_progress_artifact(self._artifact, percent)
