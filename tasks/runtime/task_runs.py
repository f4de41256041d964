"""The task runs of a stage: what Prefect does of it, with a line in the flow's ledger."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar, cast

from prefect import Task, task, unmapped
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.futures import as_completed, wait
from prefect.utilities.annotations import quote

from storage.roots import DamagedError, UnavailableError
from tasks.runtime import keys, ledger, runners
from tasks.runtime.digests import canonical
from tasks.runtime.progress import Progress
from tasks.runtime.records import place_of, refs_of
from tasks.runtime.whereabouts import in_stage

__all__ = ["StageKey", "TaskRuns", "unmapped", "unsearched"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class TaskRuns(Generic[P, R]):
    """A function as a Prefect task.

    It may run in another process or on another machine: its result comes back in an envelope, with its seconds and the
    work that it did.
    """

    def __init__(self, function: Callable[P, R], name: str, *, is_cached: bool) -> None:
        self.name = name

        @wraps(function)
        def enveloped(*args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
            start = time.monotonic()
            with in_stage(name), ledger.account() as account:
                value = function(*args, **kwargs)
            seconds = time.monotonic() - start
            made_of = keys.parts(function.__module__, keys.arguments(function, *args, **kwargs)) if is_cached else None
            return {
                "value": value,
                "seconds": seconds,
                "work": dict(account.work),
                "is_reused": account.is_reused,
                "made_of": made_of and keys.noted(made_of),
            }

        options = CACHED if is_cached else UNCACHED
        self.task: Task[P, dict[str, Any]] = task(name=name, **options)(enveloped)

    def result(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of one task run."""
        with _ledger().measuring(self.name, (args, kwargs)):
            return self._open(self.task(*args, **kwargs, return_state=True))

    def results(self, *args: Any) -> list[R]:
        """The results of one task run for each item of the arguments that are not unmapped."""
        with _ledger().measuring(self.name, args):
            futures, results = list(self.task.map(*args)), {}
            progress = Progress(self.name, len(futures), "parts", is_of_parts=True)
            try:
                for future in as_completed(futures):  # so that the first failure is raised at once
                    future.wait()
                    results[future] = self._open(future.state)
                    progress.advance()
            except DamagedError:  # the flow will begin again: not beside these
                wait(futures)
                raise
        return [results[future] for future in futures]

    def have_processes(self) -> bool:
        """Whether task runs of this flow have processes of their own."""
        return runners.has_processes()

    def outcomes(self, calls: Sequence[dict[str, Any]]) -> Iterator[R | Exception]:
        """The results of one task run for each call, in order, or the errors that ended them."""
        with _ledger().measuring(self.name):
            futures = [self.task.submit(**call) for call in calls]
            for future in futures:
                future.wait()
                try:
                    yield self._open(future.state)
                except DamagedError:
                    wait(futures)
                    raise
                except Exception as error:
                    yield error

    def _open(self, state: State[dict[str, Any]]) -> R:
        """The result of an ended task run, which is noted in the ledger. Raises its error where it failed."""
        run = _ledger()
        if not state.is_completed():
            run.note(self.name, "failed", 0.0)
        envelope = state.result()
        is_reused = state.name == "Cached" or envelope["is_reused"]
        run.note(self.name, "reused" if is_reused else "ran", 0.0 if is_reused else envelope["seconds"])
        if not is_reused:
            run.work.update(envelope["work"])
        if self.task.persist_result:
            record = getattr(state.data, "metadata", state.data)
            run.records.add(place_of(str(record.storage_key)))
            run.note_files(self.name, refs_of(canonical(envelope["value"], self.name)))
        return cast(R, envelope["value"])


def _ledger() -> ledger.Ledger:
    """That of the flow run in which this is called."""
    context = FlowRunContext.get()
    return ledger.of_run(str(context.flow_run.id) if context and context.flow_run else "")


def unsearched(value: T) -> T:
    """The value as an argument that Prefect takes as it is."""
    return cast(T, quote(value))


@dataclass
class StageKey(CachePolicy):
    """The stage's name, the version of its code, its parameters and the content of its inputs."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str:
        return keys.key(task_ctx.task.name, keys.parts(task_ctx.task.fn.__module__, inputs))


def _is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help: the network or the store failed, not the data or the code."""
    try:
        state.result()
    except (UnavailableError, ConnectionError, TimeoutError):
        return True
    except Exception:
        return False
    return False


UNCACHED: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
CACHED: dict[str, Any] = {
    "cache_policy": StageKey(),
    "persist_result": True,
    "result_serializer": "json",
    "retries": 2,
    "retry_delay_seconds": 5,
    "retry_condition_fn": _is_transient,
}
