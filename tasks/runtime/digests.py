"""Digests of settings, references and plain values: equal content gives equal digests."""

import hashlib
import json
from dataclasses import fields, is_dataclass
from typing import Any

# A stage's arguments that are no part of its key: those that say where bytes lie, as digests beside them identify the
# bytes; and `last`, the previous run's output by the same code and settings: reusing it gives the same bytes.
WHERE_NOT_WHAT = {"root", "source", "last"}


def digest(value: Any) -> str:
    """A short digest of a value of refs, settings and plain types; equal values give equal digests."""
    return hashlib.sha256(json.dumps(canonical(value, "value"), sort_keys=True).encode()).hexdigest()[:32]


def canonical(value: Any, where: str, *, with_class: bool = True) -> Any:
    """The value as JSON types, dataclasses by class and fields. Raises TypeError for what has no stable content."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        content = {
            field.name: canonical(getattr(value, field.name), f"{where}.{field.name}", with_class=with_class)
            for field in fields(value)
        }
        return {"class": type(value).__qualname__, **content} if with_class else content
    if isinstance(value, dict):
        return {
            str(key): canonical(item, f"{where}[{key!r}]", with_class=with_class) for key, item in sorted(value.items())
        }
    if isinstance(value, list | tuple):
        return [canonical(item, f"{where}[{row}]", with_class=with_class) for row, item in enumerate(value)]
    raise TypeError(
        f"{where}: {type(value).__name__} has no stable content to make a cache key of; "
        f"pass a Ref, a settings dataclass, or plain strings and numbers"
    )


def plain(value: Any, where: str) -> Any:
    """The value as JSON types for a file that others read: as `canonical`, without the names of our classes."""
    return canonical(value, where, with_class=False)
