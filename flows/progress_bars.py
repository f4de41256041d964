"""Bars of the stages at work, at the lower end of a terminal: how far, how fast, how much time is left."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from flows import stopping
from flows.terminal import visible
from tasks.runtime.progress import Progress, shown_by

PATIENCE_S = 2.0  # a stage that is done sooner gets no bar
MEASURED_S = 2.0  # how long a stage is at work before its speed says anything


@dataclass
class _Shown:
    """One stage at work."""

    stage: str
    bar: Any  # rich's id
    parts: Progress | None = None
    within: dict[int, Progress] = field(default_factory=dict)  # by identity: what is counted within parts at work

    @property
    def progress(self) -> Progress | None:
        """What the bar is about."""
        if self.parts and (self.parts.total > 1 or not self.within):
            return self.parts
        return list(self.within.values())[-1] if self.within else None

    @property
    def shares(self) -> float:
        """What is done of the parts at work, in parts."""
        if self.progress is not self.parts:
            return 0.0
        return sum(part.done / part.total for part in self.within.values() if 0 < part.done < part.total)


class StageBars:
    """A bar for each stage that is at work for seconds; it pulses where the stage does not say how far it is."""

    def __init__(self, console: Console) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<18}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[far]}", markup=False),
            _Speed(),
        )
        self.bars = Bars(*columns, console=console, transient=True, redirect_stdout=False)
        self._shown: dict[str, _Shown] = {}
        self._lock = threading.Lock()

    def began(self, stage: str) -> None:
        """The stage gets a bar if it is still at work after some seconds."""
        with self._lock:
            bar = self.bars.add_task(
                visible(stage), total=None, visible=False, far="", progress=None, began=time.monotonic()
            )
            self._shown[stage] = _Shown(stage, bar)
        timer = threading.Timer(PATIENCE_S, self._uncover, (stage, bar))
        timer.daemon = True
        timer.start()

    def moved(self, progress: Progress) -> None:
        """The bar grows."""
        with self._lock:
            shown = self._shown.get(progress.stage)
            if shown is None:  # as of a stage that another calls as a plain function
                return
            if progress.is_of_parts:
                shown.parts = progress
            else:
                shown.within[id(progress)] = progress
            about = shown.progress or progress
            far = visible(f"{about.done:,} of {about.total:,} {about.unit}{about.note}")
            done = min(about.done + shown.shares, about.total)
            self.bars.update(shown.bar, completed=done, total=about.total or None, far=far, progress=about)

    def ended(self, stage: str) -> None:
        """The bar goes; the log has a line of the stage."""
        with self._lock:
            if shown := self._shown.pop(stage, None):
                self.bars.remove_task(shown.bar)
            if not any(bar.visible for bar in self.bars.tasks):
                self.clear()

    def clear(self) -> None:
        """Leave the terminal as it was; the next bar that appears takes it again."""
        if self.bars.live.is_started:
            self.bars.stop()

    def _uncover(self, stage: str, bar: Any) -> None:
        with self._lock:
            if (shown := self._shown.get(stage)) and shown.bar == bar:
                self.bars.update(bar, visible=True)
                self.bars.start()
                self.bars.console.show_cursor()  # a process that is killed could not bring it back


class _Speed(ProgressColumn):
    """Units a second and the time left, and how long the stage is at work."""

    def render(self, task: Task) -> Text:
        """No speed at first, as the first units are the slowest, and none at the end."""
        now, progress = time.monotonic(), task.fields["progress"]
        elapsed = _duration(now - task.fields["began"])
        if progress is None or not 0 < task.completed < (task.total or 0) or now - progress.started < MEASURED_S:
            return Text(elapsed)
        speed = task.completed / (now - progress.started)
        left_s = ((task.total or 0) - task.completed) / speed
        rate = f"{speed:,.1f}/s" if speed >= 1 else f"{1 / speed:,.1f} s each"
        return Text(f"{rate}, {_duration(left_s)} left, {elapsed}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes else f"{rest} s"


class _AboveBars(logging.Handler):
    """The log's lines above the bars, each as long as it is."""

    def __init__(self, console: Console, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self.console, self.formatter = console, formatter

    def emit(self, record: logging.LogRecord) -> None:
        self.console.print(Text(self.format(record)), soft_wrap=True)


@contextmanager
def stage_bars() -> Iterator[None]:
    """Within this context the terminal has bars below the log."""
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    display, root = StageBars(console), logging.getLogger()
    handlers = list(root.handlers)
    stopping.on_last_line(display.clear)
    try:
        root.handlers = [_AboveBars(console, handler.formatter) for handler in handlers]
        with shown_by(display):
            yield
    finally:
        display.clear()
        root.handlers = handlers
