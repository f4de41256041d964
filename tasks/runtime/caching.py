"""What makes a function a stage: a Prefect task whose result is reused while its key stays the same.

A stage's key covers its name, the version of the code that it calls, its parameters and the content of its inputs. It
becomes a task when a flow first calls it: a command that runs no flow imports stages without Prefect.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from storage.roots import DamagedError
from tasks.runtime import planning
from tasks.runtime.code_version import code_version
from tasks.runtime.digests import WHERE_NOT_WHAT, canonical

if TYPE_CHECKING:
    from tasks.runtime.task_runs import TaskRuns

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Stage(Generic[P, R]):
    """A function as a Prefect task of a flow, whose runs the flow's ledger lists. `fn` is the plain function."""

    def __init__(self, function: Callable[P, R], *, is_cached: bool) -> None:
        self.fn, self.is_cached = function, is_cached
        self.name = function.__name__.replace("_", "-")

    @cached_property
    def runs(self) -> "TaskRuns[P, R]":
        """Its task runs."""
        from tasks.runtime.task_runs import TaskRuns

        return TaskRuns(self.fn, self.name, is_cached=self.is_cached)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result, in a flow; where a flow is planned, what is there of it."""
        if plan := planning.current():
            return cast(R, plan.call(self, args, kwargs))
        return self.runs.result(*args, **kwargs)

    def map(self, *args: Any) -> list[R]:
        """The results, in order: one task run for each item of the arguments that are not `unmapped`, in parallel."""
        if plan := planning.current():
            return cast(list[R], plan.map(self, args))
        return self.runs.results(*args)

    def outcomes(self, calls: Sequence[dict[str, Any]]) -> Iterator[R | Exception]:
        """The outcomes of these calls, in order; in parallel where task runs have processes of their own.

        For fits: they seed the random numbers of their process, and fill its memory.
        """
        if not self.runs.have_processes():
            yield from (self.outcome(**call) for call in calls)  # type: ignore[call-arg]
        else:
            yield from self.runs.outcomes(calls)

    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> R | Exception:
        """The result, or the error that ended the stage; damage to what it reads is raised."""
        try:
            return self(*args, **kwargs)
        except DamagedError:  # no fault of this stage: what it reads is computed again, and then it runs again
            raise
        except Exception as error:
            return error


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

    return Stage(checked, is_cached=True)


def uncached_stage(function: Callable[P, R]) -> Stage[P, R]:
    """A stage that runs each time, for work that keeps its own state: a crawl's database, the published runs."""
    return Stage(function, is_cached=False)


def unmapped(value: Any) -> Any:
    """The value as an argument of `map` that is the same for each task run."""
    from tasks.runtime import task_runs

    return task_runs.unmapped(value)


def unsearched(value: T) -> T:
    """The value as a stage's argument in which Prefect does not look for results of other tasks.

    Prefect looks through each argument, item by item, three times per task run: for a thousand ids that takes longer
    than many stages do. Use it for values that no stage of this flow run returned.
    """
    from tasks.runtime import task_runs

    return task_runs.unsearched(value)
