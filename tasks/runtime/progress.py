"""How far a long stage is: lines in the log, and a bar in Prefect's UI where the stage runs as a task."""

import logging
import time
from uuid import UUID

from tasks.runtime.whereabouts import STAGE

log = logging.getLogger("tastegraph")

LINE_S = 5.0
ARTIFACT_S = 15.0  # an update is a request of about 27 ms to the server


class Progress:
    """Counts the finished units of a stage out of a total."""

    def __init__(self, stage: str, total: int, unit: str):
        self.stage, self.total, self.unit = stage, total, unit
        self.done = 0
        self._started = self._line = self._shown = time.monotonic()
        self._artifact: UUID | None = None

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more units as done, and show it if the last showing is some seconds ago."""
        self.done += count
        now = time.monotonic()
        if now - self._line >= LINE_S:
            self._line = now
            left_s = (now - self._started) / self.done * (self.total - self.done)
            log.info(
                "%-18s %d of %d %s, about %.0f s left%s", self.stage, self.done, self.total, self.unit, left_s, note
            )
        if now - self._shown >= ARTIFACT_S and STAGE.get():
            self._shown = now
            self._show()

    def _show(self) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact
        from prefect.context import TaskRunContext

        if TaskRunContext.get():
            percent = 100 * self.done / self.total
            if self._artifact is None:
                created = create_progress_artifact(percent, description=f"{self.stage}: {self.total} {self.unit}")
                assert isinstance(created, UUID)
                self._artifact = created
            else:
                update_progress_artifact(self._artifact, percent)
