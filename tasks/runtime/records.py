"""Where the results of stages are recorded: below `<root>/cache`, beside the data that they refer to.

A record counts only while the files that it refers to are there: delete a file, and the next run that needs it
computes it again.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext
from prefect.filesystems import WritableFileSystem
from prefect.results import ResultStore

from storage import leases
from storage.roots import Root

FOLDER = Path("/cache")  # Prefect asks a storage without a server-side id for absolute keys


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
        root = Root(self.address)
        content = root.read(place_of(path))
        if gone := next(missing(json.loads(json.loads(content)["result"]), root), None):
            raise FileNotFoundError(f"{self.address}/{gone} is gone or cut off, so its record does not count")
        return content

    def write_path(self, path: str, content: bytes, **_how: bool) -> None:  # type: ignore[override]
        Root(self.address).write(place_of(path), content)

    def _resolve_path(self, path: str) -> Path:
        return FOLDER / path  # Prefect hands the result back on reading, as an absolute path stays what it is


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
