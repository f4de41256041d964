"""What all importers share: where a source is written, and what may be replaced."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storage.sources.importers import IMPORTERS, ImportConfig, LayoutError, import_source
from storage.sources.importers.base import importer
from tests.storage.sources.importers.contract import picture, rows_of


@pytest.fixture
def download(tmp_path: Path) -> Path:
    folder = tmp_path / "download"
    folder.mkdir()
    (folder / "train.txt").write_text("0 1 2\n1 2\n")
    (folder / "test.txt").write_text("0 3\n")
    return folder


def test_a_folder_with_something_in_it_is_not_written_into(download: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    import_source("lightgcn", download, out)  # an empty folder is none
    with pytest.raises(ValueError, match="out: it exists already; name another folder, or add --overwrite"):
        import_source("lightgcn", download, out)


def test_an_earlier_import_may_be_replaced_as_a_whole(download: Path, tmp_path: Path) -> None:
    import_source("lightgcn", download, tmp_path / "out")
    (tmp_path / "out" / "contacts.parquet").write_bytes(b"of the earlier one")
    (download / "train.txt").write_text("7 8\n")
    import_source("lightgcn", download, tmp_path / "out", overwrite=True)

    assert rows_of(tmp_path / "out", "favorites") == {("7", "8")}
    assert not (tmp_path / "out" / "contacts.parquet").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["download", "out"]


def test_an_import_that_fails_leaves_the_earlier_one_as_it_was(download: Path, tmp_path: Path) -> None:
    import_source("lightgcn", download, tmp_path / "out")
    before = rows_of(tmp_path / "out", "favorites")
    (download / "train.txt").write_text("7\n")
    with pytest.raises(LayoutError, match="no favorite is left"):
        import_source("lightgcn", download, tmp_path / "out", overwrite=True)

    assert rows_of(tmp_path / "out", "favorites") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["download", "out"]


def test_what_no_import_wrote_is_never_replaced(download: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"it has no import_report\.json, so no import wrote it"):
        import_source("lightgcn", download, download, overwrite=True)
    assert (download / "train.txt").exists()


def test_a_store_is_no_place_to_import_into(download: Path) -> None:
    with pytest.raises(ValueError, match="an import writes to a local folder"):
        import_source("lightgcn", download, Path("s3://bucket/source"))


def test_a_source_without_a_favorite_is_refused_with_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,Toy Story,Comedy\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,2.0,0\n1,2,5.0,0\n")
    with pytest.raises(LayoutError, match=r"no favorite is left \(1 no such image, 1 rating below 4\)"):
        import_source("movielens", tmp_path, tmp_path / "out")


def test_a_missing_download_is_named(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="nowhere: no such file or folder"):
        import_source("lightgcn", tmp_path / "nowhere", tmp_path / "out")


def test_a_missing_file_is_named_with_those_that_the_layout_has(download: Path, tmp_path: Path) -> None:
    (download / "test.txt").unlink()
    with pytest.raises(LayoutError, match=r"test\.txt: no such file; lightgcn reads Gowalla, Yelp2018, Amazon-Book"):
        import_source("lightgcn", download, tmp_path / "out")


def test_two_importers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two importers are called 'hm'"):
        importer("hm")(lambda _path, _source, _config: None)


def test_every_importer_says_what_it_reads() -> None:
    assert all(found.doc.endswith(".") for found in IMPORTERS.values())


def test_a_picture_is_copied_where_the_file_system_knows_no_links(
    download: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError("no links here")

    (download / "pictures").mkdir()
    (download / "pictures" / "2.jpg").write_bytes(picture())
    for out in ("linked", "copied"):
        import_source("lightgcn", download, tmp_path / out, ImportConfig(images=download / "pictures"))
        monkeypatch.setattr(os, "link", refuse)
    linked, copied = (tmp_path / out / "images" / "2.jpg" for out in ("linked", "copied"))

    assert linked.samefile(download / "pictures" / "2.jpg")
    assert not copied.samefile(linked)
    assert copied.read_bytes() == linked.read_bytes() == picture()


def test_an_import_that_is_killed_leaves_no_half_source_and_the_next_one_clears_up(
    download: Path, tmp_path: Path
) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from storage.sources.importers import import_source\n"
        "def wait(_table, _rows): print('begun', flush=True); time.sleep(60)\n"
        "import_source('lightgcn', Path(sys.argv[1]), Path(sys.argv[2]), progress=wait)"
    )
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(download), str(out)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        with pytest.raises(ValueError, match="another import into this place is running"):
            import_source("lightgcn", download, out)
        process.send_signal(signal.SIGKILL)

    assert not out.exists()
    import_source("lightgcn", download, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["download", "out"]
    assert json.loads((out / "import_report.json").read_text())["importer"] == "lightgcn"


def test_a_download_that_is_refused_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.inter").write_text("\0user_id:token\titem_id:token\nu\ti\n")
    with pytest.raises(LayoutError, match=r"/a\.inter: its first line holds a zero byte"):
        import_source("recbole", tmp_path, tmp_path / "out")

    (tmp_path / "a.inter").write_text("user_id:token\titem_id:token\n")
    with pytest.raises(LayoutError, match=f"^{tmp_path}: no favorite is left"):
        import_source("recbole", tmp_path, tmp_path / "out")
