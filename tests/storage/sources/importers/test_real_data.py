"""Real communities, where TASTEGRAPH_DATA names a folder that holds them: written in their layout, and read back."""

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from storage.roots import Root
from storage.settings.directory import IngestConfig
from storage.sources import directory
from storage.sources.importers import ImportConfig, import_source
from tests.storage.sources.importers import originals
from tests.storage.sources.importers.contract import left_out

DATA = os.environ.get("TASTEGRAPH_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="TASTEGRAPH_DATA names no folder with real communities")


def reimported(
    name: str, importer: str, write: Callable[[Path, Path], None], tmp_path: Path, images: str | None = None
) -> tuple[Path, Path, dict[str, dict[str, int]]]:
    """The set, what became of it in its own layout, and what was left out on the way."""
    given = Path(DATA or "") / name
    if not given.is_dir():
        pytest.skip(f"TASTEGRAPH_DATA holds no {name}")
    (tmp_path / "download").mkdir()
    write(given, tmp_path / "download")
    config = ImportConfig(images=given / images if images else None)
    report = import_source(importer, tmp_path / "download", tmp_path / "out", config)
    community = directory.ingest(Root(str(tmp_path / "out")), IngestConfig())
    assert community.quarantine.is_empty()
    return given, tmp_path / "out", left_out(report)


def assert_equal(given: Path, out: Path, name: str, columns: tuple[str, ...]) -> None:
    """The same set of rows in both."""
    one, other = (
        pl.read_parquet(folder / f"{name}.parquet").with_columns(pl.col(pl.Datetime).dt.epoch("s")).select(columns)
        for folder in (given, out)
    )
    assert len(one) > 1000
    assert one.sort(columns).equals(other.sort(columns))


def test_lastfm_friends_comes_back_from_the_hetrec_files(tmp_path: Path) -> None:
    given, out, missing = reimported("lastfm-friends", "hetrec-lastfm", originals.hetrec_lastfm, tmp_path)

    for name, columns in (
        ("images", ("image_id", "title")),
        ("favorites", ("user_id", "image_id")),
        ("contacts", ("user_id", "contact_id")),
        ("image_tags", ("image_id", "tag")),
        ("user_tags", ("user_id", "tag")),
        ("tag_assignments", ("user_id", "image_id", "tag")),
    ):
        assert_equal(given, out, name, columns)
    # One user has a tag once more in tag_assignments than in user_tags.
    before, after = (pl.read_parquet(folder / "user_tags.parquet")["count"].sum() for folder in (given, out))
    assert after == before + 1
    # Tags on artists without a row, and one row for each assignment.
    assert set(missing) == {"image_tags", "user_tags", "tag_assignments"}


def test_gowalla_scale_comes_back_from_the_line_format(tmp_path: Path) -> None:
    given, out, missing = reimported("gowalla-scale", "lightgcn", originals.lightgcn, tmp_path)

    for name in ("favorites", "official_test"):
        assert_equal(given, out, name, ("user_id", "image_id"))
    assert_equal(given, out, "images", ("image_id",))
    assert missing == {}


def test_movielens_posters_comes_back_from_the_csv_files_and_the_posters(tmp_path: Path) -> None:
    given, out, missing = reimported("movielens-posters", "movielens", originals.movielens, tmp_path, images="images")

    for name, columns in (
        ("images", ("image_id", "path", "title")),
        ("favorites", ("user_id", "image_id", "favorited_at")),
        ("image_tags", ("image_id", "tag")),
        ("user_tags", ("user_id", "tag", "count")),
        ("tag_assignments", ("user_id", "image_id", "tag")),
    ):
        assert_equal(given, out, name, columns)
    assert missing["favorites"] == {"rating below 4": 1000}
    paths = pl.read_parquet(out / "images.parquet")["path"]
    assert all((out / path).read_bytes() == (given / path).read_bytes() for path in paths[::500])


@pytest.mark.parametrize(
    ("name", "importer", "write", "others"),
    [
        ("tiktok-visual", "diffmm", originals.diffmm, ("image_features", "audio_features")),
        ("ciao-trust", "recdiff", originals.recdiff, ("contacts", "image_tags")),
    ],
)
def test_a_set_of_matrices_comes_back_with_its_own_split(
    tmp_path: Path, name: str, importer: str, write: Callable[[Path, Path], None], others: tuple[str, str]
) -> None:
    """The sets' ids are the matrices' numbers after a letter."""
    given, out, missing = reimported(name, importer, write, tmp_path)

    for table in ("images", "favorites", "official_val", "official_test", *others):
        one, other = pl.read_parquet(given / f"{table}.parquet"), pl.read_parquet(out / f"{table}.parquet")
        one = one.with_columns(pl.col("^.*_id$").str.slice(1))
        assert one.sort(one.columns[:2]).equals(other.select(one.columns).sort(one.columns[:2]))
    assert missing == {}
