"""Pickled sparse matrices: DiffMM's files with features beside, and RecDiff's one file."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from storage.sources.importers import LayoutError, import_source
from tests.storage.sources.importers.contract import ImporterContract, left_out, rows_of

TRAIN = np.array([[1, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0]])  # user 2 and item 3 have no training pair
VALIDATION = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
TEST = np.array([[0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]])
TRUST = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 1]])
IMAGE = np.array([[1, 2], [3, 4], [5, 6], [7, 8]])
OF_THE_MATRICES = {  # TRAIN, VALIDATION and TEST, in either layout
    "users": {("0",), ("1",), ("2",)},
    "images": {("0",), ("1",), ("2",), ("3",)},
    "favorites": {("0", "0"), ("0", "2"), ("1", "1")},
    "official_val": {("0", "1")},
    "official_test": {("1", "2"), ("2", "0")},
}


def dump(file: Path, held: Any, protocol: int = 4) -> None:
    file.write_bytes(pickle.dumps(held, protocol=protocol))


class TestDiffMM(ImporterContract):
    """trnMat.pkl and its like; image features are the contract's, text and audio lie beside."""

    name = "diffmm"
    tables = OF_THE_MATRICES | {
        "image_features": {("0", (1.0, 2.0)), ("1", (3.0, 4.0)), ("2", (5.0, 6.0)), ("3", (7.0, 8.0))},
        "text_features": {("0", (0.5,)), ("2", (1.5,)), ("3", (2.5,))},
    }
    left_out = {"favorites": {"repeated": 1}, "text_features": {"bad feature": 1}}
    notes = {"images with features in text_features.parquet, which is no table of the contract": 3}

    def write(self, folder: Path) -> Path:
        rows, columns = TRAIN.nonzero()
        twice = (np.append(rows, 0), np.append(columns, 0))  # the pair 0, 0 stands there twice
        train = sp.coo_matrix((np.ones(4, np.float32), twice), shape=TRAIN.shape)
        train.data[1] = 7.0  # values are not read
        dump(folder / "trnMat.pkl", train)
        dump(folder / "valMat.pkl", sp.csr_matrix(VALIDATION))
        dump(folder / "tstMat.pkl", sp.csc_matrix(TEST))
        np.save(folder / "image_feat.npy", IMAGE.astype(np.float16))
        np.save(folder / "text_feat.npy", np.array([[0.5], [np.nan], [1.5], [2.5]], np.float64))
        return folder

    def test_an_entry_that_is_0_is_no_favorite(self, download: Path, tmp_path: Path) -> None:
        matrix = sp.csr_matrix(TRAIN)
        matrix.data[0] = 0
        dump(download / "trnMat.pkl", matrix)
        import_source("diffmm", download, tmp_path / "out")
        assert rows_of(tmp_path / "out", "favorites") == {("0", "2"), ("1", "1")}

    def test_a_matrix_as_old_versions_wrote_it_is_read(self, download: Path, tmp_path: Path) -> None:
        """numpy.core and scipy.sparse.coo were renamed to numpy._core and scipy.sparse._coo."""
        old = pickle.dumps(sp.coo_matrix(TRAIN), protocol=2)
        for renamed, name in ((b"scipy.sparse._coo", b"scipy.sparse.coo"), (b"numpy._core", b"numpy.core")):
            old = old.replace(renamed, name)
        (download / "trnMat.pkl").write_bytes(old)
        import_source("diffmm", download, tmp_path / "out")
        assert rows_of(tmp_path / "out", "favorites") == self.tables["favorites"]

    def test_a_pickle_that_calls_a_function_is_refused_and_does_not_run(self, download: Path, tmp_path: Path) -> None:
        trace = tmp_path / "it ran"
        (download / "trnMat.pkl").write_bytes(
            b"cbuiltins\neval\n(S'open(" + repr(str(trace)).encode().replace(b"'", b'"') + b',"w")' + b"'\ntR."
        )
        with pytest.raises(LayoutError, match=r"trnMat\.pkl: refused: it asks for builtins\.eval"):
            import_source("diffmm", download, tmp_path / "out")
        assert not trace.exists()

    @pytest.mark.parametrize("held", [sp.lil_matrix(TRAIN), sp.dok_matrix(TRAIN), sp.bsr_matrix(TRAIN)])
    def test_another_format_is_refused_by_name(self, download: Path, tmp_path: Path, held: Any) -> None:
        dump(download / "trnMat.pkl", held)
        with pytest.raises(LayoutError, match=rf"trnMat\.pkl: refused: it asks for .*{held.format}_matrix"):
            import_source("diffmm", download, tmp_path / "out")

    def test_what_is_no_matrix_is_named(self, download: Path, tmp_path: Path) -> None:
        dump(download / "tstMat.pkl", {"a": [1]})
        with pytest.raises(LayoutError, match=r"tstMat\.pkl: dict, not a sparse matrix of the format coo, csr or csc"):
            import_source("diffmm", download, tmp_path / "out")

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"indptr": np.array([0, 2])}, r"indptr of 2 numbers does not divide 3 indices by 3"),
            ({"indptr": np.array([0, 3, 2, 3])}, r"indptr of 4 numbers does not divide"),
            ({"indices": np.array([0, 2, 9])}, r"an entry in column 9, where there are 4"),
            ({"indices": np.array([0, 2, -1])}, r"an entry in column -1, where there are 4"),
            ({"data": np.array([1.0])}, r"3 rows, 3 columns and 1 values do not fit together"),
            ({"indices": np.array(["a", "b", "c"])}, r"neither numbers nor objects"),
            ({"indices": np.array([{}, [], "c"], object)}, r"indices is an array of object, not of numbers"),
            ({"indices": 7}, r"indices is no array, but int"),
            ({"_shape": (3,)}, r"a matrix of shape \(3,\), which is not two whole numbers"),
            ({"_shape": (3, "4")}, r"a matrix of shape \(3, '4'\)"),
            ({"_shape": (2**70, 4)}, r"from 1 to 50,000,000 rows and columns can be read"),
            ({"_shape": (3, 0)}, r"a matrix of 3 x 0; from 1 to"),
            ({"_shape": (10**7, 4)}, r"indptr of 4 numbers does not divide 3 indices by 10000000"),
        ],
    )
    def test_a_matrix_whose_arrays_do_not_fit_is_refused(
        self, download: Path, tmp_path: Path, changed: dict[str, Any], said: str
    ) -> None:
        matrix = sp.csr_matrix(TRAIN)
        matrix.__dict__.update(changed)
        dump(download / "trnMat.pkl", matrix)
        with pytest.raises(LayoutError, match=rf"trnMat\.pkl: .*({said})"):
            import_source("diffmm", download, tmp_path / "out")

    def test_parts_of_different_sizes_are_refused(self, download: Path, tmp_path: Path) -> None:
        dump(download / "tstMat.pkl", sp.csr_matrix(TEST[:, :3]))
        with pytest.raises(LayoutError, match=r"tstMat\.pkl: a matrix of 3 x 3, but .*trnMat\.pkl has 3 x 4"):
            import_source("diffmm", download, tmp_path / "out")

    @pytest.mark.parametrize(
        ("held", "said"),
        [
            (IMAGE[:3].astype(np.float32), r"3 rows of 2 numbers, but 4 items in .*trnMat\.pkl"),
            (IMAGE.astype(np.float32).ravel(), r"an array of shape \(8,\), not of rows of numbers"),
            (IMAGE.astype(str), r"it holds <U21, not numbers"),
            (np.array([[{}], [1], [2], [3]], object), r"no \.npy file of numbers: .*Python objects"),
            (b"no array", r"no \.npy file of numbers"),
        ],
    )
    def test_features_of_another_form_are_refused(self, download: Path, tmp_path: Path, held: Any, said: str) -> None:
        if isinstance(held, bytes):
            (download / "image_feat.npy").write_bytes(held)
        else:
            np.save(download / "image_feat.npy", held)
        with pytest.raises(LayoutError, match=rf"image_feat\.npy: {said}"):
            import_source("diffmm", download, tmp_path / "out")

    def test_without_a_validation_part_and_features_there_are_none(self, download: Path, tmp_path: Path) -> None:
        for name in ("valMat.pkl", "image_feat.npy", "text_feat.npy"):
            (download / name).unlink()
        import_source("diffmm", download, tmp_path / "out")
        assert {file.stem for file in (tmp_path / "out").glob("*.parquet")} == {
            "users", "images", "favorites", "official_test"
        }  # fmt: skip

    def test_a_packed_download_is_named(self, download: Path, tmp_path: Path) -> None:
        (download / "trnMat.pkl").unlink()
        (download / "dataset.pkl.zip").write_bytes(b"PK")
        with pytest.raises(LayoutError, match=r"neither trnMat\.pkl nor dataset\.pkl; unpack dataset\.pkl\.zip first"):
            import_source("diffmm", download, tmp_path / "out")

    def test_a_missing_test_part_is_named(self, download: Path, tmp_path: Path) -> None:
        (download / "tstMat.pkl").unlink()
        with pytest.raises(LayoutError, match=r"no matrix test \(found train, val\)"):
            import_source("diffmm", download, tmp_path / "out")


