"""What a run did, stage by stage: how often each stage ran, how often it was reused, how long it took, how much it did.

Kept in the flow's own process, from what the stages return: a stage may run on any machine.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

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
    """The stages of one flow run, in the order in which they first ended, their work, and their records."""

    lines: dict[str, Line] = field(default_factory=dict)
    work: Counter[str] = field(default_factory=Counter)  # amounts by kind, without those of a killed run
    records: set[str] = field(default_factory=set)  # paths below the root

    def note(self, stage: str, outcome: str, seconds: float) -> None:
        """Enter an ended task run; `outcome` is ran, reused or failed."""
        line = self.lines.setdefault(stage, Line(stage))
        setattr(line, outcome, getattr(line, outcome) + 1)
        line.seconds += seconds
        said = "reused" if outcome == "reused" else f"{outcome} in {seconds:.1f} s"
        log.info("%-18s %s", stage, said, extra={"outcome": outcome, "seconds": round(seconds, 3)})


@dataclass
class Account:
    """What one task run reports: the work that it did, and whether its result existed already."""

    work: Counter[str] = field(default_factory=Counter)
    is_reused: bool = False


_ledgers: dict[str, Ledger] = {}  # by flow run, so that a flow's caller can read the ledger after its end
_account: ContextVar[Account | None] = ContextVar("account", default=None)  # of the stage that runs in this context


def of_run(flow_run_id: str) -> Ledger:
    """The ledger of a flow run of this process; empty for one that has called no stage."""
    return _ledgers.setdefault(flow_run_id, Ledger())


@contextmanager
def account() -> Iterator[Account]:
    """Around the body of a stage: its account, which `count` and `mark_reused` fill."""
    counted = Account()
    token = _account.set(counted)
    try:
        yield counted
    finally:
        _account.reset(token)


def count(what: str, number: int) -> None:
    """Inside a stage: add work that it did, such as images decoded. A reused stage does none."""
    if counted := _account.get():
        counted.work[what] += number


def mark_reused() -> None:
    """Inside a stage without a cache: report that its result existed already."""
    if counted := _account.get():
        counted.is_reused = True
