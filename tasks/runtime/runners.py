"""Where the task runs of a sharded stage run: threads, processes, or a Ray cluster. Nothing else knows which.

A stage takes and returns references, and its work and records come back with its result: any process that sees the root
can run it. The flow's process alone holds the lease on the root, writes the run's notes, and publishes.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.context import FlowRunContext
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from tasks.settings.runner import RunnerConfig

THREADS = ThreadPoolTaskRunner[Any](max_workers=os.cpu_count() or 1)


class NoRunnerError(RuntimeError):
    """The task runner of the settings is not installed."""


@contextmanager
def running_on(config: RunnerConfig) -> Iterator[None]:
    """Within, the flow's stages run their shards as the settings say. Raises NoRunnerError."""
    context = FlowRunContext.get()
    assert context is not None
    with _runner(config) as runner, context.model_copy(update={"task_runner": runner}):
        yield


def has_processes() -> bool:
    """Whether the flow's task runs have processes of their own, so that each may seed its random numbers."""
    context = FlowRunContext.get()
    return context is not None and not isinstance(context.task_runner, ThreadPoolTaskRunner)


def _runner(config: RunnerConfig) -> TaskRunner[Any]:
    workers = config.workers or os.cpu_count() or 1
    if config.kind == "processes":
        return ProcessPoolTaskRunner(max_workers=workers, initializer=_end_with_parent)
    if config.kind == "ray":
        return _ray(config)
    return ThreadPoolTaskRunner[Any](max_workers=workers)


def _ray(config: RunnerConfig) -> TaskRunner[Any]:
    """A running cluster's, else one of this machine alone, which ends with the flow.

    Workers enter the flow's context with its own task runner, threads, and not with this one: one that left the context
    shut its worker's Ray down (Prefect's issue 15539).
    """
    try:
        from tasks.runtime.ray_runner import StageRunner
    except ImportError as error:
        raise NoRunnerError(
            f"runner.kind=ray needs Ray ({error}); pip install 'tastegraph[ray]', or choose threads or processes"
        ) from error
    options: dict[str, Any] = {"logging_level": "warning"}
    if not (config.address or os.environ.get("RAY_ADDRESS")):
        options |= {"address": "local", "num_cpus": config.workers or None, "include_dashboard": False}
    runner: TaskRunner[Any] = StageRunner(address=config.address or None, init_kwargs=options)
    return runner


def _end_with_parent() -> None:
    """Of a worker process: it ends when the flow's does, however that ends, and leaves signals to it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()
