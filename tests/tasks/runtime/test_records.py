"""When the record of a stage counts."""

import base64
import json
import os
import pickle
import subprocess
import sys
from typing import Any

import pytest
from prefect.results import ResultStore

from models.settings.protocols import ProtocolConfig
from storage import refs
from storage.documents import DocumentError
from storage.roots import Root
from tasks.data.split import Split
from tasks.runtime.record_store import SERIALIZER, Records


def record(result: str, **metadata: Any) -> bytes:
    return json.dumps({"metadata": {"serializer": SERIALIZER.model_dump(), **metadata}, "result": result}).encode()


def serializer(**changed: Any) -> dict[str, Any]:
    return SERIALIZER.model_dump() | changed


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (self.file,)


def test_a_record_counts_only_while_its_files_are_there_and_whole(tmp_path):
    root, records = Root(str(tmp_path)), Records(address=str(tmp_path))
    file = tmp_path / "shard.bin"
    file.write_bytes(b"12345")
    ref = refs.store(file, "tables", "shard", 1, root)
    fields = {"name": ref.name, "path": ref.path, "sha256": ref.sha256, "rows": 1, "bytes": ref.bytes}
    content = record(json.dumps({"parts": [fields]}))
    records.write_path("/cache/stage/key", content)
    assert json.loads(records.read_path("/cache/stage/key")) == json.loads(content)

    (tmp_path / ref.path).write_bytes(b"123")
    with pytest.raises(FileNotFoundError, match="gone or cut off"):
        records.read_path("/cache/stage/key")
    root.delete(ref.path)
    with pytest.raises(FileNotFoundError, match="gone or cut off"):
        records.read_path("/cache/stage/key")


def test_a_record_is_read_back_as_the_stage_returned_it(tmp_path):
    store = ResultStore(result_storage=Records(address=str(tmp_path)), serializer=SERIALIZER)
    Root(str(tmp_path)).write("tables/a", b"c")
    ref = refs.ref_of("a", "tables/a", b"c")
    value = {"value": Split(ref, ref, ProtocolConfig()), "seconds": 1.0, "work": {}}
    store.write(value, "stage/key")

    fresh = ResultStore(result_storage=Records(address=str(tmp_path)), serializer=SERIALIZER)
    assert fresh.read("stage/key").result == value


@pytest.mark.parametrize(
    "hostile",
    [
        lambda code: record(code, serializer={"type": "pickle"}),
        lambda code: record(code, serializer={"type": "compressed", "serializer": {"type": "pickle"}}),
        lambda code: record(code, serializer=serializer(jsonlib="cloudpickle")),
        lambda code: json.dumps({"data": code, "serializer": {"type": "pickle"}}).encode(),  # as Prefect 2 wrote them
        lambda _: record("{}", storage_block_id="0c5ae9a4-38a0-4b06-a77c-7e4d2b9c9a41"),
        lambda _: record(json.dumps({"__class__": "pathlib.Path", "data": "/etc/passwd"})),
        lambda _: record(json.dumps([{"a": {"__class__": "tasks.data.split.digest", "data": 1}}])),
        lambda _: record(json.dumps({"__exc_type__": "SystemExit", "message": "1"})),
        lambda _: record("[" * 100_000),
        lambda _: b"",
        lambda _: b"[]",
        lambda _: b'{"metadata": {}, "result": "{}"}',
        lambda _: record("{}")[:-9],
    ],
)
def test_a_record_that_names_code_or_is_damaged_does_not_count(hostile, tmp_path, caplog):
    made = tmp_path / "made by the record"
    code = base64.encodebytes(pickle.dumps(Touch(str(made)))).decode()
    Root(str(tmp_path)).write("cache/stage/key", hostile(code))
    store = ResultStore(result_storage=Records(address=str(tmp_path)), serializer=SERIALIZER)

    assert not store.exists("stage/key")
    with pytest.raises(DocumentError, match=r"cache/stage/key: .*; delete it, and the stage runs again"):
        store.read("stage/key")
    assert "cache/stage/key" in caplog.text
    assert not made.exists()


def test_no_file_below_a_root_configures_prefect(tmp_path):
    """Prefect reads its logging, whose handlers are any callables, and its settings from its home."""
    made, home = tmp_path / "made", tmp_path / "root" / "prefect"
    home.mkdir(parents=True)
    handler = f"handlers: {{evil: {{'()': os.mkdir, path: {made}}}}}"
    (home / "logging.yml").write_text(f"version: 1\n{handler}\n")
    (home / "profiles.toml").write_text('active = "evil"\n[profiles.evil]\nPREFECT_API_URL = "http://evil/api"\n')
    code = (
        "import sys; from pathlib import Path\n"
        "from flows.commands.at_work import prepare_prefect; prepare_prefect(Path(sys.argv[1]))\n"
        "from prefect.logging.configuration import setup_logging; setup_logging()\n"
        "from prefect.settings import PREFECT_API_URL; print(PREFECT_API_URL.value())"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    ran = subprocess.run([sys.executable, "-c", code, str(home)], env=env, capture_output=True, text=True, check=True)

    assert not made.exists()
    assert ran.stdout == "None\n"
