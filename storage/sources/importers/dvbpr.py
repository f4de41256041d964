"""The fashion sets of DVBPR: products with a JPEG are images, reviews or wishes are favorites."""

import re
from collections.abc import Iterator, Mapping
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from storage.sources.importers.base import ImportConfig, importer
from storage.sources.importers.reading import LayoutError
from storage.sources.importers.restricted_pickle import load
from storage.sources.importers.writing import PICTURES, WORK, SourceWriter

BATCH = 20_000
SAFE_NAME = re.compile(r"[A-Za-z0-9_-]+")
FAVORITE = {"user_id": pl.String, "image_id": pl.String, "favorited_at": pl.Int64, "left_out": pl.String}


@importer("dvbpr")
def read(path: Path, source: SourceWriter, _config: ImportConfig) -> None:
    """DVBPR's AmazonFashion6ImgPartitioned.npy, Amazon(Men|Women)WithImgPartitioned.npy, TradesyImgPartitioned.npy."""
    train, validation, test, items = _parts(path if path.is_file() else _only(path), source)
    (source.folder / PICTURES).mkdir()
    ids = dict(_add_items(items, source))
    for users, tables in (
        (train, ("favorites",)),
        (validation, ("favorites", "official_val")),  # validation rows are also favorites; test rows never are
        (test, ("official_test",)),
    ):
        entries = ((user, entry) for user, entries in users.items() for entry in entries)
        while batch := list(islice(entries, BATCH)):
            rows = pl.DataFrame([_favorite(user, entry, ids) for user, entry in batch], FAVORITE, orient="row")
            for table in tables:
                source.add(table, rows if table == "favorites" else rows.drop("favorited_at"))


def _parts(file: Path, source: SourceWriter) -> list[Mapping[Any, Any]]:
    """The favorites of each part by user, and the items by number, with file paths in place of pictures."""
    folder = source.folder / WORK / "pictures"
    folder.mkdir()
    numbers = count()

    def spill(picture: bytes) -> Path:
        spilled = folder / str(next(numbers))
        spilled.write_bytes(picture)
        return spilled

    parts = load(file, spill)
    if not isinstance(parts, list) or len(parts) != 6 or not all(isinstance(part, Mapping) for part in parts[:4]):
        raise LayoutError(f"{file}: not the six parts of DVBPR (training, validation, test, items, two numbers)")
    return parts[:4]


def _only(folder: Path) -> Path:
    files = sorted(folder.glob("*Partitioned.npy"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise LayoutError(f"{folder}: one file *Partitioned.npy is needed, found {found}; name the file itself")
    return files[0]


def _add_items(items: Mapping[Any, Any], source: SourceWriter) -> Iterator[tuple[int, str]]:
    """Add the products and their tags; yields each one's number with its image id."""
    numbered = iter(items.items())
    while batch := list(islice(numbered, BATCH)):
        images, tags = [], []
        for number, item in batch:
            image_id = _text(_field(item, "asin")) or str(number)
            images.append((image_id, _place(_field(item, "imgs"), image_id, source), _text(_field(item, "title"))))
            tags += [(image_id, tag) for tag in _tags(item)]
            if (item_number := _number(number)) is not None:
                yield item_number, image_id
        source.add(
            "images", pl.DataFrame(images, {"image_id": pl.String, "path": pl.String, "title": pl.String}, orient="row")
        )
        source.add("image_tags", pl.DataFrame(tags, {"image_id": pl.String, "tag": pl.String}, orient="row"))


def _place(picture: Any, image_id: str, source: SourceWriter) -> str | None:
    """Store a picture and return its path; also one that cannot be decoded, which the ingest quarantines."""
    if not picture or not SAFE_NAME.fullmatch(image_id):
        source.note("images without a picture")
        return None
    path = f"{PICTURES}/{image_id}.jpg"
    if isinstance(picture, Path):
        picture.replace(source.folder / path)
    else:
        (source.folder / path).write_bytes(bytes(picture))
    return path


def _tags(item: Any) -> Iterator[str]:
    """The product's categories by name, and the one of AmazonFashion's six classes, which have numbers only."""
    yield from _texts(_field(item, "categories"))
    if classes := _field(item, "c"):  # one-hot
        yield f"class {int(np.argmax(classes))}"


def _texts(value: Any) -> Iterator[str]:
    """The texts in a list of lists."""
    if isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif text := _text(value):
        yield text


def _favorite(user: Any, entry: Any, ids: Mapping[int, str]) -> tuple[str | None, str | None, int | None, str | None]:
    """One row of FAVORITE."""
    at = _field(entry, "unixReviewTime")
    product, favorited_at = _number(_field(entry, "productid")), _number(at)
    image_id = None if product is None else ids.get(product)
    reason = (
        "no such image" if image_id is None else "unreadable time" if at is not None and favorited_at is None else None
    )
    return _text(_field(entry, "reviewerID")) or _text(user), image_id, favorited_at, reason


def _field(entry: Any, name: str) -> Any:
    """A field of an entry: Python 2 wrote the names as bytes."""
    return entry.get(name.encode(), entry.get(name)) if isinstance(entry, Mapping) else None


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return None if value is None else str(value)
