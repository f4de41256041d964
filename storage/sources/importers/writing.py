"""Write the tables of a source directory from rows that come in any order, in bounded memory.

DuckDB holds the rows on disk, where it can sort and join more than fits into memory. Rows that are left out are counted
by reason, so that for each table rows read + rows named elsewhere = rows kept + rows left out.
"""

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from storage.parquet import ROW_GROUP_ROWS
from storage.sources.importers import reading
from storage.sources.importers.reading import LayoutError
from storage.sources.rules import FIRST_SECOND, LAST_SECOND, REFERENCES
from storage.tables.community import COMMUNITY, IMAGE_FEATURES
from storage.tables.schema import TIME, VECTOR, Table
from storage.tables.splits import CONCEALED

SPLITS = ("official_val", "official_test")
TABLES = {
    table.name: table
    for table in (*COMMUNITY, *(replace(CONCEALED, name=name) for name in SPLITS))
    if table is not IMAGE_FEATURES  # written from arrays: `Features`
}
NAMING_USERS = ("favorites", "user_tags", "tag_assignments", "contacts", "memberships", *SPLITS)
NAMING_IMAGES = ("favorites", *SPLITS)
FEATURES_SUFFIX = "_features"
FEATURE_ROWS = 8192  # of features in a row group: a thousand numbers each are 32 MiB
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
PICTURES = "images"  # the folder of pictures below the source directory
WORK = ".work"  # working folder below it during the import
SQL_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT", TIME: "BIGINT"}
MERGED = {"user_tags": "added to a count"}  # reason for rows merged into another row
REPEATED = {  # as the ingest merges rows of one key
    "favorited_at": "min(favorited_at)",
    "tagged_at": "min(tagged_at)",
    "count": "sum(count)::BIGINT",
}

Progress = Callable[[str, int], None]  # called after each batch with the table's name and the rows read of it so far


@dataclass(frozen=True, eq=False)
class Features:
    """Ready-made features: row n of the numbers belongs to the nth id."""

    name: str  # image, or of another kind, as text or audio
    key: Literal["image_id", "user_id"]
    ids: Sequence[str]
    numbers_ND: np.ndarray  # may be a memory map; a row that is not finite is left out
    num_unreadable: int = 0  # rows of its file that could not be parsed


