"""The demo community night by night."""

from pathlib import Path

import polars as pl
import pytest

from storage.settings.demo import DemoConfig
from storage.sources.demo.community import write_demo
from storage.sources.demo.growth import Growth, GrowthConfig

CONFIG = GrowthConfig(nights=3, new_images=0.1, left_images=0.05, new_users=0.1, returning_users=0.1, left_users=0.05)


@pytest.fixture(scope="module")
def nights(tmp_path_factory) -> list[Path]:
    """The source directories of night 0 and of the last night."""
    folder = tmp_path_factory.mktemp("growth")
    write_demo(DemoConfig(users=40, images=60, picture_px=8), folder / "whole")
    growth = Growth(folder / "whole", CONFIG)
    for night in (0, 3):
        growth.write(night, folder / str(night))
    return [folder / "0", folder / "3"]


def ids(folder: Path, table: str, column: str) -> set[str]:
    (file,) = folder.glob(f"{table}.*")
    read = {".csv": pl.read_csv, ".jsonl": pl.read_ndjson, ".parquet": pl.read_parquet}[file.suffix]
    return set(read(file)[column])


def test_images_and_users_arrive_and_leave(nights):
    for table, column, num_more in (("images", "image_id", 3 * 6 - 3 * 3), ("users", "user_id", 3 * 4 - 3 * 2)):
        first, last = (ids(folder, table, column) for folder in nights)
        assert len(last) - len(first) == num_more
        assert last - first
        assert first - last


def test_every_night_has_the_pictures_of_its_images_and_names_no_other_ids(nights):
    for folder in nights:
        images, users = ids(folder, "images", "image_id"), ids(folder, "users", "user_id")
        assert {path.stem for path in (folder / "images").iterdir()} == images
        assert ids(folder, "favorites", "image_id") <= images
        assert ids(folder, "contacts", "contact_id") | ids(folder, "memberships", "user_id") <= users


def test_a_night_written_over_another_is_that_night(nights, tmp_path):
    growth = Growth(nights[0].parent / "whole", CONFIG)
    for night in (3, 0):
        growth.write(night, tmp_path)

    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        path.relative_to(nights[0]).as_posix(): path.read_bytes() for path in nights[0].rglob("*") if path.is_file()
    }
