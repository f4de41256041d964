"""What a run did, stage by stage: how often each stage ran, how often it was reused, how long it took, how much it did.

Kept in the flow's own process, from what the stages return: a stage may run on any machine.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from storage import leases
from tasks.runtime.progress import showing
from tasks.runtime.usage import Measured, Usage

log = logging.getLogger("tastegraph")


@dataclass(frozen=True)
class Call:
    """One call of a stage by the flow; of a sharded stage it spans all task runs."""

    started_s: float  # after the ledger's beginning
    elapsed_s: float
    is_reused: bool  # whole: no task run had to run


class Listener(Protocol):
    """Hears of each call of a stage, in the flow's thread: what it does must be quick and raise nothing."""

    def stage_began(self, stage: str, given: Any) -> None:
        """Before a call; `given` are its arguments."""

    def stage_ended(self, line: "Line", before: "Line", call: Call, usage: Usage, error: BaseException | None) -> None:
        """After it: the stage's line, and what it was before the call."""


@dataclass
class Line:
    """One stage of the run; a sharded stage has several task runs."""

    stage: str
    ran: int = 0
    reused: int = 0
    failed: int = 0
    seconds: float = 0.0
    started_s: float = 0.0  # after the ledger's beginning
    usage: Usage = field(default_factory=Usage)  # of the flow's process meanwhile
    rows: int = 0  # of the files that its results name
    bytes: int = 0
    calls: list[Call] = field(default_factory=list)
    outputs: set[str] = field(default_factory=set)  # names of these files


@dataclass
class Ledger:
    """The stages of one flow run, in the order in which they first began, their work, and their records."""

    lines: dict[str, Line] = field(default_factory=dict)
    work: Counter[str] = field(default_factory=Counter)  # amounts by kind, without those of a killed run
    records: set[str] = field(default_factory=set)  # paths below the root
    listener: Listener | None = None
    _began_s: float = field(default_factory=time.monotonic)
    _named: set[tuple[str, str]] = field(default_factory=set)  # stages and the files that their results name

    @property
    def age_s(self) -> float:
        """Seconds since its beginning."""
        return time.monotonic() - self._began_s

    def note(self, stage: str, outcome: str, seconds: float) -> None:
        """Enter an ended task run; `outcome` is ran, reused or failed."""
        line = self.lines.setdefault(stage, Line(stage))
        setattr(line, outcome, getattr(line, outcome) + 1)
        line.seconds += seconds
        said = "reused" if outcome == "reused" else f"{outcome} in {seconds:.1f} s"
        log.info("%-18s %s", stage, said, extra={"outcome": outcome, "seconds": round(seconds, 3)})

    @contextmanager
    def measuring(self, stage: str, given: Any = None) -> Iterator[None]:
        """Around a call of a stage: when it began, and what this process uses meanwhile, is entered in its line."""
        started_s = self.age_s
        line = self.lines.setdefault(stage, Line(stage, started_s=started_s))
        measured, before, failed = Measured(), replace(line), None
        leases.note_stage(stage)
        if self.listener:
            self.listener.stage_began(stage, given)
        try:
            with measured, showing(stage):
                yield
        except BaseException as error:
            failed = error
            raise
        finally:
            leases.note_stage("")
            line.usage.add(measured.usage)
            is_reused = (line.ran, line.failed) == (before.ran, before.failed) and failed is None
            call = Call(started_s, measured.usage.elapsed_s, is_reused)
            line.calls.append(call)
            if self.listener:
                self.listener.stage_ended(line, before, call, measured.usage, failed)

    def note_files(self, stage: str, refs: Iterable[dict[str, Any]]) -> None:
        """Enter the files that a stage's result names, as `tasks.runtime.records.refs_of` finds them."""
        line = self.lines[stage]
        for ref in refs:
            if (stage, ref["path"]) not in self._named:
                self._named.add((stage, ref["path"]))
                line.rows += ref.get("rows", 0)
                line.bytes += ref["bytes"]
                line.outputs.add(ref.get("name") or ref["path"])


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