class TestRecDiff(ImporterContract):
    """dataset.pkl: all matrices in a dict, trust between users and categories of items among them."""

    name = "recdiff"
    tables = OF_THE_MATRICES | {
        "contacts": {("0", "1"), ("0", "2"), ("1", "0")},
        "image_tags": {("0", "category 0"), ("1", "category 1"), ("3", "category 0"), ("3", "category 1")},
    }
    left_out = {"contacts": {"self reference": 1}}

    def held(self) -> dict[str, Any]:
        return {
            "train": sp.coo_matrix(TRAIN),
            "val": sp.coo_matrix(VALIDATION),
            "test": sp.coo_matrix(TEST),
            "trust": sp.csr_matrix(TRUST),
            "category": sp.csr_matrix(np.array([[1, 0], [0, 1], [0, 0], [1, 1]])),
            "userCount": 3,
            "itemCount": 4,
            "categoryCount": np.int64(2),
        }

    def write(self, folder: Path) -> Path:
        dump(folder / "dataset.pkl", self.held())
        return folder

    def test_the_file_itself_may_be_named(self, download: Path, tmp_path: Path) -> None:
        report = import_source("recdiff", download / "dataset.pkl", tmp_path / "out")
        assert rows_of(tmp_path / "out", "contacts") == self.tables["contacts"]
        assert left_out(report) == self.left_out

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            (
                {"trust": sp.csr_matrix(TRUST[:, :2])},
                r"trust: a matrix of 3 x 2, but a matrix between its users has",
            ),
            ({"category": sp.csr_matrix(TRUST)}, r"category: a matrix of 3 x 3, but a matrix of its items has 4 x 3"),
            ({"userCount": 5}, r"its userCount is 5, but its matrix train has 3 x 4"),
            ({"test": [1, 2]}, r"test: list, not a sparse matrix"),
        ],
    )
    def test_parts_that_do_not_fit_are_named(
        self, download: Path, tmp_path: Path, changed: dict[str, Any], said: str
    ) -> None:
        dump(download / "dataset.pkl", self.held() | changed)
        with pytest.raises(LayoutError, match=rf"dataset\.pkl(, |: ){said}"):
            import_source("recdiff", download, tmp_path / "out")

    def test_a_list_in_place_of_the_dict_is_refused(self, download: Path, tmp_path: Path) -> None:
        dump(download / "dataset.pkl", [sp.coo_matrix(TRAIN)])
        with pytest.raises(LayoutError, match=r"dataset\.pkl: list, not a dict of matrices by name"):
            import_source("recdiff", download, tmp_path / "out")
