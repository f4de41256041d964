"""What a flow would do: which results of stages are there, which stages would run, and why. Nothing is run or written.

A stage whose result is not there gives an `Unknown`, and a stage that takes one would run, or find its result, once it
is known.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, NoReturn, Protocol

from storage.documents import DocumentError
from storage.roots import Root
from tasks.runtime import keys
from tasks.runtime.records import result_of

Outcome = Literal["reused", "runs", "waits"]  # waits: for a stage that runs; then it is reused or runs


class AnyStage(Protocol):
    """What a plan knows of a stage."""

    name: str
    is_cached: bool
    fn: Callable[..., Any]


class NotKnownError(Exception):
    """What follows depends on the result of a stage that would run: its name."""


class Unknown:
    """The result of a stage that would run, or a part of it."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __getattr__(self, name: str) -> "Unknown":
        if name.startswith("__"):  # what libraries ask of anything, such as whether it is a dataclass
            raise AttributeError(name)
        return Unknown(self._stage)

    def __getitem__(self, _key: object) -> "Unknown":
        return Unknown(self._stage)

    def _ask(self, *_arguments: object) -> NoReturn:
        raise NotKnownError(self._stage)

    __iter__ = __len__ = __str__ = __format__ = __fspath__ = __int__ = __float__ = __index__ = __neg__ = _ask
    __floordiv__ = __rfloordiv__ = __add__ = __radd__ = __sub__ = __mul__ = __lt__ = __gt__ = __le__ = __ge__ = _ask
    __contains__ = __call__ = _ask


@dataclass
class Planned:
    """One stage of the flow; a sharded one has several parts."""

    stage: str
    parts: dict[Outcome, int] = field(default_factory=dict)
    why: list[str] = field(default_factory=list)  # it runs or waits

    @property
    def outcome(self) -> Outcome:
        """That of the part with most to do."""
        return next(outcome for outcome in ("runs", "waits", "reused") if outcome in self.parts)

    def add(self, outcome: Outcome, why: list[str]) -> None:
        """Enter one part."""
        self.parts[outcome] = self.parts.get(outcome, 0) + 1
        self.why += [reason for reason in why if reason not in self.why]


@dataclass
class Plan:
    """The stages that a flow calls, in their order."""

    root: Root
    before: list[str]  # the records of an earlier run, with which stages that would run are compared
    stages: dict[str, Planned] = field(default_factory=dict)

    def add(self, stage: str, outcome: Outcome, why: list[str]) -> None:
        """Enter one part of a stage."""
        self.stages.setdefault(stage, Planned(stage)).add(outcome, why)

    def call(self, stage: AnyStage, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The stage's result where it is there, else Unknown."""
        args, kwargs = tuple(map(_unwrapped, args)), {name: _unwrapped(value) for name, value in kwargs.items()}
        if missing := waits_for([*args, *kwargs.values()]):
            return self._without_result(stage, "waits", [f"for {name}" for name in sorted(missing)])
        if not stage.is_cached:
            return self._without_result(stage, "runs", ["runs each time"])
        from tasks.runtime.record_store import read_result

        made_of = keys.parts(stage.fn.__module__, keys.arguments(stage.fn, *args, **kwargs))
        envelope = read_result(keys.key(stage.name, made_of), self.root)
        if envelope is None:
            return self._without_result(stage, "runs", self._reasons(stage.name, keys.noted(made_of)))
        self.add(stage.name, "reused", [])
        return envelope["value"]

    def map(self, stage: AnyStage, args: tuple[Any, ...]) -> Any:
        """The results of one call for each item of the arguments that are not unmapped."""
        from prefect import unmapped

        mapped = [arg for arg in args if not isinstance(arg, unmapped)]
        if missing := set().union(*(waits_for(arg) for arg in mapped if isinstance(arg, Unknown))):
            return self._without_result(stage, "waits", [f"for {name}" for name in sorted(missing)])
        rows = range(min(map(len, mapped)))
        calls = (tuple(arg if isinstance(arg, unmapped) else arg[row] for arg in args) for row in rows)
        return [self.call(stage, call, {}) for call in calls]

    def _without_result(self, stage: AnyStage, outcome: Outcome, why: list[str]) -> Unknown:
        self.add(stage.name, outcome, why)
        return Unknown(stage.name)

    def _reasons(self, stage: str, made_of: dict[str, Any]) -> list[str]:
        """What differs from the most similar call of the earlier run."""
        earlier, lost = [], []
        for path in self.before:
            if path.startswith(f"cache/{stage}/"):
                try:
                    earlier.append(result_of(path, self.root)["made_of"])
                except FileNotFoundError:
                    lost.append(f"the record {path} is gone")
                except (DocumentError, KeyError, TypeError):
                    lost.append(f"the record {path} is damaged")
        if not earlier:
            return lost[:1] or (["is new"] if self.before else [])
        found = [differences(call, made_of) for call in earlier if call]
        return min(found, key=len, default=[]) or ["its result is not there"]


_plan: ContextVar[Plan | None] = ContextVar("plan", default=None)


def current() -> Plan | None:
    """The plan that is made in this context."""
    return _plan.get()


@contextmanager
def planning(root: Root, before: list[str]) -> Iterator[Plan]:
    """Within this context stages enter themselves in the plan, and run nothing."""
    plan = Plan(root, before)
    token = _plan.set(plan)
    try:
        yield plan
    finally:
        _plan.reset(token)


def waits_for(value: object) -> set[str]:
    """The stages whose results a value lacks."""
    if isinstance(value, Unknown):
        return {value._stage}
    parts: list[object] = []
    if is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name) for field in fields(value)]
    elif isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        parts = list(value)
    return set().union(*map(waits_for, parts))


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What two calls of a stage differ in, in words; both as `tasks.runtime.keys.noted` notes them."""
    found = ["its code has changed"] if before["code"] != now["code"] else []
    for name in sorted(before["given"].keys() | now["given"].keys()):
        was, is_ = before["given"].get(name), now["given"].get(name)
        if isinstance(was, dict) and isinstance(is_, dict):
            found += [
                f"{name}.{key} is {is_.get(key)!r}, was {was.get(key)!r}"
                for key in sorted(was.keys() | is_.keys())
                if was.get(key) != is_.get(key)
            ]
        elif was != is_:
            found.append(f"its {name.replace('_', ' ')} changed")
    return found


def _unwrapped(value: Any) -> Any:
    """An argument without what tells Prefect how to take it."""
    from prefect.utilities.annotations import BaseAnnotation

    return _unwrapped(value.unwrap()) if isinstance(value, BaseAnnotation) else value
