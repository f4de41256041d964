"""Small JSON files below a root, read in one way: as data, checked, and with the file's name and the way out in errors.

What lies below a root may be damaged, of another version, or written by somebody else: nothing in it is trusted, and
nothing in it decides which code reads it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from storage.roots import Root

T = TypeVar("T")

VERSION = 1  # of every such file; one that does not say is of version 1. Raise it when this code would misread a file


class DocumentError(ValueError):
    """A small file that is not what it should be; the message names the file and the way out."""


def read(root: Root, path: str, kind: type[T], mend: str) -> T | None:
    """The file as a record of the dataclass `kind`; None where there is no such file. See `parse`."""
    try:
        data = root.read(path)
    except FileNotFoundError:
        return None
    return parse(data, kind, root.url(path), mend)


def parse(data: bytes, kind: type[T], where: str, mend: str) -> T:
    """A file's bytes as a record of the dataclass `kind`, each field of its type; other fields are left out.

    Raises DocumentError, in which `where` names the file and `mend` says what to do.
    """
    return checked(parse_object(data, where, mend), kind, where, mend)


def parse_object(data: bytes, where: str, mend: str) -> dict[str, Any]:
    """A file's bytes as a JSON object, its fields unchecked. Raises DocumentError, also for one of a later version."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        what = f"no JSON ({error})" if data else "empty"
        raise DocumentError(f"{where}: {what}; {mend}") from error
    if not isinstance(value, dict):
        raise DocumentError(f"{where}: JSON, but no object; {mend}")
    if (version := value.get("version", VERSION)) != VERSION:
        raise DocumentError(
            f"{where}: of version {version!r}, and this code reads version {VERSION}; use the tastegraph that wrote "
            f"it, or {mend}"
        )
    return value


def checked(value: Mapping[str, Any], kind: type[T], where: str, mend: str) -> T:
    """A JSON object as a record of the dataclass `kind`. Raises DocumentError for one whose fields are not of it."""
    try:
        record: T = _adapter(kind).validate_python(value)
        return record
    except ValidationError as error:
        first, count = error.errors(include_url=False, include_input=False)[0], error.error_count()
        place = ".".join(map(str, first["loc"]))
        more = f", and {count - 1} more" if count > 1 else ""
        raise DocumentError(f"{where}: damaged, as of {place}: {first['msg']}{more}; {mend}") from error


def dump(record: Any) -> bytes:
    """The bytes of a dataclass or an object of JSON types, with the version of its format."""
    value = asdict(record) if is_dataclass(record) and not isinstance(record, type) else dict(record)
    return json.dumps({"version": VERSION, **value}, allow_nan=False).encode() + b"\n"


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}  # made once: making one takes as long as a thousand uses


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
