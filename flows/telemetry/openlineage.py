"""OpenLineage: START, COMPLETE or FAIL of a run and of each call of a stage, with the tables that go in and come out.

The transport is set as the library's manual says: OPENLINEAGE_URL and OPENLINEAGE_API_KEY, a file named by
OPENLINEAGE_CONFIG, or OPENLINEAGE__TRANSPORT__... variables. OPENLINEAGE_NAMESPACE is the namespace of the jobs, by
default `tastegraph`. The namespace of the tables is the address of the root.
"""

import logging
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import error_message_run, parent_run

from flows.telemetry.watching import RunBegan, RunEnded, StageBegan, StageEnded

PRODUCER = "https://pypi.org/project/tastegraph"


def observe(run: RunBegan) -> "Lineage":
    """The events of a run."""
    return Lineage(run)


class Lineage:
    """Each event is sent at once, by the thread that this runs in."""

    def __init__(self, run: RunBegan) -> None:
        logging.getLogger("openlineage").setLevel(logging.CRITICAL)  # the run's log has one line for all of it
        self._run, self._client = run, OpenLineageClient()
        self._namespace = os.environ.get("OPENLINEAGE_NAMESPACE") or "tastegraph"
        self._id = str(uuid5(NAMESPACE_URL, f"{run.root}/{run.run_id}/{run.at}"))  # a run that is resumed is another
        self._tell(RunState.START, run.at, run.flow, self._id)

    def stage_began(self, stage: StageBegan) -> None:
        """START of the stage, within the run."""
        self._tell_of(stage, RunState.START, stage.at, ())

    def stage_ended(self, stage: StageEnded) -> None:
        """COMPLETE or FAIL of it."""
        state = RunState.FAIL if stage.error else RunState.COMPLETE
        self._tell_of(stage.began, state, stage.at, stage.outputs, stage.error)

    def run_ended(self, run: RunEnded) -> None:
        """COMPLETE or FAIL of the run, from the source to what it published."""
        state = RunState.FAIL if run.error else RunState.COMPLETE
        exports = sorted(run.manifest.rows) if run.manifest else ()
        source = [InputDataset(namespace=self._run.source, name="source")]
        self._tell(state, run.at, self._run.flow, self._id, source, self._outputs(exports), run.error)
        self._client.close()

    def _tell_of(
        self, stage: StageBegan, state: RunState, at: float, outputs: Iterable[str], error: str | None = None
    ) -> None:
        parent = parent_run.ParentRunFacet(
            run=parent_run.Run(runId=self._id), job=parent_run.Job(namespace=self._namespace, name=self._run.flow)
        )
        name, run_id = f"{self._run.flow}.{stage.stage}", str(uuid5(NAMESPACE_URL, f"{self._id}/{stage.number}"))
        inputs = [InputDataset(namespace=self._run.root, name=table) for table in stage.inputs]
        self._tell(state, at, name, run_id, inputs, self._outputs(outputs), error, parent=parent)

    def _outputs(self, names: Iterable[str]) -> list[OutputDataset]:
        return [OutputDataset(namespace=self._run.root, name=name) for name in names]

    def _tell(
        self,
        state: RunState,
        at: float,
        job: str,
        run_id: str,
        inputs: list[InputDataset] | None = None,
        outputs: list[OutputDataset] | None = None,
        error: str | None = None,
        **facets: Any,
    ) -> None:
        if error:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(message=error, programmingLanguage="Python")
        event = RunEvent(
            eventType=state,
            eventTime=datetime.fromtimestamp(at, UTC).isoformat(),
            run=Run(runId=run_id, facets=facets),
            job=Job(namespace=self._namespace, name=job),
            inputs=inputs or [],
            outputs=outputs or [],
            producer=PRODUCER,
        )
        self._client.emit(event)
