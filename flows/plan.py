"""What a night would do with this source, root and settings: what is reused, what runs, and why. It writes nothing."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from flows.nightly import run_stages
from flows.opening import OpenRun
from flows.settings import NightlyConfig
from storage import snapshots
from storage.documents import DocumentError
from storage.roots import Root
from tasks.data.demo import open_source
from tasks.data.ingest import content_of
from tasks.runtime import runs
from tasks.runtime.ledger import Ledger
from tasks.runtime.planning import NotKnownError, Planned, planning
from tasks.runtime.runs import Run

T = TypeVar("T")

log = logging.getLogger("tastegraph")


@dataclass(frozen=True)
class NightPlan:
    """The stages of a night in their order, as far as they are known."""

    compared_with: str | None  # the run that is current
    stages: list[Planned]
    decided_by: str | None  # the stage whose result decides what follows
    following: list[str]  # the stages that the current run called and this night may call after these

    @property
    def is_all_there(self) -> bool:
        """Whether the night would find nothing to do."""
        return all(planned.outcome == "reused" or planned.stage == "publish" for planned in self.stages)


def plan_night(source: str, root: str, config: NightlyConfig) -> NightPlan:
    """The plan of a night. Raises what the night would raise before its first stage, such as SourceError."""
    output = Root(root)
    pointer = _if_whole(lambda: snapshots.current(output))
    before = pointer.run_id if pointer else None
    note = next((note for note in runs.notes(output, skip_damaged=True) if note.id == before), None)
    decided_by = None
    records = _if_whole(lambda: runs.records_of(note, output)) if note else None
    with planning(output, records or []) as plan:
        try:
            source_root = open_source(source, config.demo, output)
            content = content_of(source_root, output)
            run_stages(OpenRun(Run("plan", False, ""), source_root, content, output, Ledger()), config)
        except NotKnownError as error:
            decided_by = str(error)
    known = _if_whole(lambda: runs.stages_of(before, output)) if before and decided_by else None
    following = [row["stage"] for row in known or () if row["stage"] not in plan.stages]
    return NightPlan(before, list(plan.stages.values()), decided_by, following)


def _if_whole(read: Callable[[], T | None]) -> T | None:
    """What is read of the current run; None where that is damaged, which ends no night either."""
    try:
        return read()
    except DocumentError as error:
        log.warning("not compared with what cannot be read: %s", error)
        return None
