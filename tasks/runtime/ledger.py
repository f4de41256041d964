"""What a run did, stage by stage: how often each stage ran, how often it was reused, how long it took."""

import logging
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from prefect.context import TaskRunContext

log = logging.getLogger("tastegraph")


@dataclass
class Line:
    """One stage of the run; a sharded stage has several task runs."""

    stage: str
    ran: int = 0
    reused: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass
class Ledger:
    """The stages of one flow run, in the order in which they first ended."""

    lines: dict[str, Line] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)  # work done, by what it was done to
    lock: Lock = field(default_factory=Lock)

    def note(self, stage: str, outcome: str, seconds: float) -> None:
        with self.lock:
            line = self.lines.setdefault(stage, Line(stage))
            setattr(line, outcome, getattr(line, outcome) + 1)
            line.seconds += seconds

    def count(self, what: str, number: int) -> None:
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + number


_ledgers: dict[str, Ledger] = {}  # by flow run; Prefect's hooks get no context of ours


def lines_of(flow_run_id: str) -> list[Line]:
    """The stages of a flow run so far, in the order in which they first ended."""
    return list(_ledgers.setdefault(flow_run_id, Ledger()).lines.values())


def count(what: str, number: int) -> None:
    """Inside a stage: enter work that was really done, such as images decoded."""
    context = TaskRunContext.get()
    if context and context.task_run.flow_run_id:
        _ledgers.setdefault(str(context.task_run.flow_run_id), Ledger()).count(what, number)


def counts_of(flow_run_id: str) -> dict[str, int]:
    """The work that stages of a flow run did so far. What a run that was killed had done is not in it."""
    return dict(sorted(_ledgers.setdefault(flow_run_id, Ledger()).counts.items()))


def note(task: Any, task_run: Any, state: Any) -> None:
    """Prefect hook: enter an ended task run."""
    outcome = "reused" if state.name == "Cached" else "ran" if state.is_completed() else "failed"
    started = task_run.start_time
    seconds = (state.timestamp - started).total_seconds() if started else 0.0
    _ledgers.setdefault(str(task_run.flow_run_id), Ledger()).note(task.name, outcome, seconds)
    log.info("%-18s %s", task.name, "reused" if outcome == "reused" else f"{outcome} in {seconds:.1f} s")
