"""DiffMM's and RecDiff's data sets: pickled sparse matrices of users and items, with features of the items beside."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from storage.sources.importers import arrays
from storage.sources.importers.base import ImportConfig, importer
from storage.sources.importers.reading import LayoutError
from storage.sources.importers.restricted_pickle import Matrix, load_pickle
from storage.sources.importers.writing import Features, SourceWriter

BATCH = 100_000
MOST = 50_000_000  # rows or columns of a matrix: each becomes a user or an image, whatever a damaged file says
ONE_FILE = "dataset.pkl"  # RecDiff's: a dict of all matrices
FILES = {
    "train": "trnMat.pkl",
    "val": "valMat.pkl",
    "test": "tstMat.pkl",
    "trust": "trust.pkl",
    "category": "category.pkl",
}
SIZES = {"userCount": 0, "itemCount": 1}  # of RecDiff's dict: which side of the matrices it counts
FEATURES = {"image_feat.npy": "image", "text_feat.npy": "text", "audio_feat.npy": "audio"}


@dataclass(frozen=True)
class Part:
    """One matrix, and where it was found."""

    where: str
    matrix: Matrix
    shape: tuple[int, int]

    @classmethod
    def of(cls, where: str, value: Any) -> "Part":
        if not isinstance(value, Matrix):
            raise LayoutError(f"{where}: {type(value).__name__}, not a sparse matrix of the format coo, csr or csc")
        try:
            shape = value.shape
        except ValueError as error:
            raise LayoutError(f"{where}: {error}") from error
        if not 0 < min(shape) <= max(shape) <= MOST:
            raise LayoutError(f"{where}: a matrix of {_by(shape)}; from 1 to {MOST:,} rows and columns can be read")
        return cls(where, value, shape)

    def pairs(self, shape: tuple[int, int], than: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the entries; LayoutError where the matrix has another shape than it must."""
        if self.shape != shape:
            raise LayoutError(f"{self.where}: a matrix of {_by(self.shape)}, but {than} has {_by(shape)}")
        try:
            return self.matrix.pairs()
        except ValueError as error:
            raise LayoutError(f"{self.where}: {error}") from error


@importer("diffmm", "recdiff")
def read(path: Path, source: SourceWriter, _config: ImportConfig) -> None:
    """DiffMM's trnMat.pkl, valMat.pkl, tstMat.pkl and *_feat.npy; RecDiff's dataset.pkl, unzipped."""
    parts = _parts(path)
    train = parts["train"]
    num_users, num_items = train.shape
    train.pairs(train.shape, train.where)  # before a damaged file's size is believed
    for table, column, number in (("users", "user_id", num_users), ("images", "image_id", num_items)):
        for start in range(0, number, BATCH):
            source.add(table, pl.DataFrame({column: pl.int_range(start, min(number, start + BATCH), eager=True)}))
    # Validation rows are no favorites: what was published on these sets was learned from the training part alone.
    for name, table in (("train", "favorites"), ("val", "official_val"), ("test", "official_test")):
        if name in parts:
            users, items = parts[name].pairs(train.shape, train.where)
            _add(source, table, {"user_id": users, "image_id": items})
    if "trust" in parts:
        followers, followed = parts["trust"].pairs((num_users, num_users), "a matrix between its users")
        _add(source, "contacts", {"user_id": followers, "contact_id": followed})
    if "category" in parts:
        category = parts["category"]
        items, categories = category.pairs((num_items, category.shape[1]), "a matrix of its items")
        _add(source, "image_tags", {"image_id": items, "tag": categories}, tag="category {}")
    if path.is_dir():
        ids = [str(number) for number in range(num_items)]
        for file, name in FEATURES.items():
            if (path / file).exists():
                numbers = arrays.features(path / file, num_items, f"items in {train.where}")
                source.add_features(Features(name, "image_id", ids, numbers))


def _parts(path: Path) -> dict[str, Part]:
    """The matrices by name, `train` and `test` at least."""
    whole = path if path.is_file() else path / ONE_FILE
    if whole.exists():
        parts = _parts_of_one_file(whole)
    else:
        files = {name: path / file for name, file in FILES.items()}
        if not files["train"].exists():
            packed = [file.name for file in sorted(path.glob("*.pkl.zip"))]
            raise LayoutError(
                f"{path}: neither {FILES['train']} nor {ONE_FILE}"
                + (f"; unpack {', '.join(packed)} first" if packed else "; name the folder of one data set")
            )
        parts = {name: Part.of(str(file), load_pickle(file)) for name, file in files.items() if file.exists()}
    if missing := [name for name in ("train", "test") if name not in parts]:
        raise LayoutError(f"{path}: no matrix {', '.join(missing)} (found {', '.join(parts) or 'none'})")
    return parts


def _parts_of_one_file(file: Path) -> dict[str, Part]:
    held = load_pickle(file)
    if not isinstance(held, Mapping):
        raise LayoutError(f"{file}: {type(held).__name__}, not a dict of matrices by name")
    by_name = {key.decode(errors="replace") if isinstance(key, bytes) else str(key): held[key] for key in held}
    parts = {name: Part.of(f"{file}, {name}", by_name[name]) for name in FILES if name in by_name}
    for name, axis in SIZES.items():
        if "train" in parts and name in by_name and by_name[name] != parts["train"].shape[axis]:
            shape = _by(parts["train"].shape)
            raise LayoutError(f"{file}: its {name} is {by_name[name]!r}, but its matrix train has {shape}")
    return parts


def _add(source: SourceWriter, table: str, columns: dict[str, np.ndarray], **formats: str) -> None:
    """Add rows of numbers as their decimal text, or in the format of a column."""
    for start in range(0, max(1, len(next(iter(columns.values())))), BATCH):
        rows = pl.DataFrame({name: numbers[start : start + BATCH] for name, numbers in columns.items()}).cast(pl.String)
        source.add(table, rows.with_columns(pl.format(form, name).alias(name) for name, form in formats.items()))


def _by(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"
