"""DiffNet's ratings, links and vectors."""

from pathlib import Path

import numpy as np
import pytest

from storage.sources.importers import LayoutError, import_source
from tests.storage.sources.importers.contract import ImporterContract, rows_of


class TestDiffNet(ImporterContract):
    name = "diffnet"
    tables = {
        "users": {("0",), ("1",), ("2",)},
        "images": {("0",), ("1",), ("2",), ("3",)},
        "favorites": {("0", "0"), ("0", "1"), ("1", "1"), ("1", "2")},
        "official_val": {("1", "2")},
        "official_test": {("0", "3")},
        "contacts": {("0", "1"), ("2", "0")},
        "image_features": {("0", (0.0, 1.0)), ("1", (2.0, 3.0)), ("2", (4.0, 5.0)), ("3", (6.0, 7.0))},
        "user_features": {("0", (1.0,)), ("1", (2.0,)), ("2", (3.0,))},
    }
    left_out = {"contacts": {"unreadable row": 1}, "favorites": {"repeated": 1}}
    notes = {"users with features in user_features.parquet, which is no table of the contract": 3}

    def write(self, folder: Path) -> Path:
        (folder / "yelp.train.rating").write_text("0\t0\t1\n0\t1\t1\n1\t1\t1\n0\t0\t1\n")
        (folder / "yelp.val.rating").write_text("1\t2\t1\n")
        (folder / "yelp.test.rating").write_text("0\t3\t1\n")
        (folder / "yelp.links").write_text("0\t1\t1\n2\t0\n7\n")  # some files have weights
        np.save(folder / "item_vector.npy", np.arange(8, dtype=np.float32).reshape(4, 2))
        np.save(folder / "user_vector.npy", np.array([[1.0], [2.0], [3.0]]))
        return folder

    def test_images_and_users_are_those_of_the_files_where_there_are_no_vectors(
        self, download: Path, tmp_path: Path
    ) -> None:
        for name in ("item_vector.npy", "user_vector.npy", "yelp.links"):
            (download / name).unlink()
        import_source("diffnet", download, tmp_path / "out")

        assert rows_of(tmp_path / "out", "images") == self.tables["images"]
        assert not (tmp_path / "out" / "users.parquet").exists()
        assert not (tmp_path / "out" / "contacts.parquet").exists()

    @pytest.mark.parametrize(
        ("file", "rows", "said"), [("item_vector.npy", 3, "image 3"), ("user_vector.npy", 2, "user 2")]
    )
    def test_too_few_vectors_are_refused(self, download: Path, tmp_path: Path, file: str, rows: int, said: str) -> None:
        np.save(download / file, np.zeros((rows, 2)))
        with pytest.raises(LayoutError, match=rf"{file}: {rows} rows, but the other files name {said}"):
            import_source("diffnet", download, tmp_path / "out")

    def test_a_missing_part_is_named(self, download: Path, tmp_path: Path) -> None:
        (download / "yelp.test.rating").unlink()
        with pytest.raises(LayoutError, match=r"yelp\.test\.rating: no such file; diffnet reads DiffNet's Yelp"):
            import_source("diffnet", download, tmp_path / "out")

    def test_two_data_sets_in_one_folder_are_refused(self, download: Path, tmp_path: Path) -> None:
        (download / "flickr.train.rating").write_text("0\t0\n")
        with pytest.raises(LayoutError, match=r"found flickr\.train\.rating, yelp\.train\.rating; name the folder"):
            import_source("diffnet", download, tmp_path / "out")
