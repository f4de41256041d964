"""Where the results of stages are recorded: below `<root>/cache`, beside the data that they refer to.

A record counts only while the files that it refers to are there: delete a file, and the next run that needs it
computes it again.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.filesystems import WritableFileSystem
from prefect.results import ResultStore
from prefect.serializers import JSONSerializer

from storage import documents, leases
from storage.documents import DocumentError
from storage.roots import Root

WRITTEN_BY_STAGES = ("tables/", "shards/", "checkpoints/")  # the folders of the files that records name
FOLDER = Path("/cache")  # Prefect asks a storage without a server-side id for absolute keys
# A record names the serializer that reads it, and Prefect would follow it to any, pickle included, and import whatever
# class its JSON names. Here only this serializer counts, and only dataclasses of these folders.
SERIALIZER = JSONSerializer()
OURS = ("tasks.", "models.", "storage.")
MEND = "delete it, and the stage runs again"

log = logging.getLogger("tastegraph")


@contextmanager
def records_below(root: Root) -> Iterator[None]:
    """Inside a flow run: stages keep their records below `<root>/cache`, wherever the flow was started.

    Meanwhile the flow holds a lease on the root: no file that it has found is deleted.
    """
    context = FlowRunContext.get()
    assert context is not None
    store = ResultStore(result_storage=Records(address=root.address))
    kind = context.flow.name if context.flow else "flow"
    with leases.shared(root, kind), context.model_copy(update={"result_store": store}):
        yield


class Records(WritableFileSystem):
    """Prefect's result records below `<root>/cache`; a record whose files are gone does not count."""

    _block_type_name = "TasteGraph records"
    address: str

    def read_path(self, path: str, **_how: bool) -> bytes:  # type: ignore[override]  # Prefect passes _sync
        root, place = Root(self.address), place_of(path)
        content = root.read(place)
        try:
            record = documents.parse_object(content, root.url(place), MEND)
            result = _result(record, root.url(place))
            _refuse_other_code(record["metadata"], result, root.url(place))
        except DocumentError as error:
            log.warning("the stage runs again, as its record does not count: %s", error)  # Prefect hides the error
            raise
        if gone := next(missing(result, root), None):
            raise FileNotFoundError(f"{self.address}/{gone} is gone or cut off, so its record does not count")
        # What was checked, and not what another parser may see in the bytes.
        return json.dumps(record | {"metadata": record["metadata"] | {"serializer": SERIALIZER.model_dump()}}).encode()

    def write_path(self, path: str, content: bytes, **_how: bool) -> None:  # type: ignore[override]
        Root(self.address).write(place_of(path), content)

    def _resolve_path(self, path: str) -> Path:
        return FOLDER / path  # Prefect hands the result back on reading, as an absolute path stays what it is


def result_of(path: str, root: Root) -> Any:
    """The result in a record, as JSON types. Raises DocumentError."""
    return _result(documents.parse_object(root.read(path), root.url(path), MEND), root.url(path))


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


def _result(record: dict[str, Any], where: str) -> Any:
    metadata, result = record.get("metadata"), record.get("result")
    if record.keys() != {"metadata", "result"} or not isinstance(metadata, dict) or not isinstance(result, str):
        raise DocumentError(f"{where}: no record of a stage, which has metadata and a result; {MEND}")
    try:
        return json.loads(result)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"{where}: its result is no JSON ({error}); {MEND}") from error


def _refuse_other_code(metadata: dict[str, Any], result: Any, where: str) -> None:
    """Raises DocumentError for a record that leads Prefect to other code than its plain JSON and our dataclasses."""
    serializer, plain = metadata.get("serializer"), SERIALIZER.model_dump()
    if not isinstance(serializer, dict) or any(serializer.get(name) != plain[name] for name in plain):
        raise DocumentError(f"{where}: its serializer is not Prefect's plain JSON but {serializer!r}; {MEND}")
    if metadata.get("storage_block_id") is not None:
        raise DocumentError(f"{where}: names a storage block, and no record of ours does; {MEND}")
    for name in _classes_in(result):
        if not _is_our_dataclass(name):
            raise DocumentError(f"{where}: names {name!r}, which is no class of a result; {MEND}")


def _classes_in(value: Any) -> Iterator[Any]:
    """What a result's JSON names as the class of an object or of an error."""
    if isinstance(value, dict):
        yield from (value[mark] for mark in ("__class__", "__exc_type__") if mark in value)
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _classes_in(item)


def _is_our_dataclass(name: Any) -> bool:
    """Whether a dataclass of ours has this name; the module of a stage has imported it already."""
    module, _, attribute = name.rpartition(".") if isinstance(name, str) else ("", "", "")
    found = getattr(sys.modules.get(module), attribute, None) if module.startswith(OURS) else None
    return isinstance(found, type) and is_dataclass(found) and found.__module__ == module
