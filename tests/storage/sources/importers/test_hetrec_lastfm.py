"""Last.fm of HetRec 2011."""

from pathlib import Path

from storage.sources.importers import import_source
from tests.storage.sources.importers.contract import ImporterContract, rows_of

DAY_S = 1_238_544_000  # 2009-04-01, UTC


def write(folder: Path, name: str, text: str, encoding: str = "utf-8") -> None:
    (folder / name).write_text(text, encoding=encoding, newline="\r\n")  # as the archive has them


class TestHetrecLastfm(ImporterContract):
    name = "hetrec-lastfm"
    tables = {
        "images": {
            ("1", "http://userserve-ak.last.fm/serve/252/1.jpg", "MALICE MIZER"),
            ("2", None, 'Röyksopp "live"'),
            ("3", None, "Diary of Dreams"),
        },
        "favorites": {("2", "1"), ("2", "2"), ("4", "1")},
        "contacts": {("2", "4"), ("4", "2")},
        "image_tags": {("1", "gothic"), ("1", "español"), ("2", "gothic")},
        "user_tags": {("2", "gothic", 2), ("4", "español", 1), ("4", "gothic", 2)},
        "tag_assignments": {
            ("2", "1", "gothic", DAY_S),
            ("2", "2", "gothic", DAY_S),
            ("4", "1", "gothic", DAY_S),
            ("4", "1", "español", DAY_S),
        },
    }
    left_out = {
        "favorites": {"no such image": 1, "unreadable row": 1},
        "contacts": {"self reference": 1},
        "image_tags": {"missing tag": 1, "no such image": 1, "repeated": 1},
        "user_tags": {"added to a count": 2, "missing tag": 1},
        "tag_assignments": {"missing tag": 1, "no such image": 1},
    }
    notes = {
        "lines of tags.dat that are no UTF-8, read as Latin-1": 1,
        "picture addresses that are none": 1,
    }

    def write(self, folder: Path) -> Path:
        write(
            folder,
            "artists.dat",
            "id\tname\turl\tpictureURL\n"
            "1\tMALICE MIZER\thttp://www.last.fm/music/MALICE+MIZER\thttp://userserve-ak.last.fm/serve/252/1.jpg\n"
            '2\tRöyksopp "live"\thttp://www.last.fm/music/2\thttp://userserve-ak.last.fm/a b.jpg\n'
            "3\tDiary of Dreams\thttp://www.last.fm/music/3\t\n",
        )
        write(folder, "tags.dat", "tagID\ttagValue\n1\tgothic\n2\tespañol\n", "latin-1")
        write(
            folder,
            "user_artists.dat",
            "userID\tartistID\tweight\n2\t1\t13883\n2\t2\t7\n4\t1\t1\n4\t900\t5\n4\tbroken\n",
        )
        write(folder, "user_friends.dat", "userID\tfriendID\n2\t4\n4\t2\n4\t4\n")
        write(
            folder,
            "user_taggedartists.dat",
            "userID\tartistID\ttagID\tday\tmonth\tyear\n"
            "2\t1\t1\t1\t4\t2009\n2\t2\t1\t1\t4\t2009\n4\t1\t1\t1\t4\t2009\n"
            "4\t900\t1\t1\t4\t2009\n"  # an artist whom the list lacks: a tag of the user all the same
            "4\t1\t2\t1\t4\t2009\n4\t1\t77\t1\t4\t2009\n",
        )
        return folder

    def test_the_file_with_timestamps_serves_where_the_one_with_days_is_missing(self, download: Path, tmp_path: Path):
        (download / "user_taggedartists.dat").unlink()
        write(
            download,
            "user_taggedartists-timestamps.dat",
            "userID\tartistID\ttagID\ttimestamp\n2\t1\t2\t1238536800000\n",
        )
        import_source("hetrec-lastfm", download, tmp_path / "out")

        assert rows_of(tmp_path / "out", "image_tags") == {("1", "español")}
        assert rows_of(tmp_path / "out", "tag_assignments") == {("2", "1", "español", 1_238_536_800)}
