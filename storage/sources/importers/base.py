"""The interface of importers: a function that reads a download and adds its rows to a `SourceWriter`.

The source directory is written under a temporary name beside `out` and renamed when it is complete.
"""

import fcntl
import inspect
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from storage.sources.importers.reading import LayoutError, is_given, seconds
from storage.sources.importers.writing import Progress, SourceWriter

REPORT = "import_report.json"


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """Options of an import."""

    threshold: float | None = None  # ratings from here on are favorites; None: the importer's own
    images: Path | None = None  # a folder of pictures named by image id; None: the layout's own, if any
    memory_mb: int = 1024  # memory for sorting before it spills to disk; at least 128


Read = Callable[[Path, SourceWriter, ImportConfig], None]


@dataclass(frozen=True)
class Importer:
    """A layout that can be imported."""

    name: str
    read: Read
    threshold: float | None  # None: the layout has no ratings

    @property
    def doc(self) -> str:
        return (inspect.getdoc(self.read) or "").partition("\n")[0]


IMPORTERS: dict[str, Importer] = {}  # by name; importing an importer's module registers it


def importer(*names: str, threshold: float | None = None) -> Callable[[Read], Read]:
    """Register a function under the names of the layouts that it reads."""

    def register(read: Read) -> Read:
        for name in names:
            if name in IMPORTERS and IMPORTERS[name].read.__module__ != read.__module__:
                raise ValueError(
                    f"two importers are called {name!r}: {IMPORTERS[name].read.__module__}, {read.__module__}"
                )
            IMPORTERS[name] = Importer(name, read, threshold)
        return read

    return register


def import_source(
    name: str,
    path: Path,
    out: Path,
    config: ImportConfig | None = None,
    overwrite: bool = False,
    progress: Progress = lambda _table, _rows: None,
) -> dict[str, Any]:
    """Write the download at `path` as a source directory; returns the report, which is also written beside the tables.

    Raises LayoutError if the files do not have the importer's layout, ValueError for an option that does not apply, or
    for an `out` that may not be replaced.
    """
    found, config = IMPORTERS[name], config or ImportConfig()
    if config.threshold is not None and found.threshold is None:
        raise ValueError(f"{name} has no ratings, so a threshold of {config.threshold} does not apply; leave it out")
    if not path.exists():
        raise LayoutError(f"{path}: no such file or folder")
    config = replace(config, threshold=found.threshold if config.threshold is None else config.threshold)
    with _replaced_atomically(out, overwrite) as folder, SourceWriter(folder, config.memory_mb, progress) as source:
        if config.images is not None:
            source.take_pictures(config.images)
        try:
            found.read(path, source, config)
            accounts = source.finish()
        except FileNotFoundError as error:
            raise LayoutError(f"{error.filename}: no such file; {name} reads {found.doc}") from error
        except LayoutError as error:
            raise error if str(path) in str(error) else LayoutError(f"{path}: {error}") from error
        report = {"importer": name, "threshold": config.threshold, **accounts}
        (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n")
    return report


def favorites(
    rows: pl.DataFrame, user: str, image: str, at: str | None = None, rating: str | None = None, threshold: float = 0
) -> pl.DataFrame:
    """Rows of the table favorites, and the reason to leave one out: an unreadable time or rating, or a low rating."""
    reasons, columns = [pl.lit(None, pl.String)], {"user_id": pl.col(user), "image_id": pl.col(image)}
    if at is not None:
        columns["favorited_at"] = seconds(at)
        reasons.append(pl.when(is_given(at) & seconds(at).is_null()).then(pl.lit("unreadable time")))
    if rating is not None:
        number = pl.col(rating).cast(pl.Float64, strict=False)
        reasons.append(pl.when(~number.is_finite().fill_null(False)).then(pl.lit("unreadable rating")))
        reasons.append(pl.when(~(number >= threshold)).then(pl.lit(f"rating below {threshold:g}")))
    return rows.select(**columns, left_out=pl.coalesce(reasons))


def assignments(rows: pl.DataFrame, user: str, image: str, tag: str, at: str | None = None) -> pl.DataFrame:
    """Rows of the table tag_assignments; one with an unreadable time is left out with that reason."""
    columns = {"user_id": pl.col(user), "image_id": pl.col(image), "tag": pl.col(tag)}
    reason = pl.lit(None, pl.String)
    if at is not None:
        columns["tagged_at"] = seconds(at)
        reason = pl.when(is_given(at) & seconds(at).is_null()).then(pl.lit("unreadable time"))
    return rows.select(**columns, left_out=reason)


def tags(rows: pl.DataFrame, image: str, cell: str, separator: str) -> pl.DataFrame:
    """Rows of the table image_tags from cells that hold several tags; a blank cell holds none."""
    tagged = rows.filter(is_given(cell)).select(image_id=image, tag=pl.col(cell).str.split(separator))
    return tagged.explode("tag").filter(is_given("tag"))


@contextmanager
def _replaced_atomically(out: Path, overwrite: bool) -> Iterator[Path]:
    """A folder that becomes `out` if the block succeeds, and is deleted if it fails."""
    if out.parts[0] == "s3:":
        raise ValueError(f"{out}: an import writes to a local folder; name one, and copy it to the store afterwards")
    out = out.resolve()
    _refuse_to_replace(out, overwrite)
    folder, replaced = (out.parent / f".{out.name}.{state}" for state in ("importing", "replaced"))
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        try:
            _empty(folder)  # leftovers of a killed import
            yield folder
            _refuse_to_replace(out, overwrite)
            if out.exists():
                shutil.rmtree(replaced, ignore_errors=True)
                out.rename(replaced)
            folder.rename(out)
        finally:
            for left in (folder, replaced):
                shutil.rmtree(left, ignore_errors=True)


def _refuse_to_replace(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise ValueError(f"{out}: it exists already; name another folder, or add --overwrite")
    if not (out / REPORT).is_file():  # a typing error must not delete a home folder
        raise ValueError(
            f"{out}: it has no {REPORT}, so no import wrote it; remove it yourself, or name another folder"
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder for one import; a kernel lock, released if its process dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ValueError(f"{folder}: another import into this place is running; wait until it ends") from error
    finally:
        os.close(handle)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
