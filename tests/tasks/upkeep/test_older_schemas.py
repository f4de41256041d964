"""Forgetting, retention and reading work on runs that were published with another schema than the code's."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli import app
from storage import snapshots
from storage.roots import Root
from storage.tables.schema import Table
from tasks.upkeep.forget import Forgotten, forget
from tasks.upkeep.retention import collect
from tests import frozen

EXPORTED = ["image_embeddings", "recommendations", "similar_images", "user_embeddings"]


@pytest.fixture(params=["the same schema", "one more column in every table"])
def root(tmp_path, request, monkeypatch) -> Root:
    """A root of schema version 1, met by code of the same version and by a later one."""
    if request.param == "one more column in every table":
        simulate_newer_schema(monkeypatch)
    return Root(str(frozen.root_of_schema_1(tmp_path)))


def simulate_newer_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schema version 2 in all our modules: every table has an optional column more."""

    def newer(value: object) -> object:
        if isinstance(value, Table):
            return replace(value, schema=value.schema.append(pa.field("added_later", pa.string())))
        if isinstance(value, tuple) and value and all(isinstance(item, Table) for item in value):
            return tuple(map(newer, value))
        return value

    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("flows", "tasks", "storage"):
            for attribute, value in list(vars(module).items()):
                if (changed := newer(value)) is not value:
                    monkeypatch.setattr(module, attribute, changed)
            if hasattr(module, "SCHEMA_VERSION"):
                monkeypatch.setattr(module, "SCHEMA_VERSION", "2")


def forget_user(root: Root, user: str) -> Forgotten:
    return forget({"user": frozenset({user})}, root)


def exported(root: Root, table: str) -> pl.DataFrame:
    pointer = snapshots.current(root)
    assert pointer is not None
    return pl.read_parquet(snapshots.dataset(root, pointer, table))


def some_user(root: Root) -> str:
    return str(exported(root, "recommendations")["user_id"][0])


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_a_forgotten_user_leaves_an_export_of_the_older_schema_with_its_columns_and_its_version(root):
    user, before = some_user(root), {table: exported(root, table) for table in EXPORTED}
    done = forget_user(root, user)

    assert done.is_new
    for table, rows in before.items():
        left = exported(root, table)
        assert left.schema == rows.schema
        if "user_id" in rows.columns:
            assert left.equals(rows.filter(pl.col("user_id") != user))
    pointer = snapshots.current(root)
    assert pointer is not None
    assert pointer.schema_version == "1"
    for paths in pointer.paths.values():
        for path in paths:
            assert pq.read_metadata(root.local(path)).metadata[b"tastegraph.schema_version"] == b"1"


def test_the_manifest_of_a_redacted_older_run_agrees_with_its_files(root):
    user = some_user(root)
    done = forget_user(root, user)

    manifest = json.loads(root.read(f"exports/runs/run_id={done.run_id}/manifest.json"))
    for file in manifest["files"]:
        content = root.read(file["path"])
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
    for ref in manifest["inputs"].values():
        assert user not in pl.read_parquet(root.local(ref["path"])).write_json()


def test_no_file_of_an_older_root_names_a_forgotten_user_or_image(root):
    user, image = some_user(root), exported(root, "recommendations")["image_id"][0]
    forget({"user": frozenset({user}), "image": frozenset({image})}, root)

    for file in (file for file in Path(root.address).rglob("*") if file.is_file()):
        cells = pl.read_parquet(file).write_json() if file.suffix == ".parquet" else ""
        content = cells.encode() + file.read_bytes()
        assert user.encode() not in content, file
        assert image.encode() not in content, file


def test_the_report_of_an_older_run_is_withdrawn_as_it_left_no_data(root):
    done = forget_user(root, some_user(root))

    assert b"Report withdrawn" in root.read(f"exports/runs/run_id={done.run_id}/report/index.html")


def test_retention_deletes_an_older_run_and_keeps_what_the_current_one_refers_to(root):
    inputs = json.loads(root.read("exports/runs/run_id=newest/manifest.json"))["inputs"]
    done = collect(root, keep=1)

    assert done.kept_runs == ["newest"]
    assert not root.exists("exports/runs/run_id=older/manifest.json")
    assert all(root.exists(ref["path"]) for ref in inputs.values())
    assert exported(root, "recommendations").height == 120


def test_the_command_line_shows_and_reads_older_runs(root):
    user = some_user(root)
    shown = command("show", "--root", root.address).stdout
    answer = json.loads(command("recommend", "--root", root.address, "--user", user, "--json").stdout)

    assert "newest (current)" in shown
    assert "system   ease" in shown
    assert [row["rank"] for row in answer] == [1, 2, 3, 4, 5]


def test_the_command_line_compares_older_runs(root):
    answer = json.loads(command("diff", "--root", root.address, "older", "newest", "--json").stdout)

    assert answer["runs"] == ["older", "newest"]
    assert answer["lists"]["recommendations"]["in_both"] == 24
    assert answer["lists"]["recommendations"]["changed"] > 0
