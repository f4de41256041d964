"""What a run did, stage by stage: how often each stage ran, how often it was reused, how long it took."""

import logging
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

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
    lock: Lock = field(default_factory=Lock)

    def note(self, stage: str, outcome: str, seconds: float) -> None:
        with self.lock:
            line = self.lines.setdefault(stage, Line(stage))
            setattr(line, outcome, getattr(line, outcome) + 1)
            line.seconds += seconds


_ledgers: dict[str, Ledger] = {}  # by flow run; Prefect's hooks get no context of ours


def lines_of(flow_run_id: str) -> list[Line]:
    """The stages of a flow run so far, in the order in which they first ended."""
    return list(_ledgers.setdefault(flow_run_id, Ledger()).lines.values())


def note(task: Any, task_run: Any, state: Any) -> None:
    """Prefect hook: enter an ended task run."""
    outcome = "reused" if state.name == "Cached" else "ran" if state.is_completed() else "failed"
    started = task_run.start_time
    seconds = (state.timestamp - started).total_seconds() if started else 0.0
    _ledgers.setdefault(str(task_run.flow_run_id), Ledger()).note(task.name, outcome, seconds)
    log.info("%-18s %s", task.name, "reused" if outcome == "reused" else f"{outcome} in {seconds:.1f} s")
