"""RecBole's atomic files."""

from pathlib import Path

import pytest

from storage.sources.importers import ImportConfig, LayoutError, import_source
from tests.storage.sources.importers.contract import ImporterContract, left_out, rows_of


class TestRecbole(ImporterContract):
    name = "recbole"
    tables = {
        "images": {("1193", "Toy Story"), ("661", "Jumanji"), ("7", None)},
        "favorites": {("1", "1193", 978300760), ("2", "7", 978300000), ("2", "1193", 978302109)},
        "image_tags": {
            ("1193", "animation"), ("1193", "children's"), ("661", "adventure"), ("1193", "disney"), ("661", "tristar")
        },
        "users": {("1",), ("2",), ("3",), ("9",)},
        "contacts": {("1", "2"), ("9", "1")},
    }  # fmt: skip
    left_out = {"favorites": {"rating below 4": 1, "unreadable time": 1}}

    def write(self, folder: Path) -> Path:
        (folder / "ml.inter").write_text(
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t1193\t5\t978300760\n"
            "1\t661\t3\t978302109\n2\t7\t4.0\t978300000.0\n2\t1193\t5\t978302109000\n2\t661\t5\tnever\n"
        )
        (folder / "ml.item").write_text(
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq\tbrand:token\n"
            "1193\tToy Story\t1995\tAnimation Children's\tDisney\n661\tJumanji\t1995\tAdventure\tTriStar\n"
        )
        (folder / "ml.user").write_text("user_id:token\tage:token\n1\t1\n2\t56\n3\t25\n")
        (folder / "ml.net").write_text("source_id:token\ttarget_id:token\n1\t2\n9\t1\n")
        return folder

    def test_a_header_without_types_is_refused(self, download: Path, tmp_path: Path) -> None:
        (download / "ml.inter").write_text("user_id\titem_id\n1\t2\n")
        with pytest.raises(LayoutError, match=r"ml\.inter: the header names 'user_id' without a type"):
            import_source("recbole", download, tmp_path / "out")

    def test_two_data_sets_in_one_folder_are_refused(self, download: Path, tmp_path: Path) -> None:
        (download / "other.inter").write_text("user_id:token\titem_id:token\n1\t2\n")
        with pytest.raises(LayoutError, match=r"found ml\.inter, other\.inter"):
            import_source("recbole", download, tmp_path / "out")

    def test_a_label_of_0_is_no_favorite_whatever_the_threshold(self, download: Path, tmp_path: Path) -> None:
        (download / "ml.inter").write_text("user_id:token\titem_id:token\tlabel:float\n1\t2\t1\n1\t3\t0\n")
        report = import_source("recbole", download, tmp_path / "out", ImportConfig(threshold=4))

        assert rows_of(tmp_path / "out", "favorites") == {("1", "2")}
        assert left_out(report)["favorites"] == {"rating below 1": 1}


class TestSplitOfABenchmark(ImporterContract):
    """Files for training, validation and test; categories with commas between them."""

    name = "recbole"
    tables = {
        "images": {("B1", "Yoga mat"), ("B2", "Tent"), ("B3", None)},
        "favorites": {("A", "B1"), ("A", "B2")},
        "official_val": {("A", "B2")},
        "official_test": {("A", "B3")},
        "image_tags": {("B1", "sports & outdoors"), ("B1", "yoga"), ("B2", "sports & outdoors")},
    }

    def write(self, folder: Path) -> Path:
        for part, item in (("train", "B1"), ("valid", "B2"), ("test", "B3")):
            (folder / f"sports.{part}.inter").write_text(f"user_id:token\titem_id:token\nA\t{item}\n")
        (folder / "sports.item").write_text(
            "item_id:token\ttitle:token\tprice:float\tcategories:token_seq\n"
            "B1\tYoga mat\t9.5\t'Sports & Outdoors', 'Yoga'\nB2\tTent\t\t'Sports & Outdoors'\n"
        )
        return folder


class TestFeatures(ImporterContract):
    """Vectors in .item, .itememb and .useremb: the one that is called visual is the contract's, others lie beside."""

    name = "recbole"
    tables = {
        "images": {("a", "Ant"), ("b", "Bee"), ("c", None)},
        "favorites": {("1", "a"), ("2", "b"), ("2", "c")},
        "users": {("1",), ("2",)},
        "image_features": {("a", (1.0, 2.0)), ("b", (-0.5, 0.25))},
        "text_features": {("b", (9.0,))},
        "item_features": {("a", (4.0, 5.0, 6.0))},
        "user_features": {("1", (0.5, 0.5))},
    }
    left_out = {
        "text_features": {"bad feature": 1},
        "item_features": {"bad feature": 2, "no such image": 1, "unreadable row": 1},
        "user_features": {"no such user": 1, "repeated": 1},
    }
    notes = {
        "images with features in item_features.parquet, which is no table of the contract": 1,
        "images with features in text_features.parquet, which is no table of the contract": 1,
        "users with features in user_features.parquet, which is no table of the contract": 1,
    }

    def write(self, folder: Path) -> Path:
        (folder / "bugs.inter").write_text("user_id:token\titem_id:token\n1\ta\n2\tb\n2\tc\n")
        (folder / "bugs.item").write_text(
            "item_id:token\ttitle:token_seq\ttext_feat:float_seq\tv_feat:float_seq\n"
            "a\tAnt\tx\t1 2\nb\tBee\t9\t-0.5 0.25\nc\t\t\t\n"
        )
        (folder / "bugs.itememb").write_text(
            "iid:token\titem_emb:float_seq\na\t4,5,6\nb\t1 2\nc\tnan 1 2\nz\t1 2 3\nb\t1 2 3\ttoo many cells\n"
        )
        (folder / "bugs.user").write_text("user_id:token\tage:float\n1\t30\n2\t31\n")
        (folder / "bugs.useremb").write_text("uid:token\tuser_emb:float_seq\n1\t.5 .5\n1\t.5 .5\n7\t.1 .1\n")
        return folder


class TestFieldsWithOtherNames(ImporterContract):
    """The Last.fm of RecBole: the item is an artist, and tags stand beside the interactions."""

    name = "recbole"
    tables = {
        "images": {("51", "Duran Duran"), ("52", "Morcheeba")},
        "favorites": {("2", "51"), ("2", "52")},
        "image_tags": {("51", "80s"), ("51", "pop"), ("52", "pop")},
        "user_tags": {("2", "80s", 1), ("2", "pop", 2)},
    }
    left_out = {"user_tags": {"added to a count": 1}}

    def write(self, folder: Path) -> Path:
        (folder / "lastfm.inter").write_text(
            "user_id:token\tartist_id:token\tweight:float\ttag_value:token_seq\n2\t51\t13883\t80s pop\n2\t52\t1\tpop\n"
        )
        (folder / "lastfm.item").write_text(
            "artist_id:token\tname:token_seq\turl:token\n51\tDuran Duran\thttp://x\n52\tMorcheeba\thttp://y\n"
        )
        return folder
