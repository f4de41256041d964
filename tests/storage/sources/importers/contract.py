"""What every importer must do, whatever its layout: subclass `ImporterContract` in the importer's test file."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from PIL import Image

from storage.roots import Root
from storage.settings.directory import IngestConfig
from storage.sources import directory
from storage.sources.importers import ImportConfig, LayoutError, import_source

Rows = set[tuple[Any, ...]]


def picture(shade: int = 0) -> bytes:
    """The bytes of a small JPEG."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 40, 90)).save(stream, "JPEG")
    return stream.getvalue()


def rows_of(source: Path, name: str) -> Rows:
    """The rows of a table of a source directory; times as epoch seconds, features as tuples."""
    frame = pl.read_parquet(source / f"{name}.parquet").with_columns(pl.col(pl.Datetime).dt.epoch("s"))
    return {tuple(tuple(cell) if isinstance(cell, list) else cell for cell in row) for row in frame.rows()}


def left_out(report: dict[str, Any]) -> dict[str, dict[str, int]]:
    """The reasons by table, where there are any."""
    return {name: account["left_out"] for name, account in report["tables"].items() if account["left_out"]}


@dataclass(frozen=True)
class Imported:
    """What an import left."""

    out: Path
    report: dict[str, Any]
    num_batches: int


class ImporterContract:
    """The contract. `name` names the importer, `write` writes a small download, and `tables` is what it becomes."""

    name: ClassVar[str]
    config: ClassVar[ImportConfig] = ImportConfig()
    tables: ClassVar[dict[str, Rows]]
    left_out: ClassVar[dict[str, dict[str, int]]] = {}
    notes: ClassVar[dict[str, int]] = {}

    def write(self, folder: Path) -> Path:
        """Write the download below a folder; returns what is given to the importer as PATH."""
        raise NotImplementedError

    @pytest.fixture
    def download(self, tmp_path: Path) -> Path:
        (tmp_path / "download").mkdir()
        return self.write(tmp_path / "download")

    @pytest.fixture(scope="class")
    @classmethod
    def imported(cls, tmp_path_factory: pytest.TempPathFactory) -> Imported:
        """One import for the tests that only look at it."""
        folder = tmp_path_factory.mktemp(cls.name)
        (folder / "download").mkdir()
        calls: list[str] = []
        report = import_source(
            cls.name,
            cls().write(folder / "download"),
            folder / "out",
            cls.config,
            progress=lambda name, _rows: calls.append(name),
        )
        return Imported(folder / "out", report, len(calls))

    def test_every_row_of_the_download_is_where_it_belongs(self, imported: Imported) -> None:
        files = {file.stem for file in imported.out.glob("*.parquet")}

        assert {name: rows_of(imported.out, name) for name in files} == self.tables
        assert left_out(imported.report) == self.left_out
        assert imported.report["notes"] == self.notes

    def test_the_result_is_ingested_without_quarantine_and_its_pictures_are_there(self, imported: Imported) -> None:
        community = directory.ingest(Root(str(imported.out)), IngestConfig())

        assert community.quarantine.is_empty()
        assert len(community.tables["favorites"]) == len(self.tables["favorites"])
        paths = community.tables["images"]["path"].drop_nulls()
        assert all((imported.out / path).is_file() for path in paths)

    def test_ids_are_text_and_every_key_is_there_once_in_order(self, imported: Imported) -> None:
        for name in self.tables:
            frame = pl.read_parquet(imported.out / f"{name}.parquet")
            key = [column for column in frame.columns if column.endswith("_id") or column == "tag"]
            assert all(frame.schema[column] == pl.String for column in key)
            assert not frame.select(key).is_duplicated().any()
            assert frame.equals(frame.sort(key))

    def test_the_report_adds_up_and_lies_beside_the_tables(self, imported: Imported) -> None:
        for name, account in imported.report["tables"].items():
            assert account["read"] + account["named_elsewhere"] == account["kept"] + sum(account["left_out"].values())
            assert account["kept"] == len(self.tables[name])
        assert json.loads((imported.out / "import_report.json").read_text()) == imported.report

    def test_an_import_that_breaks_off_leaves_nothing_behind(self, download: Path, imported: Imported) -> None:
        around = download.parents[0] if download.is_dir() else download.parents[1]
        before = sorted(around.iterdir())
        for stop_at in {1, imported.num_batches}:
            batches = iter(range(1, stop_at + 1))

            def stop(_name: str, _rows: int, batches: Iterator[int] = batches, stop_at: int = stop_at) -> None:
                if next(batches) == stop_at:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                import_source(self.name, download, around / "broken", self.config, progress=stop)
            assert sorted(around.iterdir()) == before

    def test_the_same_download_gives_the_same_bytes(self, download: Path, imported: Imported, tmp_path: Path) -> None:
        import_source(self.name, download, tmp_path / "again", self.config)
        one, other = (
            {file.relative_to(out): file.read_bytes() for file in out.rglob("*.*")}
            for out in (imported.out, tmp_path / "again")
        )
        assert one == other

    def test_a_folder_of_something_else_is_refused_and_nothing_is_left(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(LayoutError, match=str(tmp_path / "empty")):
            import_source(self.name, tmp_path / "empty", tmp_path / "out", self.config)
        assert [path.name for path in tmp_path.iterdir()] == ["empty"]
