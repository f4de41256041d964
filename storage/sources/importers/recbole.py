"""RecBole's atomic files: NAME.inter, .item, .user, .net, .itememb and .useremb, whose header names typed fields."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from storage.sources.importers import reading
from storage.sources.importers.base import ImportConfig, favorites, importer
from storage.sources.importers.reading import LayoutError, columns_of, is_given
from storage.sources.importers.writing import SPLITS, Features, SourceWriter

TAB = {"delimiter": "\t", "quoted": False}
PARTS = {"train": (), "valid": ("official_val",), "test": ("official_test",)}  # parts of a benchmark's own split
RATINGS = ("rating", "stars", "label")
TITLE = re.compile(r"(^|_)(title|name)$")
PROSE = re.compile("title|name|review|description|summary|text|address|city|url")  # word sequences that are not tags
TAG_TOKENS = ("category", "genre", "brand")  # single tokens that are tags
TAGS_OF_USERS = re.compile("^tags?(_|$)")  # in .inter: the user's tags for the item
VISUAL = re.compile(r"^v_|(^|_)(image|img|picture|photo|poster|cover|thumbnail|visual|vis)(_|$)")
ENDING = re.compile(r"(_?(feat|feature|emb|embedding|vec|vector)s?)+$")  # of a feature's name, with nothing to say
AROUND = " '\"[]"  # stripped from a tag of a list in Python's notation


@dataclass(frozen=True)
class Atomic:
    """One file and its fields in order, name and type."""

    file: Path
    fields: dict[str, str]

    def named(self, *names: str) -> str | None:
        return next((name for name in names if name in self.fields), None)

    def column(self, field: str) -> str:
        return f"{field}:{self.fields[field]}"


@importer("recbole", threshold=4.0)
def read(folder: Path, source: SourceWriter, config: ImportConfig) -> None:
    """RecBole's atomic files of one data set, with its own split if there are NAME.train, .valid and .test.inter."""
    source.names_images = True  # not every item has features
    item = _atomic(folder, "item")
    for file, splits in _interactions(folder):
        _favorites(_fields(file), item, splits, source, config)
    if item is not None:
        _items(item, source)
    if (user := _atomic(folder, "user")) is not None:
        key = user.column(user.named("user_id") or next(iter(user.fields)))
        for rows in source.rows("users", user.file, (key,), **TAB):
            source.add("users", rows.select(user_id=key))
    if (net := _atomic(folder, "net")) is not None:
        follower, followed = map(net.column, list(net.fields)[:2])
        for rows in source.rows("contacts", net.file, (follower, followed), **TAB):
            source.add("contacts", rows.select(user_id=follower, contact_id=followed))
    _features([item, _atomic(folder, "itememb")], "image_id", source)
    _features([user, _atomic(folder, "useremb")], "user_id", source)


def _interactions(folder: Path) -> list[tuple[Path, Sequence[str]]]:
    """The files of interactions, each with the splits that its rows belong to."""
    files = sorted(folder.glob("*.inter"))
    parts = {file.name.split(".")[-2]: file for file in files}
    if set(parts) == set(PARTS):
        return [(parts[part], splits) for part, splits in PARTS.items()]
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise LayoutError(
            f"{folder}: one file NAME.inter is needed, or NAME.train.inter, NAME.valid.inter and NAME.test.inter "
            f"(found {found}); name the folder of one data set"
        )
    return [(files[0], ())]


def _favorites(
    inter: Atomic, item: Atomic | None, splits: Sequence[str], source: SourceWriter, config: ImportConfig
) -> None:
    user = inter.named("user_id", "session_id") or next(iter(inter.fields))
    shared = [name for name in inter.fields if item and name in item.fields]  # artist_id, business_id, ...
    others = [name for name, type_ in inter.fields.items() if type_ == "token" and name != user]
    image = inter.named("item_id", *shared, *others)
    if image is None:
        raise LayoutError(f"{inter.file}: no field is an item's id (found {', '.join(inter.fields)})")
    rating, at = inter.named(*RATINGS), inter.named("timestamp")
    tag_field = next((name for name in inter.fields if TAGS_OF_USERS.match(name)), None)
    columns = {name: inter.column(name) for name in (user, image, rating, at, tag_field) if name}
    threshold = 1.0 if rating == "label" else config.threshold or 0
    for table in splits or ("favorites",):
        for rows in source.rows(table, inter.file, tuple(columns.values()), **TAB):
            rows = rows.rename({column: name for name, column in columns.items()})
            kept = favorites(rows, user, image, at, rating, threshold)
            if table in SPLITS:
                source.add(table, kept.drop("favorited_at", strict=False))
            if table != "official_test":  # validation rows are also favorites; test rows never are
                source.add("favorites", kept)
            if tag_field and table != "official_test":
                _tags_of_users(rows, user, image, tag_field, inter, source)


def _tags_of_users(rows: pl.DataFrame, user: str, image: str, cell: str, inter: Atomic, source: SourceWriter) -> None:
    """Tags that users gave items, as tags of both."""
    for tagged in _sequences(rows, [user, image], cell, inter):
        source.add("image_tags", tagged.select("tag", image_id=image))
        source.add("user_tags", tagged.select("tag", user_id=user, count=1))


