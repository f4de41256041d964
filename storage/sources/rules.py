"""The rules of a source's rows: cells as the file types them in, typed columns and the first rule a row breaks out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from storage.sources.reading import SHOWN_CHARACTERS
from storage.tables import IMAGES, QUARANTINE, TIME, VECTOR, Table

TYPES: dict[pa.DataType, pl.DataType] = {
    pa.string(): pl.String(),
    pa.int64(): pl.Int64(),
    TIME: pl.Datetime("ms", "UTC"),  # polars has no unit of a second; the values are whole seconds
    VECTOR: pl.List(pl.Float32),
}
REFERENCES = {
    "favorites": {"user_id": "users", "image_id": "images"},
    "image_tags": {"image_id": "images"},
    "user_tags": {"user_id": "users"},
    "contacts": {"user_id": "users", "contact_id": "users"},
    "memberships": {"user_id": "users", "group_id": "groups"},
    "image_features": {"image_id": "images"},
}
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799  # of the years 1 to 9999
MOST_USES = 2**53  # whole numbers up to here survive a float column
NUMBERS_TEXT = (pl.String, pl.Categorical, pl.Enum)

_ISO_8601 = (
    r"(?i)^(\d{4}-\d\d-\d\d)"  # date
    r"(?:[t ](\d\d:\d\d)(?::(\d\d)(?:[.,]\d+)?)?"  # time of day; fractions of a second are dropped
    r"\s?(?:z|([+-]\d\d):?(\d\d)?)?)?$"  # zone
)


@dataclass(frozen=True)
class Rule:
    """A reason to keep a row out, the rows it holds for, and the value to show."""

    reason: str
    broken: pl.Expr
    value: pl.Expr


def frame_schema(table: Table) -> dict[str, pl.DataType]:
    """The table's columns as polars types."""
    return {field.name: TYPES[field.type] for field in table.schema}


def check(rows: pl.LazyFrame, table: Table, ids: Mapping[str, pl.Series]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that keep the table's rules (typed, with `row`), and those that do not (row, reason, value).

    `ids` are the ids that exist, by table; a reference to a table that is not there is not checked. A row that breaks
    several rules is given the first one's reason. Raises ValueError for a column whose type cannot be read at all.
    """
    types = rows.collect_schema()
    columns = {name: _column(name, type_, types.get(name)) for name, type_ in frame_schema(table).items()}
    reason = value = pl.lit(None, pl.String)
    for rule in reversed(list(_rules(table, columns, types, ids))):
        reason = pl.when(rule.broken).then(pl.lit(rule.reason)).otherwise(reason)
        value = pl.when(rule.broken).then(rule.value).otherwise(value)
    checked = rows.select("row", **columns, reason=reason, value=value.str.slice(0, SHOWN_CHARACTERS))
    keeps = pl.col("reason").is_null()
    kept, broken = pl.collect_all(
        [checked.filter(keeps).drop("reason", "value"), checked.filter(~keeps).select("row", "reason", "value")],
        engine="streaming",
    )
    return kept, broken


def merge(rows: pl.DataFrame, table: Table) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows sorted by the table's key, each key once, and the later rows of an id that contradict its first one.

    Favorites keep the earliest time, user_tags the sum of their counts, every other table the first row.
    """
    order = [*table.key, "favorited_at"] if table.name == "favorites" else [*table.key, "row"]
    rows = rows.sort(order, nulls_last=True)
    repeats = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in table.key).fill_null(False)
    again = rows.filter(repeats)
    contradicting = pl.DataFrame(schema={"row": rows.schema["row"], "reason": pl.String, "value": pl.String})
    if again.is_empty():
        return rows.drop("row"), contradicting
    first = rows.filter(~repeats)
    if table.name == "user_tags":
        counts = again.group_by(table.key).agg(more=pl.col("count").sum())
        first = first.join(counts, on=table.key, how="left", maintain_order="left")
        first = first.with_columns(pl.col("count") + pl.col("more").fill_null(0)).drop("more")
    if len(table.key) == 1:
        others = [name for name in frame_schema(table) if name not in table.key]
        differs = [pl.col(name).ne_missing(pl.col(f"{name}_first")) for name in others]
        contradicting = again.join(first, on=table.key, suffix="_first", maintain_order="left").filter(
            pl.any_horizontal(pl.lit(False), *differs)
        )
        contradicting = contradicting.select("row", reason=pl.lit("duplicate id"), value=pl.col(table.key[0]))
    return first.drop("row"), contradicting


def quarantine(table: Table, *rows: pl.DataFrame) -> pl.DataFrame:
    """QUARANTINE rows of a table."""
    return pl.concat(frame.cast({"row": pl.Int64}) for frame in rows).select(
        pl.lit(table.name).alias("table"), *(name for name in QUARANTINE.schema.names if name != "table")
    )