class SourceWriter:
    """An unfinished source directory: `add` takes rows, `finish` writes the files."""

    def __init__(self, folder: Path, memory_mb: int, progress: Progress) -> None:
        self.folder, self._progress = folder, progress
        self.names_images = False  # whether images that only favorites or official splits name are added
        self._notes: Counter[str] = Counter()
        self._read: Counter[str] = Counter()
        self._left_out: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._columns: defaultdict[str, set[str]] = defaultdict(set)  # columns of each table that some rows have
        self._features: dict[str, Features] = {}  # by table name
        self._pictures: dict[str, tuple[int, str, Path]] = {}  # by image id: suffix, path below the folder, file
        (folder / WORK).mkdir()
        self._rows = duckdb.connect(
            folder / WORK / "rows.duckdb",
            config={"memory_limit": f"{memory_mb}MB", "temp_directory": str(folder / WORK / "spilled"), "threads": 2},
        )
        self._rows.execute("SET preserve_insertion_order = false")  # costs memory, and `row` holds the order
        self._rows.begin()
        for name, table in TABLES.items():
            columns = ", ".join(f"{field.name} {SQL_TYPES[field.type]}" for field in table.schema)
            self._rows.execute(f"CREATE TABLE {name} ({columns}, left_out VARCHAR, row BIGINT)")
        self._rows.commit()

    def __enter__(self) -> "SourceWriter":
        return self

    def __exit__(self, *_error: object) -> None:
        self._rows.close()

    def rows(self, name: str, file: Path, wanted: Sequence[str], **how: Any) -> Iterator[pl.DataFrame]:
        """The rows of a text file (`reading.rows`); those that cannot be parsed count as left out of table `name`."""
        yield from reading.rows(
            file,
            wanted,
            lambda count: self.leave_out(name, "unreadable row", count),
            lambda count: self.note(f"lines of {file.name} that are no UTF-8, read as Latin-1", count),
            **how,
        )

    def add(self, name: str, rows: pl.DataFrame) -> None:
        """Add rows of a table, with the columns that the layout has.

        A column `left_out` holds the reason to leave a row out, null to keep it. Times are epoch seconds.
        Rows without an id, with a time outside the calendar, or of a user who follows themselves are left out too.
        """
        table = TABLES[name]
        fields = [field for field in table.schema if field.name in rows.columns]
        given = pl.col("left_out") if "left_out" in rows.columns else pl.lit(None, pl.String)
        frame = rows.select(*map(_cell, fields), left_out=given).select(
            *(field.name for field in fields),
            left_out=pl.coalesce("left_out", *_reasons(table, [field.name for field in fields])),
            row=self._read[name] + pl.int_range(pl.len()),
        )
        self._rows.register("batch", frame.to_arrow())
        self._rows.execute(f"INSERT INTO {name} BY NAME SELECT * FROM batch")
        self._rows.unregister("batch")
        self._columns[name] |= {field.name for field in fields}
        self._read[name] += len(rows)
        self._progress(name, self._read[name])

    def add_features(self, features: Features) -> None:
        """Add the features of images or users, one kind each; they are written when the source is finished.

        `image` becomes the table image_features. Features of another name, and those of users, become a file of the
        same form beside it, which is no table of the contract.
        """
        table = features.name + FEATURES_SUFFIX
        if table in self._features:
            raise LayoutError(f"two sets of features are called {features.name}; keep one of them")
        self._features[table] = features
        self._progress(table, len(features.ids))

    def leave_out(self, name: str, reason: str, count: int = 1) -> None:
        """Count rows of a table that cannot be added."""
        if count:
            self._read[name] += count
            self._left_out[name][reason] += count

    def note(self, what: str, count: int = 1) -> None:
        """Count something for the report that is no row of a table."""
        if count:
            self._notes[what] += count

    def take_pictures(self, folder: Path) -> None:
        """Use every file below a folder that is named by an image's id as that image's picture.

        A link out of the folder is ignored: a download must not import other files of this machine.
        """
        if not folder.is_dir():
            raise LayoutError(f"{folder}: no such folder of pictures")
        inside = folder.resolve()
        for place, _folders, names in os.walk(inside):
            for file in (Path(place, name) for name in names):
                if (suffix := file.suffix.lower()) not in PICTURE_SUFFIXES or "\\" in file.name:
                    continue
                if not file.is_file() or not file.resolve().is_relative_to(inside):
                    self.note("pictures that are no files, or links out of their folder")
                    continue
                found = (PICTURE_SUFFIXES.index(suffix), file.relative_to(inside).as_posix(), file)
                self._pictures[file.stem] = min(found, self._pictures.get(file.stem, found))

    def finish(self) -> dict[str, Any]:
        """Write the files; returns each table's counts for the report. Raises LayoutError if no favorite is kept."""
        self._columns["images"].add("image_id")
        named = {"images": self._add_named("images", NAMING_IMAGES if self.names_images else ())}
        if "users" in self._columns:
            named["users"] = self._add_named("users", NAMING_USERS)
        self._leave_out_dangling()
        accounts = {
            name: self._write(table, named.get(name, 0)) for name, table in TABLES.items() if name in self._columns
        }
        if not accounts.get("favorites", {}).get("kept"):
            reasons = accounts.get("favorites", {}).get("left_out", {})
            raise LayoutError(
                f"no favorite is left ({_listed(reasons) or 'none was read'}); check that it is the right download"
            )
        accounts |= {name: self._write_features(name, features) for name, features in self._features.items()}
        self._rows.close()
        shutil.rmtree(self.folder / WORK)
        return {"tables": accounts, "notes": dict(sorted(self._notes.items()))}

    def _add_named(self, name: str, naming: Sequence[str]) -> int:
        """Add to a table the ids that only other tables name; returns their number."""
        key = TABLES[name].key[0]
        ids = {
            f"SELECT {column} AS id FROM {other}"
            for other in naming
            for column in ({key, "contact_id"} if name == "users" else {key})
            if column in TABLES[other].schema.names
        }
        if not ids:
            return 0
        (added,) = self._one(
            f"INSERT INTO {name} ({key}, row) SELECT id, {self._read[name]} FROM ({' UNION '.join(sorted(ids))}) "
            f"WHERE id IS NOT NULL AND id NOT IN (SELECT {key} FROM {name} WHERE left_out IS NULL)"
        )
        return int(added)

    def _leave_out_dangling(self) -> None:
        """Leave out rows that refer to a missing image or group; missing users are added instead."""
        for name in TABLES:
            for column, target in REFERENCES.get(name, {}).items():
                if target == "images" or (target == "groups" and "groups" in self._columns):
                    self._rows.execute(
                        f"UPDATE {name} SET left_out = 'no such {target[:-1]}' WHERE left_out IS NULL "
                        f"AND {column} NOT IN (SELECT {column} FROM {target} WHERE left_out IS NULL)"
                    )

    def _write(self, table: Table, named: int) -> dict[str, Any]:
        """Write one table's file, sorted by key, each key once; returns its counts for the report."""
        name, key = table.name, ", ".join(table.key)
        fields = [field for field in table.schema if field.name in self._columns[name]]
        if name == "images" and self._pictures:
            fields = [field for field in table.schema if field in fields or field.name == "path"]
        values = [f"{_value(field.name)} AS {field.name}" for field in fields if field.name not in table.key]
        query = f"SELECT {', '.join([key, *values])} FROM {name} WHERE left_out IS NULL GROUP BY {key} ORDER BY {key}"
        schema = pa.schema([pa.field(field.name, field.type) for field in fields])
        kept = 0
        with pq.ParquetWriter(self.folder / f"{name}.parquet", schema, compression="zstd") as writer:
            for rows in _row_groups(self._rows.sql(query).to_arrow_reader(ROW_GROUP_ROWS)):
                kept += len(rows)
                writer.write_table(self._with_pictures(rows, name).cast(schema), ROW_GROUP_ROWS)
        left_out = self._left_out[name] + Counter(
            dict(
                self._rows.sql(
                    f"SELECT left_out, count(*) FROM {name} WHERE left_out IS NOT NULL GROUP BY 1"
                ).fetchall()
            )
        )
        left_out[MERGED.get(name, "repeated")] = self._read[name] + named - kept - left_out.total()
        return {
            "read": self._read[name],
            "named_elsewhere": named,
            "kept": kept,
            "left_out": dict(sorted((+left_out).items())),
        }

    def _write_features(self, name: str, features: Features) -> dict[str, Any]:
        """Write one file of features, sorted by id, each id once; returns its counts for the report."""
        key, target = features.key, "images" if features.key == "image_id" else "users"
        reasons = np.zeros(len(features.ids), np.int8)
        for start in range(0, len(reasons), FEATURE_ROWS):
            part = slice(start, start + FEATURE_ROWS)
            with np.errstate(over="ignore"):
                numbers = features.numbers_ND[part].astype(np.float32)
            reasons[part] = np.where(np.isfinite(numbers).all(axis=1), 0, 1)
        ids = np.array(features.ids, object)
        if target in self._columns:  # there may be no list of users
            known = {row[0] for row in self._rows.sql(f"SELECT {key} FROM {target} WHERE left_out IS NULL").fetchall()}
            reasons[[id_ not in known for id_ in ids]] = 2
        order = np.array(sorted(np.flatnonzero(reasons == 0), key=lambda row: ids[row]), np.int64)
        is_first = np.append(True, ids[order][1:] != ids[order][:-1]) if len(order) else np.array([], bool)
        kept = order[is_first]
        schema = pa.schema([pa.field(key, pa.string()), pa.field("feature", VECTOR)])
        with pq.ParquetWriter(self.folder / f"{name}.parquet", schema, compression="zstd") as writer:
            for start in range(0, len(kept), FEATURE_ROWS):
                rows = kept[start : start + FEATURE_ROWS]
                numbers = features.numbers_ND[rows].astype(np.float32)
                starts = np.arange(len(rows) + 1, dtype=np.int32) * numbers.shape[1]
                lists = pa.ListArray.from_arrays(pa.array(starts), pa.array(numbers.ravel()))
                writer.write_table(pa.table([pa.array(ids[rows].tolist(), pa.string()), lists], schema=schema))
        left_out = {
            "bad feature": int((reasons == 1).sum()),
            f"no such {target[:-1]}": int((reasons == 2).sum()),
            "repeated": len(order) - len(kept),
            "unreadable row": features.num_unreadable,
        }
        if name != IMAGE_FEATURES.name:
            self.note(f"{target} with features in {name}.parquet, which is no table of the contract", len(kept))
        return {
            "read": len(ids) + features.num_unreadable,
            "named_elsewhere": 0,
            "kept": len(kept),
            "left_out": {reason: count for reason, count in sorted(left_out.items()) if count},
        }

    def _with_pictures(self, rows: pa.Table, name: str) -> pa.Table:
        """Rows of images with the paths of their pictures, which are linked or copied; other rows unchanged."""
        if name != "images" or not self._pictures:
            return rows
        paths: list[str | None] = []
        given = rows["path"].to_pylist()
        for image_id, path in zip(rows["image_id"].to_pylist(), given, strict=True):
            if path is None and image_id in self._pictures:
                _, below, file = self._pictures[image_id]
                path = f"{PICTURES}/{below}"
                _place(file, self.folder / path)
            paths.append(path)
        return rows.set_column(rows.column_names.index("path"), "path", pa.array(paths, pa.string()))

    def _one(self, query: str) -> tuple[Any, ...]:
        row = self._rows.execute(query).fetchone()
        assert row is not None
        return row