def _items(item: Atomic, source: SourceWriter) -> None:
    """Titles, and as tags every field that is a list of words but not prose."""
    key = item.named("item_id", "id") or next(iter(item.fields))
    title = next((name for name in item.fields if TITLE.search(name)), None)
    tag_fields = [
        name
        for name, type_ in item.fields.items()
        if name != key and (name in TAG_TOKENS if type_ == "token" else type_ == "token_seq" and not PROSE.search(name))
    ]
    columns = {name: item.column(name) for name in dict.fromkeys((key, *([title] if title else []), *tag_fields))}
    for rows in source.rows("images", item.file, tuple(columns.values()), **TAB):
        rows = rows.rename({column: name for name, column in columns.items()})
        source.add("images", rows.select(image_id=key, **({"title": pl.col(title)} if title else {})))
        for cell in tag_fields:
            for tagged in _sequences(rows, [key], cell, item):
                source.add("image_tags", tagged.select("tag", image_id=key))


def _sequences(rows: pl.DataFrame, ids: list[str], cell: str, atomic: Atomic) -> Iterator[pl.DataFrame]:
    """A row for each tag, in cells divided at commas where there are any, else at spaces: RecBole's files do either."""
    given = rows.filter(is_given(cell))
    if atomic.fields[cell] == "token":
        parts = pl.concat_list(cell)
    else:
        by_comma = pl.col(cell).str.contains(",", literal=True).any()
        parts = pl.when(by_comma).then(pl.col(cell).str.split(",")).otherwise(pl.col(cell).str.split(" "))
    tagged = given.select(*ids, tag=parts).explode("tag").with_columns(pl.col("tag").str.strip_chars(AROUND))
    yield tagged.filter(is_given("tag"))


def _features(files: Sequence[Atomic | None], key: Literal["image_id", "user_id"], source: SourceWriter) -> None:
    """The fields of type float_seq. Of images the one that is called visual, else the first, is the contract's."""
    fields = [
        (atomic, field) for atomic in files if atomic for field, type_ in atomic.fields.items() if type_ == "float_seq"
    ]
    visual = next((field for field in fields if VISUAL.search(field[1])), fields[0] if fields else None)
    taken: set[str] = set()
    for field in fields:
        atomic, name = field
        kind = "image" if key == "image_id" and field == visual else re.sub(r"\W+", "_", ENDING.sub("", name) or name)
        kind = re.sub(r"\W+", "_", name) if kind in taken or (kind == "image" and field != visual) else kind
        taken.add(kind)
        id_ = atomic.named("item_id" if key == "image_id" else "user_id") or next(iter(atomic.fields))
        ids, numbers_ND, num_broken = _vectors(atomic, id_, name)
        source.add_features(Features(kind, key, ids, numbers_ND, num_broken))


def _vectors(atomic: Atomic, id_: str, field: str) -> tuple[list[str], np.ndarray, int]:
    """Ids, float32 (N, D), and the number of rows that could not be parsed. A cell of another length than most is nan.

    Rows without a cell are left out: not every item has features.
    """
    broken: list[int] = []
    columns = (atomic.column(id_), atomic.column(field))
    cells_of_row = pl.col(columns[1]).str.extract_all(r"[^\s,\[\]]+")
    parts = [
        rows.filter(is_given(columns[1])).select(
            id=columns[0], numbers=cells_of_row.list.eval(pl.element().cast(pl.Float32, strict=False))
        )
        for rows in reading.rows(atomic.file, columns, broken.append, lambda _count: None, delimiter="\t", quoted=False)
    ]
    cells = pl.concat(parts) if parts else pl.DataFrame(schema={"id": pl.String, "numbers": pl.List(pl.Float32)})
    length = pl.col("numbers").list.len()
    usual = cells.select(length.mode().max()).item() or 0
    numbers_ND = np.full((len(cells), usual), np.nan, np.float32)
    if usual:
        is_usual = cells.select(length == usual).to_series().to_numpy()
        whole = cells["numbers"].filter(pl.Series(is_usual)).explode()
        numbers_ND[is_usual] = whole.fill_null(np.nan).to_numpy().reshape(-1, usual)
    return cells["id"].fill_null("").to_list(), numbers_ND, sum(broken)


def _atomic(folder: Path, kind: str) -> Atomic | None:
    files = sorted(folder.glob(f"*.{kind}"))
    if len(files) > 1:
        raise LayoutError(
            f"{folder}: {', '.join(file.name for file in files)}; keep the files of one data set in a folder"
        )
    return _fields(files[0]) if files else None


def _fields(file: Path) -> Atomic:
    cells = columns_of(file, "\t")
    if wrong := [cell for cell in cells if ":" not in cell]:
        raise LayoutError(f"{file}: the header names {wrong[0]!r} without a type, as in user_id:token")
    return Atomic(file, dict(cell.rsplit(":", 1) for cell in cells))
