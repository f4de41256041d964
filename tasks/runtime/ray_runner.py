"""Prefect's task runner on a Ray cluster, for stages: no argument of theirs is a future."""

import pickle
from typing import Any
from uuid import UUID

import cloudpickle
from prefect import Task
from prefect.task_engine import run_task_sync
from prefect_ray import RayTaskRunner


class StageRunner(RayTaskRunner):  # type: ignore[misc]  # prefect-ray has no types
    """As its base, which looks for futures among the arguments, and makes plain tuples of quoted ones by the way.

    Ray's own serializer does so too: they are pickled here.
    """

    def _exchange_prefect_for_ray_futures(self, parameters: dict[str, Any]) -> tuple[bytes, list[Any]]:
        return cloudpickle.dumps(parameters), []

    @staticmethod
    def _run_prefect_task(
        *_futures: Any, task: Task[..., Any], task_run_id: UUID, parameters: bytes, context: dict[str, Any], **how: Any
    ) -> Any:
        """The final state of a task run, on a worker."""
        arguments = pickle.loads(parameters)  # noqa: S301  # of the flow's own process
        return run_task_sync(task, task_run_id, parameters=arguments, context=context, return_type="state", **how)
