"""What `tastegraph verify` finds, mends and names."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from storage import parquet, snapshots
from storage.manifests import Manifest
from storage.refs import Ref
from storage.roots import Root
from storage.tables.similar import SIMILAR_IMAGES
from tasks.runtime.digests import canonical
from tasks.upkeep.verify import verify
from tests.storage.damage import cut_off, empty, flip
from tests.storage.servers import Server, moto_server

FOLDER = "exports/runs/run_id=night"
TABLE, MANIFEST = f"{FOLDER}/similar_images/part-00000.parquet", f"{FOLDER}/manifest.json"


def lose(root: Root, path: str) -> None:
    root.delete(path)


DAMAGES = [flip, cut_off, empty, lose]


@pytest.fixture(scope="module")
def moto() -> Iterator[Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(params=["disk", "s3"])
def root(request, tmp_path, monkeypatch) -> Root:
    """A root with a published run, the record of the stage that wrote its table, and no other file."""
    root = Root(str(tmp_path / "root"))
    if request.param == "s3":
        root = request.getfixturevalue("moto").root(monkeypatch, tmp_path / "scratch")
    rows = {"image_id": ["x"], "rank": pl.Series([1], dtype=pl.Int32), "similar_image_id": ["y"], "score": [1.0]}
    ref = parquet.write(SIMILAR_IMAGES, pl.DataFrame(rows), root)
    result = json.dumps({"__class__": "storage.refs.Ref", "data": canonical(ref, "ref")})
    root.write("cache/find-similar/1", json.dumps({"metadata": {}, "result": result}).encode())
    manifest = Manifest(run_id="night", generated_at="2026-01-01T00:00:00+00:00", metrics=[], is_current=True)
    pages = {"index.html": b"<p>the page</p>"}
    snapshots.publish(root, manifest, {SIMILAR_IMAGES.name: [ref]}, pages, current=True)
    return root


def bytes_of(root: Root) -> dict[str, bytes]:
    return {entry.path: root.read(entry.path) for entry in root.entries()}


def cached(root: Root) -> str:
    (entry,) = root.entries("tables")
    return entry.path


def test_a_whole_root_is_compared_file_by_file_and_left_as_it_is(root):
    before = bytes_of(root)
    for repair in (False, True):
        found = verify(root, repair=repair)
        assert (found.files, found.lost, found.faults) == (3, 0, [])  # the table twice, and the page
    assert bytes_of(root) == before


def flip_digit(root: Root, path: str) -> None:
    """A flipped bit in JSON that stays JSON: in a digit of the table's sha256."""
    sha256 = snapshots.manifest(root, "night").files[0].sha256.encode()
    root.write(path, root.read(path).replace(sha256, bytes([sha256[0] ^ 1]) + sha256[1:]))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_published_table_is_put_back_from_its_cached_copy(root, damage):
    if not root.is_remote:
        root.write(TABLE, root.read(TABLE))  # a file of its own, as on a disk without hard links
    before = bytes_of(root)
    damage(root, TABLE)

    assert [fault.path for fault in verify(root).faults] == [TABLE]
    assert verify(root, repair=True).is_whole
    assert bytes_of(root) == before


@pytest.mark.parametrize("damage", [flip, cut_off, empty])
def test_a_damaged_cached_file_is_put_back_from_its_published_copy(root, damage):
    if not root.is_remote:
        root.write(TABLE, root.read(TABLE))
    before = bytes_of(root)
    damage(root, cached(root))

    assert [fault.path for fault in verify(root).faults] == [cached(root)]
    assert verify(root, repair=True).is_whole
    assert bytes_of(root) == before


def test_a_lost_cached_file_is_no_fault_as_the_next_run_computes_it_again(root):
    root.delete(cached(root))
    found = verify(root)
    assert (found.lost, found.is_whole) == (1, True)


@pytest.mark.parametrize("damage", [*DAMAGES, flip_digit])
def test_a_damaged_or_lost_pointer_is_written_again_from_the_manifest(root, damage):
    before = bytes_of(root)
    damage(root, snapshots.POINTER)

    assert [fault.path for fault in verify(root).faults] == [snapshots.POINTER]
    assert verify(root, repair=True).is_whole
    assert bytes_of(root) == before


@pytest.mark.parametrize("damage", [cut_off, empty, lose, flip_digit])
def test_a_damaged_or_lost_manifest_of_the_current_run_is_written_again_from_the_pointer(root, damage):
    before, pointer, manifest = bytes_of(root), snapshots.current(root), snapshots.manifest(root, "night")
    damage(root, MANIFEST)

    assert MANIFEST in [fault.path for fault in verify(root).faults]
    assert verify(root, repair=True).is_whole
    assert verify(root).faults == []
    rebuilt = snapshots.manifest(root, "night")
    assert (rebuilt.files, replace(snapshots.Pointer.of(rebuilt), change=pointer.change)) == (manifest.files, pointer)
    assert rebuilt.further["rebuilt"]
    assert {path: data for path, data in bytes_of(root).items() if path != MANIFEST} == {
        path: data for path, data in before.items() if path != MANIFEST
    }


def test_damage_to_both_copies_of_a_published_table_is_named_with_what_to_do(root):
    flip(root, TABLE)
    if root.is_remote:
        flip(root, cached(root))
    expected = snapshots.current(root).checksums[TABLE]
    found = verify(root, repair=True)

    table, cached_one = sorted(found.faults, key=lambda fault: fault.path)
    assert table.path == TABLE
    assert table.problem == f"damaged: its sha256 is {root.digest(TABLE)}, expected {expected}"
    assert (table.outcome, table.is_mended) == (
        "no copy is left; the next night on the same data publishes again",
        False,
    )
    assert cached_one.is_mended
    assert not list(root.entries("tables"))
    assert verify(root).lost == 1


def test_a_record_that_is_none_is_deleted(root):
    root.write("cache/find-similar/1", b'{"metadata')
    (fault,) = verify(root).faults
    assert fault.path == "cache/find-similar/1"
    assert verify(root, repair=True).is_whole
    assert not list(root.entries("cache"))


def test_a_comparison_is_compared_and_put_back_from_its_cached_copy(root):
    ref: Ref = snapshots.manifest(root, "night").files[0].ref
    root.write("comparisons/full-1/comparison.json", json.dumps({"files": {"results": ref.sha256}}).encode())
    (fault,) = verify(root).faults
    assert (fault.path, fault.problem) == ("comparisons/full-1/results.parquet", "lost")
    assert verify(root, repair=True).is_whole
    assert root.digest("comparisons/full-1/results.parquet") == ref.sha256
    flip(root, "comparisons/full-1/results.parquet")
    assert "comparisons/full-1/results.parquet" in [fault.path for fault in verify(root).faults]


def test_the_command_prints_each_fault_and_its_exit_code_says_whether_all_is_whole_in_the_end(tmp_path, root):
    flip(root, f"{FOLDER}/report/index.html")
    run = ["verify", "--root", root.address]
    said = CliRunner().invoke(app, run, env={"COLUMNS": "300"})
    assert said.exit_code == 1
    assert f"{FOLDER}/report/index.html: damaged: its sha256 is " in said.stdout
    answered = CliRunner().invoke(app, [*run, "--repair", "--json"])
    assert answered.exit_code == 1
    assert json.loads(answered.stdout)["faults"][0]["path"] == f"{FOLDER}/report/index.html"
    root.write(f"{FOLDER}/report/index.html", b"<p>the page</p>")
    whole = CliRunner().invoke(app, run)
    assert (whole.exit_code, Path(whole.stdout.strip()).name.count("all whole")) == (0, 1)
