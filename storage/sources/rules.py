"""The rules for a source's rows: typed columns, and for each bad row the first rule that it breaks."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import polars as pl
import pyarrow as pa

from storage.settings.directory import EVENT_WEIGHTS
from storage.sources.reading import SHOWN_CHARACTERS, UnfitFileError
from storage.tables.community import QUARANTINE
from storage.tables.schema import TIME, VECTOR, Table
from storage.tombstones import NAMED_IN

TYPES: dict[pa.DataType, pl.DataType] = {
    pa.string(): pl.String(),
    pa.int64(): pl.Int64(),
    pa.float64(): pl.Float64(),
    TIME: pl.Datetime("ms", "UTC"),  # polars has no unit of a second; the values are whole seconds
    VECTOR: pl.List(pl.Float32),
}
EARLIEST = {"favorites": "favorited_at", "tag_assignments": "tagged_at"}  # of rows with one key, the one that is kept
REFERENCES = {
    "favorites": {"user_id": "users", "image_id": "images"},
    "image_tags": {"image_id": "images"},
    "user_tags": {"user_id": "users"},
    "tag_assignments": {"user_id": "users", "image_id": "images"},
    "contacts": {"user_id": "users", "contact_id": "users"},
    "memberships": {"user_id": "users", "group_id": "groups"},
    "image_features": {"image_id": "images"},
    "blocked_images": {"image_id": "images"},
    "user_blocks": {"user_id": "users"},  # whom they block need not be a user, as an image's owner need not
    "user_mutes": {"user_id": "users"},
    "hides": {"user_id": "users", "image_id": "images"},
    "events": {"user_id": "users", "image_id": "images"},
}
HIDE = "hide"  # the event that makes no favorite of an image, whatever else happened
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799  # years 1 to 9999
SHOWN_CELL = 100  # characters of each cell of a row in quarantine
LATEST = 2**63 - 1  # in place of a missing time where the earliest is sought
MOST_USES = 2**53  # integers up to this are exact in a float column
AS_WRITTEN = ("id", "name", "title", "path")  # keep surrounding white space, as ids do

NO_TEXT = r"\N"  # what MySQL and PostgreSQL write for a missing value
NO_VALUES = ("NULL", "null", "None", "NaN", "nan", "<NA>", "NaT")  # the same of others; an id or a tag may be one
ADDRESS = "(?i)^https?://"  # how a path begins that is to be fetched
NEVER_WORDS = ("url", "count", "weight")

ISO_8601 = (  # extended and basic: 2024-02-29T12:30:00Z, 20240229T123000Z
    r"(?i)^(?P<date>\d{4}-\d\d-\d\d|\d{8})"
    r"(?:[t ](?P<minute>\d\d:?\d\d)(?::?(?P<second>\d\d)(?:[.,]\d+)?)?"  # fractions of a second are dropped
    r"\s?(?:z|utc|(?P<zone_hours>[+-]\d\d):?(?P<zone_minutes>\d\d)?)?)?$"
)
# Of the ways to write a time that Arrow reads exactly as we do, and five times as fast, the only one of each length.
ARROW_TIMES = {19: pa.timestamp("s"), 20: pa.timestamp("s", "UTC")}
DAYS = (1900_01_01, 2100_12_31)  # a number between is a day written as YYYYMMDD, and no second of August 1970
# Numbers that may be a year, a month or a minute (YYYY, YYYYMM, YYYYMMDDhhmm): neither that nor seconds for certain.
YEARS, MONTHS, MINUTES = (1900, 2100), (1900_01, 2100_12), (1900_01_01_00_00, 2100_12_31_23_59)
# Of floating-point numbers: from 2 to this power on, whole numbers are missing.
EXACT_BITS: dict[pl.DataType, int] = {pl.Float16(): 11, pl.Float32(): 24, pl.Float64(): 53}


_vocabularies = count()


@dataclass(frozen=True, eq=False)
class Words:
    """A column's distinct texts, each held once: a table's rows then take four bytes a text."""

    type: pl.Categorical
    held: pl.Series  # polars forgets the texts with the last series of this type
    known: int | None = None  # the texts that exist in the table referred to are the first so many

    @classmethod
    def of(cls, ids: pl.Series | None = None) -> "Words":
        """A vocabulary that begins with these ids, to which no other may be added; or one for any text."""
        type_ = pl.Categorical(pl.Categories(f"{next(_vocabularies)}", "tastegraph.sources"))
        held = pl.Series([], dtype=type_) if ids is None else ids.cast(type_)
        return cls(type_, held, None if ids is None else len(ids))


@dataclass(frozen=True)
class Rule:
    """A reason for quarantine, which rows break the rule, and the value to show."""

    reason: str
    broken: pl.Expr
    value: pl.Expr


def frame_schema(table: Table) -> dict[str, pl.DataType]:
    """The table's columns as polars types."""
    return {field.name: TYPES[field.type] for field in table.schema}


