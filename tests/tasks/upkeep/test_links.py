"""Links below a root: nothing outside it is deleted, and what cannot be reached is said."""

import os
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from storage import leases, parquet, snapshots
from storage.manifests import Manifest
from storage.roots import Root
from storage.tables.similar import SIMILAR_IMAGES
from tasks.upkeep.forget import forget
from tasks.upkeep.retention import collect

USER = "somebody-long-forgotten"


@pytest.fixture
def outside(tmp_path) -> Path:
    """A folder with files of somebody else."""
    folder = tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt"):
        (folder / name).write_bytes(b"theirs")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path / "root"))


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def link(root: Root, path: str, target: Path) -> None:
    place = Path(root.address, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def publish(root: Root, run_id: str, score: float, *, current: bool = True) -> Manifest:
    rows = {"image_id": ["x"], "rank": pl.Series([1], dtype=pl.Int32), "similar_image_id": ["y"], "score": [score]}
    ref = parquet.write(SIMILAR_IMAGES, pl.DataFrame(rows), root)
    manifest = Manifest(run_id=run_id, generated_at=f"2026-01-01T00:00:{int(score):02d}+00:00", metrics=[])
    report = {"index.html": f"<p>{USER if run_id == 'old' else ''}</p>".encode()}
    return snapshots.publish(root, manifest, {SIMILAR_IMAGES.name: [ref]}, report, current=current)


@pytest.mark.parametrize("path", [".tmp/x", ".tmp/killed/x", ".tmp", "tables", "tables/x", "cache", "exports/runs"])
def test_what_lies_beyond_a_link_out_of_the_root_survives_gc_and_forget(root, outside, path):
    link(root, path, outside)
    before = below(outside)
    collect(root, 1)
    forget({"user": frozenset({USER})}, root, even_if_unknown=True)

    assert before <= below(outside)
    assert (outside / "deep/b.txt").read_bytes() == b"theirs"
    assert not root.exists(".tmp/x/a.txt")  # the link itself is debris


def test_a_link_in_a_workspace_is_debris_and_goes_without_what_it_leads_to(root, outside):
    link(root, ".tmp/killed/x", outside)
    link(root, ".tmp/y", outside / "a.txt")
    assert {entry.path for entry in collect(root, 1).deleted} == {".tmp/killed/x", ".tmp/y"}
    assert not os.path.lexists(Path(root.address, ".tmp/y"))
    assert (outside / "a.txt").exists()


def test_gc_says_how_many_files_it_left_beyond_which_link(root, outside):
    link(root, "tables", outside)
    collected = collect(root, 1)

    assert collected.deleted == []
    assert collected.unreached == {f"{root.address}/tables -> {outside}": 2}
    said = CliRunner().invoke(app, ["gc", "--root", root.address, "--keep", "1"], env={"COLUMNS": "300"}).stdout
    assert "2 more files lie outside the root, where nothing is deleted" in said


def test_published_runs_beyond_a_link_are_runs_of_the_root(root, outside):
    link(root, "exports/runs", outside)
    publish(root, "old", 1.0)
    publish(root, "new", 2.0)

    assert [found.run_id for found in snapshots.runs(root)] == ["new", "old"]
    assert collect(root, 1).kept_runs == ["new"]
    assert (outside / "run_id=old/manifest.json").exists()


def test_forget_names_each_file_beyond_a_link_that_still_names_somebody_and_fails(root, outside):
    link(root, "exports/runs", outside)
    publish(root, "old", 1.0)
    publish(root, "new", 2.0)
    page = outside / "run_id=old/report/index.html"
    forgotten = forget({"user": frozenset({USER})}, root, even_if_unknown=True)

    assert forgotten.unreached == [str(page)]
    assert USER in page.read_text()
    arguments = ["forget", "--root", root.address, "--user", USER]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 1
    assert f"Still named in {page}" in result.stdout


def test_forget_deletes_a_link_to_a_file_outside_and_names_the_file(root, outside):
    publish(root, "new", 2.0)
    (outside / "notes.txt").write_text(f"by {USER}")
    link(root, "sources/notes.txt", outside / "notes.txt")

    assert forget({"user": frozenset({USER})}, root, even_if_unknown=True).unreached == [str(outside / "notes.txt")]
    assert not root.exists("sources/notes.txt")
    assert (outside / "notes.txt").exists()


def test_a_listing_ends_where_a_link_leads_back_or_to_a_folder_that_holds_the_root(root, outside):
    root.write("tables/own", b"1")
    for place, target in {"tables/back": Path(root.address), "tables/up": Path("/"), "tables/out": outside}.items():
        link(root, place, target)
    (outside / "loop").symlink_to(outside)

    assert {entry.path for entry in root.entries("tables")} == {
        "tables/own",
        "tables/out/a.txt",
        "tables/out/deep/b.txt",
    }


def test_a_lease_beyond_a_link_is_left_and_expires(root, outside, caplog):
    link(root, "leases", outside / "empty")
    with leases.shared(root, "nightly"):
        pass
    assert "not deleted, as" in caplog.text