def _column(name: str, type_: pl.DataType, given: pl.DataType | None) -> pl.Expr:
    """A column under the type its table gives it; null where its value is missing or cannot be read."""
    if given is None:
        return pl.lit(1 if name == "count" else None, type_).alias(name)
    if type_ == pl.Datetime:
        return _seconds(name, given).mul(1000).cast(type_)
    if name == "count":
        number = _text(name, given).str.strip_chars().cast(pl.Float64, strict=False)
        counts = (number == number.floor()) & number.is_between(1, MOST_USES)
        return pl.when(_is_blank(name, given)).then(1).when(counts).then(number.cast(type_, strict=False))
    if name == "feature":
        if not isinstance(given, pl.List | pl.Array) or not given.inner.is_numeric():
            raise ValueError(f"column {name} holds {given}, not lists of numbers")
        return pl.col(name).cast(type_)
    return _text(name, given).str.strip_chars() if name == "tag" else _text(name, given)


def _rules(
    table: Table, columns: Mapping[str, pl.Expr], types: pl.Schema, ids: Mapping[str, pl.Series]
) -> Iterator[Rule]:
    nothing = pl.lit(None, pl.String)
    for name, column in columns.items():
        if name in table.key:
            yield Rule("missing tag" if name == "tag" else "missing id", column.is_null(), nothing)
    for name in ("uploaded_at", "favorited_at", "count"):
        if name in columns and name in types:
            text = _text(name, types[name])
            reason = "bad count" if name == "count" else "unreadable time"
            yield Rule(reason, columns[name].is_null() & ~_is_blank(name, types[name]), text)
    if table is IMAGES:
        path, url = columns["path"], columns["url"]
        yield Rule("path outside the source directory", _leads_outside(path), path)
        yield Rule("bad url", ~url.str.contains(r"(?i)^https?://[^\s/?#]\S*$"), url)
    if "feature" in columns:
        yield from _feature_rules(columns["feature"])
    if "contact_id" in columns:
        yield Rule("self reference", columns["user_id"] == columns["contact_id"], columns["user_id"])
    for name, target in REFERENCES.get(table.name, {}).items():
        if target in ids:
            yield Rule("dangling reference", ~columns[name].is_in(ids[target].implode()), columns[name])


def _leads_outside(path: pl.Expr) -> pl.Expr:
    """Whether a path is absolute, has a `..` part, or could mean something else to another reader of it.

    Every `..` is refused, also one that comes back: behind a link it would not, and S3 has no such thing. A colon in
    the first part makes a scheme or a drive, not a relative path (RFC 3986, section 4.2).
    """
    return path.str.contains(r"^/|^[^/]*:|[\\\x00]|(^|/)\.\.(/|$)")


def _feature_rules(feature: pl.Expr) -> Iterator[Rule]:
    length = feature.list.len()
    usual = length.filter(length > 0).mode().max()
    found = pl.format("length {}, others have {}", length, usual)
    yield Rule("bad feature", feature.is_null() | (length != usual) | (length == 0), found)
    # A sum is finite only where all its terms are; in float64, so that finite float32 terms cannot overflow.
    finite = feature.cast(pl.List(pl.Float64)).list.sum().is_finite() & (feature.list.drop_nulls().list.len() == length)
    yield Rule("bad feature", ~finite, pl.lit("a value that is missing or not finite"))


def _text(name: str, given: pl.DataType) -> pl.Expr:
    """A cell as text, a number as its decimal text; null where it is blank."""
    column = pl.col(name)
    if given.is_nested():
        raise ValueError(f"column {name} holds {given}, not text or numbers")
    text = column.cast(pl.String)
    if given.is_float():
        whole = (column == column.floor()) & (column.abs() < 2.0**63)
        text = pl.when(whole).then(column.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(text)
    elif isinstance(given, pl.Decimal):
        text = text.str.replace(r"\.0+$", "")
    return pl.when(~_is_blank(name, given)).then(text)


def _is_blank(name: str, given: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if given.is_float():
        return column.is_null() | column.is_nan()  # what pandas writes where a number is missing
    if given in NUMBERS_TEXT:
        return column.is_null() | (column.cast(pl.String).str.strip_chars() == "")
    return column.is_null()


def _seconds(name: str, given: pl.DataType) -> pl.Expr:
    """Whole seconds since 1970 UTC, rounded down; null where the cell is no time of the years 1 to 9999."""
    column = pl.col(name)
    if given == pl.Date or isinstance(given, pl.Datetime):
        seconds = column.dt.epoch("s")  # of a zoned time too this counts from 1970 UTC
    elif given.is_integer():
        seconds = column.cast(pl.Int64, strict=False)
    elif given.is_float() or given.is_decimal():
        seconds = column.cast(pl.Float64).floor().cast(pl.Int64, strict=False)
    else:
        text = _text(name, given).str.strip_chars()
        number = text.cast(pl.Float64, strict=False).floor().cast(pl.Int64, strict=False)
        seconds = pl.coalesce(number, _iso_seconds(text))
    return pl.when(seconds.is_between(FIRST_SECOND, LAST_SECOND)).then(seconds)


def _iso_seconds(text: pl.Expr) -> pl.Expr:
    parts = text.str.extract_groups(_ISO_8601).struct
    date, minutes, seconds, hours_off, minutes_off = (parts[place] for place in range(5))
    spelled = pl.concat_str(
        date,
        pl.lit("T"),
        minutes.fill_null("00:00"),
        pl.lit(":"),
        seconds.fill_null("00"),
        hours_off.fill_null("+00"),
        minutes_off.fill_null("00"),
    )
    return spelled.str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_unit="ms", strict=False).dt.epoch("s")
