"""The version of a stage's code: its module, all of ours that it imports, and the libraries that these import.

Comments, docstrings, layout and imports under `if TYPE_CHECKING:` change no result, so they are no part of it.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from tasks.runtime.digests import digest

OURS = ("flows", "tasks", "models", "storage")
PLUMBING = ("tasks.runtime", "storage.documents", "storage.roots")  # orders work and moves bytes; changes no result
REGISTRIES = {"models.systems"}  # imports all systems; a stage that runs one has the version of its code as an argument

# Two threads that parse at once make CPython 3.11 raise a SystemError now and then (its issue 106905); Prefect would
# run the stage without a key, hence again the next night.
_parse_lock = Lock()


@dataclass(frozen=True)
class Coverage:
    """The modules of ours whose code a version covers, and the libraries that they import."""

    modules: tuple[str, ...]
    libraries: tuple[str, ...]  # top-level names; those without a distribution are the standard library's


@lru_cache
def code_version(module: str) -> str:
    """Digest of a module and all of ours that it imports, and of the versions of their libraries."""
    covered = coverage(module)
    return digest([[(name, _read(name).code) for name in covered.modules], sorted(_versions(covered.libraries))])


def code_versions(modules: Iterable[str]) -> str:
    """One digest of the code versions of several modules."""
    return digest({module: code_version(module) for module in modules})


@lru_cache
def coverage(module: str) -> Coverage:
    """What the code version of a module covers: the module itself and all that it imports, directly or not."""
    modules: set[str] = set()
    libraries: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in modules or _is_plumbing(name) or name in REGISTRIES:
            continue
        modules.add(name)
        for imported in _read(name).imports:
            package = imported.partition(".")[0]
            if package in OURS:
                waiting.append(imported)
            else:
                libraries.add(package)
    return Coverage(tuple(sorted(modules)), tuple(sorted(libraries)))


@dataclass(frozen=True)
class _Module:
    """A digest of a module's code without comments and docstrings, and the modules that it imports."""

    code: str
    imports: tuple[str, ...]


@cache
def _read(module: str) -> _Module:
    with _parse_lock:
        tree = ast.parse(_source(module))
    tree = _WhatRuns().visit(tree)
    return _Module(digest(ast.dump(tree)), tuple(_imports(tree)))


def clear() -> None:
    """Forget what was read, for tests that change sources."""
    for cached in (code_version, coverage, _read, _is_module):
        cached.cache_clear()


def _is_plumbing(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in PLUMBING)


def _source(module: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module}: no source file, so its version cannot be part of a cache key")
    return Path(spec.origin).read_text()


class _WhatRuns(ast.NodeTransformer):
    """Drops docstrings and `if TYPE_CHECKING:` blocks."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        is_typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if is_typing and not node.orelse else self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
        return super().generic_visit(node)


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module.partition(".")[0] in OURS:
                # `from models import cdl` names a module, `from models.cdl.network import CDL` does not.
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (name for name in names if _is_module(name))


@lru_cache
def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _versions(libraries: Iterable[str]) -> Iterator[str]:
    distributions = _distributions()
    for library in libraries:
        if library == "prefect":  # orders the work, decides none of its bytes
            continue
        for distribution in distributions.get(library, ()):
            yield f"{distribution}=={version(distribution)}"


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())
