"""When the record of a stage counts."""

import json

import pytest

from storage import refs
from storage.roots import Root
from tasks.runtime.records import Records


def test_a_record_counts_only_while_its_files_are_there_and_whole(tmp_path):
    root, records = Root(str(tmp_path)), Records(address=str(tmp_path))
    file = tmp_path / "shard.bin"
    file.write_bytes(b"12345")
    ref = refs.store(file, "tables", "shard", 1, root)
    fields = {"name": ref.name, "path": ref.path, "sha256": ref.sha256, "rows": 1, "bytes": ref.bytes}
    content = json.dumps({"metadata": {}, "result": json.dumps({"parts": [fields]})}).encode()
    records.write_path("/cache/stage/key", content)
    assert records.read_path("/cache/stage/key") == content

    (tmp_path / ref.path).write_bytes(b"123")
    with pytest.raises(FileNotFoundError, match="gone or cut off"):
        records.read_path("/cache/stage/key")
    root.delete(ref.path)
    with pytest.raises(FileNotFoundError, match="gone or cut off"):
        records.read_path("/cache/stage/key")