def words_of(table: Table, ids: Mapping[str, pl.Series]) -> dict[str, Words]:
    """Vocabularies for a table's ids and tags, by column. `ids` are the distinct ids that exist, by table."""
    targets = REFERENCES.get(table.name, {})
    names = dict.fromkeys([*(table.key if len(table.key) > 1 else ()), *targets])
    return {name: Words.of(ids.get(targets.get(name, ""))) for name in names}


def check(
    rows: pl.LazyFrame, table: Table, words: Mapping[str, Words], max_text_bytes: int, *, fetches: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The valid rows (typed, with `row`), and the bad ones (row, reason, value, text).

    `words`, from `words_of`, hold the columns of that name, which come as categories; rows of one table may be checked
    part by part with the same words. With `fetches` a path may be an address. A reference to a table that is missing is
    not checked. A row that breaks several rules gets the first one's reason. Raises ValueError for a column whose type
    cannot be read at all.
    """
    types, schema = rows.collect_schema(), frame_schema(table)
    times = [name for name, type_ in schema.items() if type_ == pl.Datetime]
    rules = list(_rules(table, words, types, max_text_bytes, fetches))
    # Each step uses columns of the previous one: an expression that is used twice may be computed twice.
    checked = (
        rows.select(
            "row",
            **{f"cell_{name}": cell_of(name, types.get(name), name in times) for name in schema},
            **{f"inexact_{name}": _is_inexact(name, types.get(name)) for name in schema if schema[name] == pl.String},
        )
        .with_columns(**{name: _typed(name, type_, types.get(name)) for name, type_ in schema.items()})
        .with_columns(
            *(_time(name) for name in times), **{f"word_{name}": pl.col(name).cast(words[name].type) for name in words}
        )
        .with_columns(usual_length=_usual_length() if "feature" in schema else pl.lit(None))
        .with_columns(rule=_first(rules, [pl.lit(place, pl.UInt8) for place in range(len(rules))]))
    )
    shown = [pl.when(pl.col("rule") == place).then(rule.value) for place, rule in enumerate(rules)]
    kept, broken = pl.collect_all(
        [
            checked.filter(pl.col("rule").is_null()).select(
                "row", *(pl.col(f"word_{name}").alias(name) if name in words else name for name in schema)
            ),
            checked.filter(pl.col("rule").is_not_null()).select(
                "row",
                reason=pl.col("rule").replace_strict(
                    dict(enumerate(rule.reason for rule in rules)), return_dtype=pl.String
                ),
                value=pl.coalesce(shown).str.slice(0, SHOWN_CHARACTERS),
                text=_row_text(schema, types),
            ),
        ],
        engine="streaming",
    )
    return kept, broken


def merge(frames: list[pl.DataFrame], table: Table) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows sorted by key, each key once, and later rows of an id whose values differ from its first row.

    Favorites and tag assignments keep the earliest time, user_tags the sum of their counts, other tables the first row.
    The list of frames is emptied, so that nothing else holds them in memory.
    """
    none = pl.DataFrame(schema={"row": pl.UInt32, **dict.fromkeys(("reason", "value", "text"), pl.String)})
    return (_merge_pairs(frames, table), none) if len(table.key) > 1 else _merge_ids(together(frames), table, none)


def together(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """The rows of all frames, with text in place of categories; the list is emptied."""
    rows = pl.concat(frames)
    frames.clear()
    return rows.with_columns(pl.col(pl.Categorical).cast(pl.String))


def _merge_pairs(frames: list[pl.DataFrame], table: Table) -> pl.DataFrame:
    # Texts are compared once for each distinct one, and rows by their places: with ten million rows this takes a sixth
    # of the time and a third of the memory of sorting the texts. What is done with is freed at once.
    rows = pl.concat(frames).select(list(frame_schema(table)))
    frames.clear()
    ranked = [_ranked(rows[name]) for name in table.key]
    texts, codes = [text for text, _ in ranked], [code for _, code in ranked]
    del ranked
    order = _order(codes, [len(text) for text in texts])
    is_first = np.zeros(len(order), bool)
    is_first[:1] = True
    for code in codes:
        in_order = code[order]
        is_first[1:] |= in_order[1:] != in_order[:-1]
    repeats = order[~is_first]
    of_repeats = np.flatnonzero(~is_first) - np.arange(1, len(repeats) + 1)  # the place in `firsts` that each repeats
    firsts = order[is_first]
    del order, is_first, in_order, code
    columns = {}
    for name, type_ in frame_schema(table).items():
        if name not in table.key:
            columns[name] = _merged(rows[name], firsts, repeats, of_repeats, name == EARLIEST.get(table.name), type_)
    del rows
    for name, text in zip(table.key, texts, strict=True):
        columns[name] = text.gather(pl.Series(codes.pop(0)[firsts]))
    return pl.DataFrame({name: columns[name] for name in frame_schema(table)})


def _merged(
    column: pl.Series,
    firsts: np.ndarray,
    repeats: np.ndarray,
    of_repeats: np.ndarray,
    is_time: bool,
    type_: pl.DataType,
) -> pl.Series:
    """The earliest time, or the sum, of the rows of each key."""
    values = column.to_physical().fill_null(LATEST if is_time else 0).to_numpy()
    merged = values[firsts]
    (np.minimum if is_time else np.add).at(merged, of_repeats, values[repeats])
    found = pl.Series(merged)
    return (found.set(found == LATEST, None) if LATEST in found else found).cast(type_)


def _order(codes: Sequence[np.ndarray], sizes: Sequence[int]) -> np.ndarray:
    """uint32: the order of rows by their codes, each below the size of its column; equal rows in any order."""
    if math.prod(sizes) >= 2**64:
        return np.lexsort(codes[::-1]).astype(np.uint32)
    key = np.zeros(len(codes[0]), np.uint64)
    for code, size in zip(codes, sizes, strict=True):
        key *= np.uint64(size)
        key += code
    return np.argsort(key).astype(np.uint32)


def _ranked(column: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """A column's distinct texts in order, and uint32 per row: the text's place among them."""
    if column.dtype == pl.String:
        column = column.cast(Words.of().type)
    distinct = column.unique()
    texts = distinct.cast(pl.String)
    order = texts.arg_sort()
    places = distinct.to_physical().to_numpy()[order]
    rank = np.zeros(int(places.max(initial=0)) + 1, np.uint32)
    rank[places] = np.arange(len(places), dtype=np.uint32)
    return texts.gather(order), rank[column.to_physical().to_numpy()]


def _merge_ids(rows: pl.DataFrame, table: Table, none: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = rows.sort(*table.key, "row")
    repeats = (pl.col(table.key[0]) == pl.col(table.key[0]).shift()).fill_null(False)
    repeated = rows.filter(repeats)
    if repeated.is_empty():
        return rows.drop("row"), none
    first = rows.filter(~repeats)
    values = [name for name in frame_schema(table) if name not in table.key]
    differs = [pl.col(name).ne_missing(pl.col(f"{name}_first")) for name in values]
    contradicting = repeated.join(first, on=table.key, suffix="_first", maintain_order="left").filter(
        pl.any_horizontal(pl.lit(False), *differs)
    )
    cells = pl.struct(pl.col(name).cast(pl.String).str.slice(0, SHOWN_CELL) for name in frame_schema(table))
    text = cells.struct.json_encode() if table.name != "image_features" else pl.lit(None, pl.String)
    contradicting = contradicting.select("row", reason=pl.lit("duplicate id"), value=pl.col(table.key[0]), text=text)
    return first.drop("row"), contradicting


def of_events(events: pl.DataFrame, weights: Mapping[str, float], least: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The favorites and the hides that events amount to, each pair once.

    A pair with a hide is hidden and no favorite. Any other is a favorite, since its first event of a positive weight,
    where the weights of its events sum to `least`.
    """
    weight = pl.col("weight").fill_null(pl.col("event").replace_strict(weights, default=0.0, return_dtype=pl.Float64))
    pairs = (
        events.with_columns(weight=weight)
        .group_by("user_id", "image_id")
        .agg(
            is_hidden=(pl.col("event") == HIDE).any(),
            weight=pl.col("weight").sum(),
            favorited_at=pl.col("happened_at").filter(pl.col("weight") > 0).min(),
        )
        .sort("user_id", "image_id")
    )
    is_favorite = ~pl.col("is_hidden") & (pl.col("weight") >= least)
    favorites = pairs.filter(is_favorite).select("user_id", "image_id", "favorited_at")
    return favorites, pairs.filter("is_hidden").select("user_id", "image_id")


def quarantine(table: Table, *rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of QUARANTINE from bad rows of a table."""
    return pl.concat(frame.cast({"row": pl.Int64}) for frame in rows).select(
        pl.lit(table.name).alias("table"), *(name for name in QUARANTINE.schema.names if name != "table")
    )


def cell_of(name: str, file_type: pl.DataType | None, is_time: bool) -> pl.Expr:
    """A cell as it was written, null if blank: text, except for a feature and a numeric time."""
    if file_type is None:
        return pl.lit(None, pl.String)
    column = pl.col(name)
    if name == "feature":
        if not isinstance(file_type, pl.List | pl.Array) or not file_type.inner.is_numeric():
            raise UnfitFileError(f"column {name} holds {file_type}, not lists of numbers")
        return column.cast(pl.List(pl.Float32))
    if file_type.is_nested():
        raise UnfitFileError(f"column {name} holds {file_type}, not text or numbers")
    if file_type.is_float():
        column = column.fill_nan(None)  # pandas writes NaN for a missing number
    if is_time and (file_type.is_numeric() or file_type in (pl.Date, pl.Datetime)):
        return column
    text = column.cast(pl.String)
    if file_type.is_float():
        whole = (column == column.floor()) & (column.abs() < 2.0**63)
        return pl.when(whole).then(column.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(text)
    if file_type.is_decimal():
        return text.str.replace(r"(\.\d*?)0+$", "$1").str.strip_suffix(".")  # 1.50 is 1.5, as anywhere else
    stripped = text.str.strip_chars()
    is_missing = (stripped == "") | (stripped == NO_TEXT)
    if is_time or name in NEVER_WORDS:
        is_missing |= stripped.is_in(NO_VALUES)
    return pl.when(~is_missing).then(text if name in AS_WRITTEN or name.endswith("_id") else stripped)


def _typed(name: str, type_: pl.DataType, file_type: pl.DataType | None) -> pl.Expr:
    """A cell in its table's type (a time in seconds); null if missing or unreadable."""
    cell = pl.col(f"cell_{name}")
    if type_ == pl.Datetime:
        return _seconds(cell, file_type or pl.String())
    if name == "weight":
        return cell.cast(pl.Float64, strict=False)
    if name == "count":
        number = cell.cast(pl.Float64, strict=False)
        counts = (number == number.floor()) & number.is_between(1, MOST_USES)
        return pl.when(cell.is_null()).then(1).when(counts).then(number.cast(pl.Int64, strict=False))
    return cell


def _seconds(cell: pl.Expr, file_type: pl.DataType) -> pl.Expr:
    """Whole seconds since 1970 UTC, rounded down."""
    if file_type == pl.Date or file_type == pl.Datetime:
        return cell.dt.epoch("s")  # from 1970 UTC also for a time with a zone; without a zone, it is UTC
    if file_type.is_numeric():
        return _seconds_of_number(cell.cast(pl.Float64))
    return cell.cast(pl.String).map_batches(_seconds_of_texts, return_dtype=pl.Int64, is_elementwise=True)


def _seconds_of_texts(texts: pl.Series) -> pl.Series:
    """Whole seconds since 1970 UTC of each text; null where it is no time."""
    lengths = texts.str.len_bytes()
    length = lengths.min()
    if isinstance(length, int) and length == lengths.max() and length in ARROW_TIMES:  # all alike, as in most files
        try:
            return pl.Series(values=texts.to_arrow().cast(ARROW_TIMES[length]).cast(pa.int64()), dtype=pl.Int64)
        except pa.ArrowInvalid:
            pass
    return texts.to_frame("cell").select(_seconds_of_text(pl.col("cell"))).to_series()


def _seconds_of_text(cell: pl.Expr) -> pl.Expr:
    parts = cell.str.extract_groups(ISO_8601).struct
    spelled = pl.concat_str(
        parts["date"].str.replace_all("-", "", literal=True),
        pl.lit("T"),
        parts["minute"].str.replace(":", "", literal=True).fill_null("0000"),
        parts["second"].fill_null("00"),
        parts["zone_hours"].fill_null("+00"),
        parts["zone_minutes"].fill_null("00"),
    )
    written = spelled.str.to_datetime("%Y%m%dT%H%M%S%z", time_unit="ms", strict=False)
    return pl.coalesce(_seconds_of_number(cell.cast(pl.Float64, strict=False)), written.dt.epoch("s"))


def _seconds_of_number(number: pl.Expr) -> pl.Expr:
    """Epoch seconds, or the first second of a day written as YYYYMMDD; null for what may be neither."""
    whole = number.floor().cast(pl.Int64, strict=False)
    day = pl.when(number == whole).then(whole).cast(pl.String).str.to_date("%Y%m%d", strict=False).dt.epoch("s")
    is_month = whole.is_between(*MONTHS) & (whole % 100).is_between(1, 12)
    is_unclear = whole.is_between(*YEARS) | is_month | whole.is_between(*MINUTES)
    return pl.when(whole.is_between(*DAYS)).then(day).when(~is_unclear).then(whole)


def _is_inexact(name: str, file_type: pl.DataType | None) -> pl.Expr:
    """Whether a floating-point number is so large that it may stand for several whole numbers, as an id would."""
    if file_type is None or not file_type.is_float():
        return pl.lit(False)
    return pl.col(name).abs().ge(2 ** EXACT_BITS[file_type]).fill_null(False)


def _time(name: str) -> pl.Expr:
    seconds = pl.col(name)
    return pl.when(seconds.is_between(FIRST_SECOND, LAST_SECOND)).then(seconds * 1000).cast(TYPES[TIME])


def _row_text(schema: Mapping[str, pl.DataType], types: Mapping[str, pl.DataType]) -> pl.Expr:
    """A row's cells as JSON, but for a feature."""
    names = [name for name in schema if name in types and name != "feature"]
    cells = [_shown(pl.col(f"cell_{name}"), types[name]).str.slice(0, SHOWN_CELL).alias(name) for name in names]
    return pl.struct(cells).struct.json_encode()


def _first(rules: Sequence[Rule], choices: Sequence[pl.Expr]) -> pl.Expr:
    """The choice for the first rule that a row breaks; null for a valid row."""
    return pl.coalesce(pl.when(rule.broken).then(choice) for rule, choice in zip(rules, choices, strict=True))


def _shown(time: pl.Expr, file_type: pl.DataType | None) -> pl.Expr:
    """A cell as text. A time as the file's number: polars cannot spell those outside our years."""
    return (time.to_physical() if file_type in (pl.Date, pl.Datetime) else time).cast(pl.String)


def _rules(
    table: Table, words: Mapping[str, Words], types: Mapping[str, pl.DataType], max_text_bytes: int, fetches: bool
) -> Iterator[Rule]:
    """The table's rules, over its typed columns and, for unreadable values, its cells."""
    nothing = pl.lit(None, pl.String)
    for name, type_ in frame_schema(table).items():
        column, cell = pl.col(name), pl.col(f"cell_{name}")
        unreadable = column.is_null() & cell.is_not_null()
        if name in table.key:
            missing = {"tag": "missing tag", "event": "missing event"}.get(name, "missing id")
            yield Rule(missing, column.is_null(), nothing)
        if type_ == pl.String:
            yield Rule("text too long", column.str.len_bytes() > max_text_bytes, column)
            yield Rule("inexact number", pl.col(f"inexact_{name}"), column)
        if name in table.key:
            if name == "kind":
                yield Rule("unknown kind", ~column.is_in(sorted(NAMED_IN)), column)
            if name == "event":
                yield Rule("unknown event", ~column.is_in([*EVENT_WEIGHTS, HIDE]), column)
        elif name == "weight":
            yield Rule("bad weight", unreadable | ~column.is_finite(), cell.cast(pl.String))
        elif type_ == pl.Datetime:
            yield Rule("unreadable time", unreadable, _shown(cell, types.get(name)))
        elif name == "count":
            yield Rule("bad count", unreadable, cell)
        elif name == "path":
            is_address = column.str.contains(ADDRESS)
            if not fetches:
                yield Rule("url in path", is_address, column)
            yield Rule("path outside the source directory", _leads_outside(column) & ~is_address, column)
        elif name == "url":
            yield Rule("bad url", ~column.str.contains(r"(?i)^https?://[^\s/?#]\S*$"), column)
        elif name == "feature":
            yield from _feature_rules(column)
    if "contact_id" in table.key:
        yield Rule("self reference", pl.col("user_id") == pl.col("contact_id"), pl.col("user_id"))
    for name, one in words.items():
        if one.known is not None:
            yield Rule("dangling reference", pl.col(f"word_{name}").to_physical() >= one.known, pl.col(name))


def _leads_outside(path: pl.Expr) -> pl.Expr:
    """Whether a path is absolute, has a `..` part, or may be read differently elsewhere.

    Every `..` is refused, even if the path leads back inside: behind a link it would not, and S3 has no `..`. A colon
    in the first part makes a scheme or a drive, not a relative path (RFC 3986, section 4.2).
    """
    return path.str.contains(r"^/|^[^/]*:|[\\\x00]|(^|/)\.\.(/|$)")


def _usual_length() -> pl.Expr:
    length = pl.col("feature").list.len()
    return length.filter(length > 0).mode().max()


def _feature_rules(feature: pl.Expr) -> Iterator[Rule]:
    length, usual = feature.list.len(), pl.col("usual_length")
    found = pl.format("length {}, others have {}", length, usual)
    yield Rule("bad feature", feature.is_null() | (length != usual) | (length == 0), found)
    # A sum is finite only if all its terms are; in float64, so that finite float32 terms cannot overflow.
    finite = feature.cast(pl.List(pl.Float64)).list.sum().is_finite() & (feature.list.drop_nulls().list.len() == length)
    yield Rule("bad feature", ~finite, pl.lit("a value that is missing or not finite"))
