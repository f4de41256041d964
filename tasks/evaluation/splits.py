"""The split that all systems of a comparison see, as tables."""

import logging
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from scipy.sparse import csr_array

from models.evaluation import protocols, splits
from models.evaluation.protocols import ProtocolConfig
from models.evaluation.splits import Parts, Protocol, SplitConfig
from storage import matrices, parquet, tombstones
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import FAVORITES
from storage.tables.splits import CANDIDATES, CONCEALED
from tasks.data.pairs import read_pairs
from tasks.evaluation.records import ComparisonSplit, EvaluationSplit
from tasks.runtime.caching import stage

log = logging.getLogger("tastegraph")

HEADLINES = {"paper": ("precision", 20), "auc": ("auc", 0)}  # what counts most; in full rankings NDCG


def take_pairs(file: str | None, root: Root) -> Ref | None:
    """Held-out favorites that the user gives, as a table, of nobody who was forgotten; None without a file."""
    if not file:
        return None
    return parquet.write(CONCEALED, tombstones.read(root).without(read_pairs(Path(file))), root)


@stage
def draw_split(
    table: dict[str, Ref],
    protocol: Protocol,
    test: Ref | None,
    validation: Ref | None,
    config: SplitConfig,
    evaluation: ProtocolConfig,
    root: Root,
) -> ComparisonSplit:
    """The split of a protocol; `full` takes the given test where there is one.

    Raises ValueError where nobody could be tested, or for a split by time without times.
    """
    favorites = parquet.read(table["favorites"], root)
    users, images = (
        matrices.ids_of(parquet.read(table[name], root, [key])[key])
        for name, key in (("users", "user_id"), ("images", "image_id"))
    )
    known_UI = matrices.incidence(favorites["user_id"], favorites["image_id"], users, images)
    lowered: list[ProtocolConfig | None] = [None, None]
    if protocol == "paper":
        tested = protocols.conceal(known_UI, evaluation)
        validated = protocols.conceal(tested.training, evaluation)
        parts = Parts(validated.training, validated.concealed, tested.concealed)
        lowered = [validated.thresholds, tested.thresholds]
    elif protocol == "auc":
        parts = splits.leave_one_out(known_UI, config)
    elif protocol == "time":
        times_UI = matrices.seconds_of(favorites, users, images)
        if times_UI is None:
            missing = favorites["favorited_at"].null_count
            raise ValueError(
                f"protocol time: {missing} of {len(favorites)} favorites have no favorited_at; choose the protocol full"
            )
        parts = splits.by_time(known_UI, times_UI, config)
    elif protocol == "cold":
        parts = splits.cold(known_UI, config)
    elif protocol == "cold_users":
        parts = splits.cold_users(known_UI, config)
    elif test is None:
        parts = splits.random(known_UI, config)
    else:
        # Test images that the community does not have stay in the denominator: columns that no list can reach.
        rows = parquet.read(test, root)
        images = np.append(images, np.setdiff1d(matrices.ids_of(rows["image_id"]), images))
        test_UI = _given(test, users, images, root)
        parts = splits.official(known_UI, test_UI, _given(validation, users, images, root), config)
    if not parts.test.nnz:
        raise ValueError(
            f"protocol {protocol}: nobody has enough favorites to be tested; "
            f"the community has {known_UI.nnz} favorites of {len(users)} users"
        )
    log.info("%-18s %d favorites to learn from, %d to validate on, %d to test on", "draw-split", *_sizes(parts))
    outside, tested = _divided(favorites, parts.test, users, images)
    inside, validated = _divided(outside, parts.validation, users, images)
    metric, k = HEADLINES.get(protocol, ("ndcg", 20))
    if protocol == "full" and test is None:
        k = 10  # as the published figures of random splits
    rounds = [
        EvaluationSplit(
            protocol,
            parquet.write(FAVORITES, rows if _is_next(apart, rows) else _without_times(rows), root),
            parquet.write(CONCEALED, _pairs(heldout, users, images), root),
            None if ranked is None else parquet.write(CANDIDATES, {"image_id": images[ranked]}, root),
            config.cold_below if protocol == "auc" else 1,
            thresholds,
            metric,
            thresholds.max_k if thresholds else k,
        )
        for rows, apart, heldout, ranked, thresholds in (
            (inside, validated, parts.validation, parts.validation_candidates, lowered[0]),
            (outside, tested, parts.test, parts.test_candidates, lowered[1]),
        )
    ]
    return ComparisonSplit(*rounds)


def _sizes(parts: Parts) -> tuple[int, int, int]:
    return parts.training.nnz, parts.validation.nnz, parts.test.nnz


def _is_next(heldout: pa.Table, learned: pa.Table) -> bool:
    """Whether each user's held-out favorites are later than all those to learn from.

    Not where a time is missing, nor where nothing is learned from whoever is tested.
    Only then is a time worth telling: a system that takes a user's latest favorites for what the next will be like
    would be wrong about favorites held out from anywhere in a history.
    """
    if not len(heldout) or heldout["favorited_at"].null_count or learned["favorited_at"].null_count:
        return False
    at = pl.col("favorited_at")
    first, last = (
        pl.DataFrame(rows.select(["user_id", "favorited_at"])).group_by("user_id").agg(ends)
        for rows, ends in ((heldout, at.min().alias("first")), (learned, at.max().alias("last")))
    )
    both = first.join(last, on="user_id")
    return len(both) > 0 and bool(both.select((pl.col("last") <= pl.col("first")).all()).item())


def _without_times(favorites: pa.Table) -> pa.Table:
    place = favorites.schema.get_field_index("favorited_at")
    field = favorites.schema.field(place)
    return favorites.set_column(place, field, pa.nulls(len(favorites), field.type))


def _given(pairs: Ref | None, users: Ids, images: Ids, root: Root) -> csr_array | None:
    if pairs is None:
        return None
    rows = parquet.read(pairs, root)
    matrix = matrices.incidence(rows["user_id"], rows["image_id"], users, images)
    if left_out := len(rows) - matrix.nnz:
        log.warning("%-18s %d rows name a user whom the community does not have", "draw-split", left_out)
    return matrix


def _divided(favorites: pa.Table, heldout_UI: csr_array, users: Ids, images: Ids) -> tuple[pa.Table, pa.Table]:
    """The rows of the table that are left, and those that are held out."""
    row, column = matrices.rows_of(favorites["user_id"], users), matrices.rows_of(favorites["image_id"], images)
    pairs = heldout_UI.tocoo()
    keys = pairs.coords[0].astype(np.int64) * len(images) + pairs.coords[1]
    is_heldout = np.isin(row * len(images) + column, keys)
    return favorites.filter(~is_heldout), favorites.filter(is_heldout)


def _pairs(heldout_UI: csr_array, users: Ids, images: Ids) -> pl.DataFrame:
    pairs = heldout_UI.tocoo()
    return pl.DataFrame({"user_id": users[pairs.coords[0]].tolist(), "image_id": images[pairs.coords[1]].tolist()})
