"""Every small JSON file below a root, damaged: what its reader says."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from storage import documents, snapshots, tombstones
from storage.documents import DocumentError
from storage.manifests import Manifest
from storage.roots import Root
from tasks.runtime import runs

FILES: dict[str, Callable[[Root], Any]] = {
    "exports/current.json": snapshots.current,
    "exports/runs/run_id=night-1/manifest.json": snapshots.runs,
    "runs/night-1.json": runs.notes,
    "tombstones.json": tombstones.read,
}
WAYS_OUT = ("delete", "tastegraph verify --repair")


@dataclass(frozen=True)
class Pet:
    name: str
    legs: int = 4


@pytest.fixture
def root(tmp_path) -> Root:
    """A root on which every small file is whole."""
    root = Root(str(tmp_path))
    run = runs.begin("night-1", "purpose", root)
    manifest = Manifest(run_id=run.id, generated_at="2026-11-28T02:00:00+00:00", metrics=[])
    snapshots.publish(root, manifest, {}, {"index.html": b""}, current=True)
    tombstones.add({"user": frozenset({"anna"})}, root)
    return root


def changed(content: bytes, damage: str) -> bytes:
    """A whole file's bytes, damaged."""
    value = json.loads(content)
    return {
        "empty": b"",
        "zeros": b"\0" * len(content),
        "cut off": content[: len(content) // 2],
        "no object": b"[1]\n",
        "no fields": b"{}",
        "another type": json.dumps({name: ({"a": 1} if name == "version" else 3) for name in value}).encode(),
        "too deep": b'{"run_id": ' + b"[" * 100_000,
        "of a later version": json.dumps(value | {"version": 2}).encode(),
    }[damage]


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize(
    "damage",
    ["empty", "zeros", "cut off", "no object", "no fields", "another type", "too deep", "of a later version"],
)
def test_a_damaged_file_is_named_in_one_line_with_the_way_out(root, path, damage):
    read = FILES[path]
    read(root)
    root.write(path, changed(root.read(path), damage))

    with pytest.raises(DocumentError) as caught:
        read(root)
    line = str(caught.value)
    assert line.startswith(root.url(path))
    assert any(way in line for way in WAYS_OUT)
    assert "\n" not in line


def test_a_night_begins_beside_a_damaged_note_under_an_id_of_its_own(root):
    id_ = runs.new_id(root)
    root.write(runs.note_path(id_), b"")

    assert runs.begin(None, "purpose", root).id != id_


def test_a_manifest_of_another_run_is_refused(root):
    root.copy("exports/runs/run_id=night-1/manifest.json", "exports/runs/run_id=night-2/manifest.json")
    with pytest.raises(DocumentError, match=r"run_id=night-2/manifest\.json: the manifest of another run, 'night-1'"):
        snapshots.runs(root)


def test_a_pointer_without_a_checksum_is_refused(root):
    pointer = json.loads(root.read(snapshots.POINTER)) | {"paths": {"users": ["exports/a.parquet"]}}
    root.write(snapshots.POINTER, json.dumps(pointer).encode())
    with pytest.raises(DocumentError, match=r"current\.json: no checksum of exports/a\.parquet"):
        snapshots.current(root)


def test_a_record_survives_its_file_and_later_fields_are_left_out(tmp_path):
    root = Root(str(tmp_path))
    root.write("pet.json", documents.dump(Pet("Rex", 3)))
    assert documents.read(root, "pet.json", Pet, "feed it") == Pet("Rex", 3)
    root.write("pet.json", b'{"name": "Rex", "owner": "Ann"}')
    assert documents.read(root, "pet.json", Pet, "feed it") == Pet("Rex")
    assert documents.read(root, "cat.json", Pet, "feed it") is None
