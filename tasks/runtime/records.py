"""The records of stages as files: their results in `<root>/cache`, beside the data that they refer to.

A record counts only while the files that it refers to are there: delete a file, and the next run that needs it
computes it again.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from storage import documents
from storage.documents import DocumentError
from storage.roots import Root

WRITTEN_BY_STAGES = ("tables/", "shards/", "checkpoints/")  # the folders of the files that records name
FOLDER = Path("/cache")  # Prefect asks a storage without a server-side id for absolute keys
MEND = "delete it, and the stage runs again"


def result_of(path: str, root: Root) -> Any:
    """The result in a record, as JSON types. Raises DocumentError."""
    return parse(documents.parse_object(root.read(path), root.url(path), MEND), root.url(path))


def place_of(key: str) -> str:
    """The path below the root of the record with this key of Prefect's."""
    return (FOLDER / key).as_posix().removeprefix("/")


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
    """The paths of files that refs in a value name and that are absent or incomplete, looked up one after the other."""
    for found in refs_of(value):
        entry = root.entry(found["path"])
        if entry is None or entry.size != found["bytes"]:
            yield found["path"]


def parse(record: dict[str, Any], where: str) -> Any:
    """The result in a record's JSON, as JSON types. Raises DocumentError."""
    metadata, result = record.get("metadata"), record.get("result")
    if record.keys() != {"metadata", "result"} or not isinstance(metadata, dict) or not isinstance(result, str):
        raise DocumentError(f"{where}: no record of a stage, which has metadata and a result; {MEND}")
    try:
        return json.loads(result)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{where}: its result is no JSON ({error}); {MEND}") from error
