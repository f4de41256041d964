"""DVBPR's partitioned files."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from storage.sources.importers import LayoutError, import_source
from tests.storage.sources.importers import python2
from tests.storage.sources.importers.contract import ImporterContract, picture


def entry(user: str, product: int, at: int = 1400000000) -> dict[bytes, object]:
    return {b"reviewerID": user.encode(), b"productid": product, b"unixReviewTime": at}


def parts() -> list[object]:
    """Two users and four products; the JPEG of the third is none, and the fourth has no picture."""
    train: defaultdict[int, list[object]] = defaultdict(list)
    train[0] += [entry("A1", 0), entry("A1", 1)]
    train[1] += [entry("A2", 1), {b"reviewerID": b"A2"}]
    validation = {0: [entry("A1", 2)], 1: [entry("A2", 0)]}
    test = {0: [entry("A1", 3)], 1: [entry("A2", 99)]}
    items = {
        0: {b"asin": b"B000", b"imgs": picture(10), b"categories": [[b"Clothing", b"Men"]], b"c": np.eye(6)[2]},
        1: {b"asin": b"B001", b"imgs": picture(20), b"title": "Röhre".encode(), b"c": np.eye(6)[0]},
        2: {b"asin": b"B002", b"imgs": b"no picture at all " * 30},
        3: {b"asin": b"B003", b"imgs": b""},
    }
    return [train, validation, test, items, 2, np.int64(4)]


class TestDvbpr(ImporterContract):
    name = "dvbpr"
    tables = {
        "images": {
            ("B000", "images/B000.jpg", None),
            ("B001", "images/B001.jpg", "Röhre"),
            ("B002", "images/B002.jpg", None),
            ("B003", None, None),
        },
        "favorites": {
            (user, image, 1400000000)
            for user, image in (("A1", "B000"), ("A1", "B001"), ("A1", "B002"), ("A2", "B000"), ("A2", "B001"))
        },
        "image_tags": {("B000", "clothing"), ("B000", "men"), ("B000", "class 2"), ("B001", "class 0")},
        "official_val": {("A1", "B002"), ("A2", "B000")},
        "official_test": {("A1", "B003")},
    }
    left_out = {"favorites": {"no such image": 1}, "official_test": {"no such image": 1}}
    notes = {"images without a picture": 1}

    def write(self, folder: Path) -> Path:
        python2.save(folder / "AmazonFashion6ImgPartitioned.npy", parts())
        return folder / "AmazonFashion6ImgPartitioned.npy"

    def test_the_pictures_are_the_bytes_of_the_file(self, imported) -> None:
        assert (imported.out / "images" / "B000.jpg").read_bytes() == picture(10)
        assert (
            imported.out / "images" / "B002.jpg"
        ).read_bytes() == b"no picture at all " * 30  # for the ingest to find

    def test_the_file_is_as_numpy_of_old_wrote_it(self, download: Path) -> None:
        loaded = np.load(download, allow_pickle=True, encoding="bytes")
        assert loaded[3][0][b"imgs"] == picture(10)
        assert b"cnumpy.core.multiarray\n_reconstruct\n" in download.read_bytes()

    def test_a_file_that_python_3_saved_is_read_too(self, tmp_path: Path) -> None:
        array = np.empty(6, object)
        array[:] = parts()
        np.save(tmp_path / "TradesyImgPartitioned.npy", array)
        import_source("dvbpr", tmp_path, tmp_path / "out")

        assert (tmp_path / "out" / "images" / "B001.jpg").read_bytes() == picture(20)

    def test_other_objects_than_the_six_parts_are_refused(self, tmp_path: Path) -> None:
        python2.save(tmp_path / "OtherPartitioned.npy", [{}, 1])
        with pytest.raises(LayoutError, match="not the six parts of DVBPR"):
            import_source("dvbpr", tmp_path, tmp_path / "out")
