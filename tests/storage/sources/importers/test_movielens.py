"""MovieLens in its three layouts."""

from pathlib import Path

import pytest

from storage.sources.importers import ImportConfig, LayoutError, import_source
from tests.storage.sources.importers.contract import ImporterContract, left_out, picture, rows_of


class TestMovielens(ImporterContract):
    name = "movielens"
    tables = {
        "images": {
            ("1", "images/1.jpg", "Toy Story (1995)"),
            ("2", None, 'American President, "The" (1995)'),
            ("3", "images/small/3.png", "Pather Panchali (1955)"),
        },
        "favorites": {("1", "1", 964982703), ("2", "1", 964981247), ("2", "3", 964980000)},
        "image_tags": {("1", "animation"), ("1", "children"), ("1", "pixar"), ("2", "drama"), ("1", "sci fi")},
        "user_tags": {("1", "pixar", 2), ("2", "sci fi", 1)},
        "tag_assignments": {("1", "1", "pixar", 1139045764), ("2", "1", "sci fi", 1139045764)},
    }
    left_out = {
        "favorites": {"no such image": 1, "rating below 4": 2, "unreadable rating": 2, "unreadable time": 1},
        "image_tags": {"no genre": 1, "no such image": 1},
        "user_tags": {"added to a count": 1},
        "tag_assignments": {"no such image": 1},
    }

    def write(self, folder: Path) -> Path:
        (folder / "movies.csv").write_text(
            "movieId,title,genres\n1,Toy Story (1995),Animation|Children\n"
            '2,"American President, ""The"" (1995)",Drama\n3,Pather Panchali (1955),(no genres listed)\n'
        )
        (folder / "ratings.csv").write_text(
            "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n2,1,5.0,964981247\n2,3,4.5,964980000\n"
            "1,2,3.5,964982704\n2,2,0.5,964981248\n2,77,5.0,964981249\n3,1,good,964981250\n3,2,5.0,soon\n3,2,nan,0\n"
        )
        (folder / "tags.csv").write_text(
            "userId,movieId,tag,timestamp\n1,1,Pixar,1139045764\n1,77,pixar,1139045764\n2,1, Sci  Fi,1139045764\n"
        )
        (folder / "posters" / "small").mkdir(parents=True)
        for name in ("1.jpg", "1.png", "small/3.png", "77.jpg", "cover.txt"):
            (folder / "posters" / name).write_bytes(picture())
        return folder

    def test_the_threshold_decides_what_a_favorite_is(self, download: Path, tmp_path: Path) -> None:
        report = import_source("movielens", download, tmp_path / "out", ImportConfig(threshold=3.5))

        assert rows_of(tmp_path / "out", "favorites") == self.tables["favorites"] | {("1", "2", 964982704)}
        assert left_out(report)["favorites"]["rating below 3.5"] == 1

    def test_posters_may_lie_elsewhere_and_their_bytes_are_the_same(self, download: Path, tmp_path: Path) -> None:
        elsewhere = (download / "posters").rename(tmp_path / "elsewhere")
        (elsewhere / "1.png").write_bytes(picture(200))
        import_source("movielens", download, tmp_path / "out", ImportConfig(images=elsewhere))

        assert rows_of(tmp_path / "out", "images") == self.tables["images"]
        assert (tmp_path / "out" / "images" / "1.jpg").read_bytes() == picture()
        assert not (tmp_path / "out" / "images" / "77.jpg").exists()

    def test_a_folder_of_posters_that_is_not_there_is_named(self, download: Path, tmp_path: Path) -> None:
        with pytest.raises(LayoutError, match="nowhere: no such folder of pictures"):
            import_source("movielens", download, tmp_path / "out", ImportConfig(images=tmp_path / "nowhere"))


class TestMovielensDat(ImporterContract):
    """ml-1m, in Latin-1 with double colons."""

    name = "movielens"
    tables = {
        "images": {("1", "Misérables, Les (1995)"), ("2", "Mission: Impossible (1996)")},
        "favorites": {("1", "1", 978300760), ("1", "2", 978302109)},
        "image_tags": {("1", "drama"), ("2", "action"), ("2", "adventure")},
    }
    left_out = {"favorites": {"rating below 4": 1, "unreadable row": 1}}
    notes = {"lines of movies.dat that are no UTF-8, read as Latin-1": 1}

    def write(self, folder: Path) -> Path:
        (folder / "movies.dat").write_text(
            "1::Misérables, Les (1995)::Drama\n2::Mission: Impossible (1996)::Action|Adventure\n", encoding="latin-1"
        )
        (folder / "ratings.dat").write_text("1::1::5::978300760\n1::2::4::978302109\n2::1::3::978301968\n2::1\n")
        return folder


class TestMovielens100k(ImporterContract):
    name = "movielens"
    tables = {
        "images": {("1", "Toy Story (1995)"), ("2", "unknown")},
        "favorites": {("196", "1", 881250949)},
        "image_tags": {("1", "animation"), ("1", "children's")},
    }
    left_out = {"favorites": {"rating below 4": 1}, "image_tags": {"no genre": 1}}

    def write(self, folder: Path) -> Path:
        (folder / "u.genre").write_text("unknown|0\nAnimation|1\nChildren's|2\n\n")
        (folder / "u.item").write_text(
            "1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/1|0|1|1\n2|unknown||||1|0|0\n", encoding="latin-1"
        )
        (folder / "u.data").write_text("196\t1\t5\t881250949\n186\t2\t3\t891717742\n")
        return folder
