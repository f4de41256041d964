"""PixelRec and MicroLens."""

from pathlib import Path

import pytest

from storage.sources.importers import LayoutError, import_source
from tests.storage.sources.importers.contract import ImporterContract, picture, rows_of


class TestPixelRec(ImporterContract):
    name = "pixelrec"
    tables = {
        "images": {("i1", "images/i1.jpg", 'My turtle, "Bo"'), ("i2", None, None)},
        "favorites": {("u1", "i1", 1605059546), ("u2", "i2", 1628914341)},
        "image_tags": {("i1", "pet reptiles")},
    }
    left_out = {"favorites": {"no such image": 1, "repeated": 1}}

    def write(self, folder: Path) -> Path:
        (folder / "pixelrec_interaction").mkdir()
        (folder / "pixelrec_interaction" / "Pixel200K.csv").write_text(
            "item_id,user_id,timestamp\ni1,u1,1605059546\ni2,u2,1628914341\ni1,u1,1705059546\ni9,u2,1628914341\n"
        )
        (folder / "item_info.csv").write_text(
            "item_id,view_number,comment_number,title,tag,description\n"
            'i1,799668.0,739.0,"My turtle, ""Bo""",Pet Reptiles,Should I brush it off?\ni2,,,,,\n'
        )
        (folder / "cover").mkdir()
        (folder / "cover" / "i1.jpg").write_bytes(picture())
        return folder

    def test_two_files_of_interactions_are_refused(self, download: Path, tmp_path: Path) -> None:
        (download / "Pixel1M.csv").write_text("item_id,user_id,timestamp\ni1,u1,1\n")
        with pytest.raises(
            LayoutError, match=r"one file of interactions is needed, found Pixel1M\.csv, Pixel200K\.csv"
        ):
            import_source("pixelrec", download, tmp_path / "out")


class TestMicroLens(ImporterContract):
    name = "microlens"
    tables = {
        "images": {("1", "images/1.jpg", "Cats, and more cats"), ("2", None, "Dogs"), ("3", None, None)},
        "favorites": {("36121", "1", 1583378629), ("47204", "3", 1583378645)},
        "image_tags": {("1", "pets"), ("2", "pets")},
    }
    left_out = {"favorites": {"unreadable time": 1}}

    def write(self, folder: Path) -> Path:
        (folder / "MicroLens-100k_pairs.csv").write_text(
            "user,item,timestamp\n36121,1,1583378629552\n47204,3,1583378645123\n47204,1,?\n"
        )
        (folder / "MicroLens-100k_title_en.csv").write_text('1,"Cats, and more cats"\n2,Dogs\n')
        (folder / "tags_to_summary.csv").write_text("1,Pets\n2,Pets\n")
        (folder / "MicroLens-100k_covers").mkdir()
        (folder / "MicroLens-100k_covers" / "1.jpg").write_bytes(picture())
        return folder

    def test_titles_may_begin_with_a_line_of_names(self, download: Path, tmp_path: Path) -> None:
        (download / "MicroLens-100k_title_en.csv").rename(download / "MicroLens-50k_titles.csv")
        (download / "MicroLens-50k_titles.csv").write_text("item,title\n1,Cats\n")
        import_source("microlens", download, tmp_path / "out")

        titles = {image_id: title for image_id, _path, title in rows_of(tmp_path / "out", "images")}
        assert titles == {"1": "Cats", "3": None}
