"""What makes a stage's result reusable: its key, and where its record is kept.

A stage's key covers its name, the version of the code it calls, its parameters and the content of its inputs. Its
record lies beside the data, below `<root>/cache`, and counts only while the files it names are there: deleting a file
is enough to have it made again.
"""

import ast
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, lru_cache, wraps
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from threading import Lock
from typing import Any, ParamSpec, TypeVar, cast

from botocore.exceptions import BotoCoreError, ClientError
from prefect import Task, task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.filesystems import WritableFileSystem
from prefect.results import ResultStore
from prefect.utilities.annotations import quote
from pydantic import PrivateAttr

from storage import leases
from storage.roots import Root
from tasks.runtime import ledger

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

OURS = ("flows", "tasks", "models", "storage")
PLUMBING = {
    "tasks.runtime.caching",
    "tasks.runtime.ledger",
    "tasks.runtime.progress",
    "storage.roots",
}  # moves bytes, decides none
REGISTRIES = {"models.systems"}  # names all systems; who uses one says which, and passes the version of its code
# Arguments that say where bytes lie, digests beside them saying which; and `last`, what an earlier night made of the
# same input by the same code and settings, which is taken over in place of making the very same again.
WHERE_NOT_WHAT = {"root", "source", "last"}

# Two threads that parse at once make CPython 3.11 raise a SystemError now and then (its issue 106905); Prefect would
# run the stage without a key, hence again the next night.
_one_parses = Lock()


def stage(function: Callable[P, R]) -> Task[P, R]:
    """A Prefect task that is cached, restartable and noted in the run's ledger. Takes and returns refs and settings."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        # Prefect would log a key that cannot be made and go on uncached; a stage that silently never caches is worse.
        code_version(function.__module__)
        for name, value in signature(function).bind(*args, **kwargs).arguments.items():
            if name not in WHERE_NOT_WHAT:
                canonical(value, f"{function.__name__}({name})")
        return function(*args, **kwargs)

    made: Task[P, R] = task(
        name=function.__name__.replace("_", "-"),
        cache_policy=StageKey(),
        persist_result=True,
        result_serializer="json",
        retries=2,
        retry_delay_seconds=5,
        retry_condition_fn=_is_transient,
        on_completion=[ledger.note],
        on_failure=[ledger.note],
    )(checked)
    return made


def unsearched(value: T) -> T:
    """The value as a stage's argument in which Prefect does not look for results of other tasks.

    It looks through each argument, item by item, three times a task run: of a thousand ids that costs more than many a
    stage. For what no stage of this flow run returned.
    """
    return cast(T, quote(value))


@dataclass
class StageKey(CachePolicy):
    """Stage name, version of the code it calls, parameters, content of its inputs."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str:
        given = {name: canonical(value, name) for name, value in sorted(inputs.items()) if name not in WHERE_NOT_WHAT}
        return f"{task_ctx.task.name}/{digest([code_version(task_ctx.task.fn.__module__), given])}"


def digest(value: Any) -> str:
    """A short digest of a value of refs, settings and plain types; equal values give equal digests."""
    return hashlib.sha256(json.dumps(canonical(value, "value"), sort_keys=True).encode()).hexdigest()[:32]


