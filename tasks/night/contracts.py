"""Whether exported tables keep their contracts: columns, keys, references, ranks, scores, vectors."""

from collections.abc import Iterator

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from storage import parquet
from storage.manifests import Outcome
from storage.refs import Ref
from storage.roots import Root
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from storage.tables.exports import EXPORTS, OPTIONAL_EXPORTS
from storage.tables.reasons import REASONS
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.schema import SCHEMA_VERSION, VECTOR, Table
from storage.tables.similar import SIMILAR_IMAGES

SAME = 1e-3  # how far a score may be from the inner product, relatively to the vectors' lengths
CHECKED_SCORES = 10_000  # about so many pairs are scored again
REFERS_TO = {  # column: the table that has the id
    RECOMMENDATIONS.name: {"user_id": "users", "image_id": "images"},
    USER_EMBEDDINGS.name: {"user_id": "users"},
    IMAGE_EMBEDDINGS.name: {"image_id": "images"},
    SIMILAR_IMAGES.name: {"image_id": "images", "similar_image_id": "images"},
    REASONS.name: {"user_id": "users", "image_id": "images"},
}
LISTED = {RECOMMENDATIONS.name: ("user_id", "image_id"), SIMILAR_IMAGES.name: ("image_id", "similar_image_id")}


def check_contracts(
    exports: dict[str, list[Ref]],
    table: dict[str, Ref],
    lengths: dict[str, int],
    root: Root,
    *,
    is_by_score: bool,
    is_inner_product: bool,
) -> Iterator[Outcome]:
    """One outcome for each promise of each exported table; one that is broken holds the run back.

    Args:
        exports: the files of each table of EXPORTS, and of those of OPTIONAL_EXPORTS that there are.
        table: the community, as ingested.
        lengths: the longest list of each table of lists.
        is_by_score: whether places are in the order of scores.
        is_inner_product: whether a recommendation's score is the inner product of its embeddings.
    """
    tables = [of for of in (*EXPORTS, *OPTIONAL_EXPORTS) if of in EXPORTS or of.name in exports]
    rows = {of.name: parquet.scan_all(exports[of.name], root) for of in tables}
    for of in tables:
        name, found = of.name, rows[of.name]
        differing = sorted({fault for ref in exports[name] for fault in _schema_faults(of, ref, root)})
        yield _holds(f"{name}: columns, types and schema version", len(differing), "; ".join(differing))
        needed = [field.name for field in of.schema if not field.nullable]
        yield _none(f"{name}: no value is missing", found.filter(pl.any_horizontal(pl.col(needed).is_null())))
        yield _none(f"{name}: one row per {', '.join(of.key)}", _repeated(found, of.key))
        unsorted = [
            ref.path for ref in exports[name] if not parquet.is_sorted(parquet.read(ref, root, list(of.key)), of.key)
        ]
        yield _holds(f"{name}: rows in the order of their key", len(unsorted), ", ".join(unsorted))
        for column, target in REFERS_TO[name].items():
            ids = parquet.scan(table[target], root).select(target[:-1] + "_id")
            unknown = found.select(column).join(ids, left_on=column, right_on=target[:-1] + "_id", how="anti")
            yield _none(f"{name}: every {column} is one of {target}", unknown)
        if name in LISTED:
            yield from _check_lists(of, found, lengths[name], is_by_score=is_by_score or of is SIMILAR_IMAGES)
        elif of is REASONS:
            yield _check_shares(found, rows[RECOMMENDATIONS.name])
        else:
            finite = pl.col("embedding").arr.to_list().list.eval(pl.element().is_finite().fill_null(False)).list.all()
            yield _none(f"{name}: every embedding is finite", found.filter(~finite))
    dimensions = {
        _dimensions(ref, root) for of in (USER_EMBEDDINGS, IMAGE_EMBEDDINGS) for ref in exports[of.name] if ref.rows
    }
    yield _holds(
        "embeddings: one dimension for users and images", max(0, len(dimensions) - 1), f"found {sorted(dimensions)}"
    )
    lists, pairs = rows[RECOMMENDATIONS.name], ["user_id", "image_id"]
    favorites = parquet.scan(table["favorites"], root)
    yield _none("recommendations: no favorite is recommended", lists.join(favorites, on=pairs, how="semi"))
    similar = rows[SIMILAR_IMAGES.name]
    yield _none("similar_images: no image is its own", similar.filter(pl.col("image_id") == pl.col("similar_image_id")))
    if is_inner_product and len(dimensions) == 1:
        yield _check_scores(lists, rows[USER_EMBEDDINGS.name], rows[IMAGE_EMBEDDINGS.name])
    empty = sum(ref.rows for ref in exports[RECOMMENDATIONS.name]) == 0
    yield Outcome("recommendations: not empty", not empty, False, "no row" if empty else "holds")


