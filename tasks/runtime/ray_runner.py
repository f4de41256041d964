"""Prefect's task runner on a Ray cluster, for stages: no argument of theirs is a future."""

from typing import Any
from uuid import UUID

from prefect import Task
from prefect.task_engine import run_task_sync
from prefect_ray import RayTaskRunner


class StageRunner(RayTaskRunner):  # type: ignore[misc]  # prefect-ray has no types
    """As its base, which replaces futures among the arguments and makes plain tuples of quoted ones by the way."""

    def _exchange_prefect_for_ray_futures(self, parameters: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        return parameters, []

    @staticmethod
    def _run_prefect_task(
        *_futures: Any, task: Task[..., Any], task_run_id: UUID, context: dict[str, Any], **how: Any
    ) -> Any:
        """The final state of a task run, on a worker."""
        return run_task_sync(task, task_run_id, context=context, return_type="state", **how)