def canonical(value: Any, where: str) -> Any:
    """The value as JSON types, dataclasses by class and fields. Raises TypeError for what has no stable content."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        content = {
            field.name: canonical(getattr(value, field.name), f"{where}.{field.name}") for field in fields(value)
        }
        return {"class": type(value).__qualname__, **content}
    if isinstance(value, dict):
        return {str(key): canonical(item, f"{where}[{key!r}]") for key, item in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [canonical(item, f"{where}[{row}]") for row, item in enumerate(value)]
    raise TypeError(
        f"{where}: {type(value).__name__} has no stable content to make a cache key of; "
        f"pass a Ref, a settings dataclass, or plain strings and numbers"
    )


@lru_cache
def code_version(module: str) -> str:
    """Digest of a module and all of ours it imports, comments and docstrings apart, and of the libraries they use."""
    seen: dict[str, str] = {}
    libraries: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name in PLUMBING | REGISTRIES:
            continue
        seen[name], imports = _content(name)
        for imported in imports:
            if imported.split(".")[0] in OURS:
                waiting.append(imported)
            else:
                libraries.add(imported.split(".")[0])
    return digest([sorted(seen.items()), sorted(_versions(libraries))])


@cache
def _content(module: str) -> tuple[str, list[str]]:
    """What a module says, comments and docstrings apart, and what it imports."""
    with _one_parses:
        tree = ast.parse(_source(module))
    _strip_docstrings(tree)
    return ast.dump(tree), list(_imports(tree))


@contextmanager
def records_below(root: Root) -> Iterator[set[str]]:
    """Inside a flow run: stages keep their records below `<root>/cache`, wherever the flow was started.

    Yields the records that the flow writes or reads, as it does so. Meanwhile the flow holds a lease on the root: what
    it has found is not deleted under it.
    """
    context = FlowRunContext.get()
    assert context is not None
    records = Records(address=root.address)
    store = ResultStore(result_storage=records)
    kind = context.flow.name if context.flow else "flow"
    with leases.shared(root, kind), context.model_copy(update={"result_store": store}):
        yield records.used


class Records(WritableFileSystem):
    """Prefect's result records below `<root>/cache`; a record whose files are gone does not count."""

    _block_type_name = "TasteGraph records"
    address: str
    _used: set[str] = PrivateAttr(default_factory=set)

    @property
    def used(self) -> set[str]:
        """The records that were written, or read and found to count."""
        return self._used

    def read_path(self, path: str, **_how: bool) -> bytes:  # type: ignore[override]  # Prefect passes _sync
        root = Root(self.address)
        content = root.read(self._place(path))
        if gone := next(missing(json.loads(json.loads(content)["result"]), root), None):
            raise FileNotFoundError(f"{self.address}/{gone} is gone or cut off, so its record does not count")
        self._used.add(self._place(path))
        return content

    def write_path(self, path: str, content: bytes, **_how: bool) -> None:  # type: ignore[override]
        Root(self.address).write(self._place(path), content)
        self._used.add(self._place(path))

    def _resolve_path(self, path: str) -> Path:
        # Prefect asks a storage without a server-side id for absolute keys, and hands them back on reading.
        return Path("/cache") / path

    def _place(self, path: str) -> str:
        return self._resolve_path(path).as_posix().removeprefix("/")


def refs_of(value: Any) -> Iterator[dict[str, Any]]:
    """The references in a record's result, or in a manifest."""
    if isinstance(value, dict):
        if {"path", "sha256", "bytes"} <= value.keys():
            yield value
        for item in value.values():
            yield from refs_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from refs_of(item)


def missing(value: Any, root: Root) -> Iterator[str]:
    """The files that refs in a value name and that are not there, or not whole; looked for one after the other."""
    for found in refs_of(value):
        entry = root.entry(found["path"])
        if entry is None or entry.size != found["bytes"]:
            yield found["path"]


def _is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help: the network or the store failed, not the data or the code."""
    try:
        state.result()
    except (BotoCoreError, ClientError, ConnectionError, TimeoutError):
        return True
    except Exception:
        return False
    return False


def _source(module: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module}: no source file, so its version cannot be part of a cache key")
    return Path(spec.origin).read_text()


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if (
                node.module.split(".")[0] in OURS
            ):  # `from models import cdl` names a module, `from models.cdl.network import CDL` not
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (name for name in names if _is_module(name))


@lru_cache
def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _strip_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]


def _versions(libraries: set[str]) -> Iterator[str]:
    distributions = _distributions()
    for library in libraries - {"prefect"}:  # orders the work, decides none of its bytes
        for distribution in distributions.get(library, ()):
            yield f"{distribution}=={version(distribution)}"


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())
