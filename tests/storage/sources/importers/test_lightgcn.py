"""The line format of NGCF and LightGCN, and the ratings of NCF."""

from pathlib import Path

import pytest

from storage.sources.importers import ImportConfig, LayoutError, import_source
from tests.storage.sources.importers.contract import ImporterContract, left_out, rows_of


class TestLightgcn(ImporterContract):
    name = "lightgcn"
    tables = {
        "images": {("0",), ("1",), ("2",), ("3",)},
        "favorites": {("0", "0"), ("0", "1"), ("1", "1"), ("1", "2")},
        "official_test": {("0", "3"), ("1", "0")},
    }
    left_out = {"favorites": {"repeated": 1}}

    def write(self, folder: Path) -> Path:
        (folder / "train.txt").write_text("0 0 1\n1 1 2 1\n2 \n")  # user 2 has no training item
        (folder / "test.txt").write_text("0 3\n1 0")
        return folder

    def test_the_origins_ids_stand_in_for_the_numbers(self, download: Path, tmp_path: Path) -> None:
        (download / "user_list.txt").write_text("org_id remap_id\nanna 0\nberta 1\n")
        (download / "item_list.txt").write_text("org_id remap_id freebase_id\np0 0 m.1\np1 1 m.2\np2 2\np9 9\n")
        report = import_source("lightgcn", download, tmp_path / "out")

        assert rows_of(tmp_path / "out", "favorites") == {
            ("anna", "p0"), ("anna", "p1"), ("berta", "p1"), ("berta", "p2")
        }  # fmt: skip
        assert rows_of(tmp_path / "out", "images") == {("p0",), ("p1",), ("p2",), ("p9",)}
        assert rows_of(tmp_path / "out", "official_test") == {("berta", "p0")}
        assert left_out(report)["official_test"] == {"image not in its list": 1}

    def test_a_list_of_ids_with_another_header_is_refused(self, download: Path, tmp_path: Path) -> None:
        (download / "item_list.txt").write_text("id name\n0 p0\n")
        with pytest.raises(LayoutError, match=r"item_list\.txt: begins with 'id name', not with 'org_id remap_id'"):
            import_source("lightgcn", download, tmp_path / "out")

    def test_a_threshold_does_not_apply_and_is_refused(self, download: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"lightgcn has no ratings, so a threshold of 3 does not apply"):
            import_source("lightgcn", download, tmp_path / "out", ImportConfig(threshold=3))


class TestPinterest(ImporterContract):
    name = "lightgcn"
    tables = {
        "images": {("5",), ("6",), ("7",)},
        "favorites": {("0", "5"), ("0", "6")},
        "official_test": {("0", "7")},
    }

    def write(self, folder: Path) -> Path:
        (folder / "pinterest-20.train.rating").write_text("0\t5\t1\t0\n0\t6\t1\t0\n")
        (folder / "pinterest-20.test.rating").write_text("0\t7\t1\t0\n")
        (folder / "pinterest-20.test.negative").write_text("(0,7)\t5\t6\n")
        return folder
