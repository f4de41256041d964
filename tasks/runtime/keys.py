"""The key of a stage's call: the stage's name, the version of its code, its parameters, and what its inputs hold."""

import json
from collections.abc import Callable
from dataclasses import is_dataclass
from inspect import signature
from typing import Any

from tasks.runtime.code_version import code_version
from tasks.runtime.digests import WHERE_NOT_WHAT, canonical, digest


def arguments(function: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """A call's arguments by name, defaults too."""
    bound = signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def parts(module: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a key is made of, as JSON types: the version of a stage's code, and what its call is given."""
    given = {name: value for name, value in sorted(arguments.items()) if name not in WHERE_NOT_WHAT}
    canonical_of = {name: canonical(value, name) for name, value in given.items()}
    settings = [name for name, value in given.items() if name == "settings" or _is_settings(value)]
    return {"code": code_version(module), "given": canonical_of, "settings": settings}


def _is_settings(value: Any) -> bool:
    return is_dataclass(value) and ".settings" in type(value).__module__


def key(stage: str, parts: dict[str, Any]) -> str:
    """Equal for calls that have equal results."""
    return f"{stage}/{digest([parts['code'], parts['given']])}"


def noted(parts: dict[str, Any]) -> dict[str, Any]:
    """What a key is made of, for the record: settings as they are, of all else a digest, so that no id is in it."""
    given = {name: value if name in parts["settings"] else digest(value) for name, value in parts["given"].items()}
    return {"code": parts["code"], "given": json.loads(json.dumps(given))}