def _listed(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items())


def _value(column: str) -> str:
    """SQL for a column of rows that share a key: by its rule, else the first value that is not null."""
    return REPEATED.get(column, f"arg_min({column}, row)")


def _cell(field: pa.Field) -> pl.Expr:
    """A column in its table's type; blank ids and texts become null, tags lower case with single spaces."""
    column = pl.col(field.name)
    if field.type != pa.string():
        return column.cast(pl.Int64)
    column = column.cast(pl.String)
    if field.name == "tag":
        column = column.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    return pl.when(column.str.strip_chars() != "").then(column).alias(field.name)


def _reasons(table: Table, columns: Sequence[str]) -> Iterator[pl.Expr]:
    for name in table.key:
        yield pl.when(pl.col(name).is_null()).then(pl.lit("missing tag" if name == "tag" else "missing id"))
    if "contact_id" in table.key:
        yield pl.when(pl.col("user_id") == pl.col("contact_id")).then(pl.lit("self reference"))
    for name in columns:
        if table.schema.field(name).type == TIME:
            outside = ~pl.col(name).is_between(FIRST_SECOND, LAST_SECOND)
            yield pl.when(outside).then(pl.lit("unreadable time"))


def _row_groups(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """The rows in tables of one size, except the last, so that equal rows give equal files."""
    pending, rows = [], 0
    for batch in batches:
        pending.append(batch)
        rows += batch.num_rows
        while rows >= ROW_GROUP_ROWS:
            table = pa.Table.from_batches(pending)
            yield table.slice(0, ROW_GROUP_ROWS)
            pending, rows = table.slice(ROW_GROUP_ROWS).to_batches(), rows - ROW_GROUP_ROWS
    if rows:
        yield pa.Table.from_batches(pending)


def _place(file: Path, target: Path) -> None:
    """Put a picture at its path: a hard link, which costs no space, or a copy if the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file.resolve(), target)
    except OSError:
        shutil.copyfile(file, target)
