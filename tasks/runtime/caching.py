"""What makes a function a stage: a Prefect task whose result is reused while its key stays the same.

A stage's key covers its name, the version of the code that it calls, its parameters and the content of its inputs.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import Any, Generic, ParamSpec, TypeVar, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.futures import as_completed, wait
from prefect.utilities.annotations import quote

from storage.roots import DamagedError, UnavailableError
from tasks.runtime import ledger
from tasks.runtime.code_version import code_version
from tasks.runtime.digests import canonical, digest
from tasks.runtime.records import place_of, refs_of
from tasks.runtime.whereabouts import in_stage

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# Arguments that are no part of the key: those that say where bytes lie, as digests beside them identify the bytes; and
# `last`, the previous run's output by the same code and settings, as reusing it gives the bytes of computing it again.
WHERE_NOT_WHAT = {"root", "source", "last"}


class Stage(Generic[P, R]):
    """A function as a Prefect task of a flow, whose runs the flow's ledger lists. `fn` is the plain function.

    The task may run in another process or on another machine: its result comes back in an envelope, with its seconds
    and the work that it did.
    """

    def __init__(self, function: Callable[P, R], **options: Any) -> None:
        self.fn = function
        self.name = function.__name__.replace("_", "-")

        @wraps(function)
        def enveloped(*args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
            start = time.monotonic()
            with in_stage(self.name), ledger.account() as account:
                value = function(*args, **kwargs)
            seconds = time.monotonic() - start
            return {"value": value, "seconds": seconds, "work": dict(account.work), "is_reused": account.is_reused}

        self.task: Task[P, dict[str, Any]] = task(name=self.name, **options)(enveloped)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result, in a flow."""
        with _ledger().measuring(self.name):
            state = self.task(*args, **kwargs, return_state=True)
        return self._open(state)

    def map(self, *args: Any) -> list[R]:
        """The results, in order: one task run for each item of the arguments that are not `unmapped`, in parallel."""
        with _ledger().measuring(self.name):
            futures, results = list(self.task.map(*args)), {}
            try:
                for future in as_completed(futures):  # so that the first failure is raised at once
                    future.wait()
                    results[future] = self._open(future.state)
            except DamagedError:  # the flow will begin again: not beside these
                wait(futures)
                raise
        return [results[future] for future in futures]

    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> R | Exception:
        """The result, or the error that ended the stage; damage to what it reads is raised."""
        try:
            return self(*args, **kwargs)
        except DamagedError:  # no fault of this stage: what it reads is computed again, and then it runs again
            raise
        except Exception as error:
            return error

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


def stage(function: Callable[P, R]) -> Stage[P, R]:
    """A cached, restartable stage. It takes and returns refs and settings."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        # Prefect would log a key that cannot be made and go on uncached; a stage that silently never caches is worse.
        code_version(function.__module__)
        for name, value in signature(function).bind(*args, **kwargs).arguments.items():
            if name not in WHERE_NOT_WHAT:
                canonical(value, f"{function.__name__}({name})")
        return function(*args, **kwargs)

    return Stage(
        checked,
        cache_policy=StageKey(),
        persist_result=True,
        result_serializer="json",
        retries=2,
        retry_delay_seconds=5,
        retry_condition_fn=_is_transient,
    )


def uncached_stage(function: Callable[P, R]) -> Stage[P, R]:
    """A stage that runs each time, for work that keeps its own state: a crawl's database, the published runs."""
    return Stage(function, cache_policy=NO_CACHE, persist_result=False)


def unsearched(value: T) -> T:
    """The value as a stage's argument in which Prefect does not look for results of other tasks.

    Prefect looks through each argument, item by item, three times per task run: for a thousand ids that takes longer
    than many stages do. Use it for values that no stage of this flow run returned.
    """
    return cast(T, quote(value))


@dataclass
class StageKey(CachePolicy):
    """The stage's name, the version of its code, its parameters and the content of its inputs."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str:
        given = {name: canonical(value, name) for name, value in sorted(inputs.items()) if name not in WHERE_NOT_WHAT}
        return f"{task_ctx.task.name}/{digest([code_version(task_ctx.task.fn.__module__), given])}"


def _is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help: the network or the store failed, not the data or the code."""
    try:
        state.result()
    except (UnavailableError, ConnectionError, TimeoutError):
        return True
    except Exception:
        return False
    return False