def _check_lists(of: Table, rows: pl.LazyFrame, length: int, *, is_by_score: bool) -> Iterator[Outcome]:
    owner, listed = LISTED[of.name]
    yield _none(f"{of.name}: one row per {owner}, {listed}", _repeated(rows, (owner, listed)))
    # Rows are in the order of their key, or the check of that has failed: nothing need be sorted or grouped.
    same = (pl.col(owner) == pl.col(owner).shift()).fill_null(False)
    following = pl.when(same).then(pl.col("rank").shift() + 1).otherwise(1)
    yield _none(f"{of.name}: ranks count from 1 without a gap", rows.filter(pl.col("rank") != following))
    yield _none(f"{of.name}: at most {length} places", rows.filter(pl.col("rank") > length))
    yield _none(f"{of.name}: every score is finite", rows.filter(~pl.col("score").is_finite().fill_null(False)))
    if is_by_score:
        rising = rows.filter(same & (pl.col("score") > pl.col("score").shift()))
        yield _none(f"{of.name}: no score rises along a list", rising)


def _schema_faults(of: Table, ref: Ref, root: Root) -> Iterator[str]:
    """How a file differs from its table's contract."""
    schema, metadata = pq.read_schema(ref.local(root)), pq.read_metadata(ref.local(root)).metadata
    if schema.names != of.schema.names:
        yield f"columns {', '.join(schema.names)}, not {', '.join(of.schema.names)}"
        return
    for field in of.schema:
        found = schema.field(field.name).type
        is_right = (
            pa.types.is_fixed_size_list(found) and found.value_type == pa.float32()
            if field.type == VECTOR
            else found == field.type
        )
        if not is_right:
            yield f"{field.name} is {found}, not {'vectors of float32' if field.type == VECTOR else field.type}"
    version = (metadata or {}).get(parquet.VERSION_KEY, b"none").decode()
    if version != SCHEMA_VERSION:
        yield f"schema version {version}, not {SCHEMA_VERSION}"


def _dimensions(ref: Ref, root: Root) -> int:
    type_ = pq.read_schema(ref.local(root)).field("embedding").type
    return int(type_.list_size) if pa.types.is_fixed_size_list(type_) else -1


def _check_scores(lists: pl.LazyFrame, users: pl.LazyFrame, images: pl.LazyFrame) -> Outcome:
    """Of a sample of rows, evenly over the tables: whether the score is the inner product of the exported vectors."""
    num_rows = lists.select(pl.len()).collect().item()
    some = lists.gather_every(max(1, num_rows // CHECKED_SCORES)).select("user_id", "image_id", "score").collect()
    pairs = (
        some.lazy()
        .join(users.select("user_id", user="embedding"), on="user_id", how="left")
        .join(images.select("image_id", image="embedding"), on="image_id", how="left")
        .collect()
    )
    lost = pairs["user"].null_count() + pairs["image"].null_count()
    pairs = pairs.drop_nulls()
    if pairs.is_empty():
        return _holds("recommendations: score is the inner product of the embeddings", lost, "no vectors")
    user_Nd, image_Nd = (pairs[name].to_numpy().astype("float64") for name in ("user", "image"))
    length_N = ((user_Nd**2).sum(axis=1) * (image_Nd**2).sum(axis=1)) ** 0.5
    wrong_N = abs((user_Nd * image_Nd).sum(axis=1) - pairs["score"].to_numpy()) > SAME * length_N + 1e-6
    return _holds(
        "recommendations: score is the inner product of the embeddings",
        lost + int(wrong_N.sum()),
        f"of {some.height:,} rows {int(wrong_N.sum()):,} have another score, {lost:,} no vector",
    )


def _check_shares(reasons: pl.LazyFrame, lists: pl.LazyFrame) -> Outcome:
    """Whether the shares of each recommendation sum to its score, and each pair stands at its place."""
    pair = ["user_id", "rank", "image_id"]
    sums = reasons.group_by(pair).agg(pl.col("share").sum(), largest=pl.col("share").abs().max())
    wrong = sums.join(lists.select(*pair, "score"), on=pair, how="left").filter(
        ~((pl.col("share") - pl.col("score")).abs() <= SAME * pl.max_horizontal("largest", 1e-6)).fill_null(False)
    )
    return _none("reasons: the shares of a recommendation sum to its score", wrong)


def _repeated(rows: pl.LazyFrame, key: tuple[str, ...]) -> pl.LazyFrame:
    return rows.group_by(key).len().filter(pl.col("len") > 1)


def _none(name: str, broken: pl.LazyFrame) -> Outcome:
    count = broken.select(pl.len()).collect().item()
    return _holds(name, count, f"{count:,} rows break it")


def _holds(name: str, faults: int, message: str) -> Outcome:
    return Outcome(name, faults == 0, False, "holds" if faults == 0 else message, float(faults))
