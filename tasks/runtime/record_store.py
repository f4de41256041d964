"""Prefect's store of results: a stage is reused where its record counts."""

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
from tasks.runtime.records import FOLDER, MEND, missing, parse, place_of

# A record names the serializer that reads it, and Prefect would follow it to any, pickle included, and import whatever
# class its JSON names. Here only this serializer counts, and only dataclasses of these folders.
SERIALIZER = JSONSerializer()
OURS = ("tasks.", "models.", "storage.")

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


def read_result(key: str, root: Root) -> Any | None:
    """What a stage's record with this key holds; None where there is none that counts."""
    try:
        record = json.loads(Records(address=root.address).read_path(key))
    except (FileNotFoundError, DocumentError):
        return None
    return SERIALIZER.loads(record["result"].encode())


class Records(WritableFileSystem):
    """Prefect's result records below `<root>/cache`; a record whose files are gone does not count."""

    _block_type_name = "TasteGraph records"
    address: str

    def read_path(self, path: str, **_how: bool) -> bytes:  # type: ignore[override]  # Prefect passes _sync
        root, place = Root(self.address), place_of(path)
        content = root.read(place)
        try:
            record = documents.parse_object(content, root.url(place), MEND)
            result = parse(record, root.url(place))
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
