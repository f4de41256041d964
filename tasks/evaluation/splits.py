"""The split that all systems of a comparison share, as tables: one function per protocol.

U users, I images.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from scipy.sparse import csr_array

from models.evaluation import protocols, splits
from models.evaluation.splits import Parts, Protocol
from models.settings.protocols import ProtocolConfig
from models.settings.splits import SplitConfig
from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import FAVORITES
from storage.tables.splits import CANDIDATES, CONCEALED
from tasks.evaluation.records import ComparisonSplit, EvaluationSplit
from tasks.runtime.caching import stage

log = logging.getLogger("tastegraph")

# By protocol, the metric that settings are chosen by and systems compared by first, and the length of its lists.
DECIDING_METRICS = {"paper": ("precision", 20), "auc": ("auc", 0)}  # 0: all images
DECIDING_METRIC = ("ndcg", 20)  # of the other protocols
K_OF_RANDOM_SPLITS = 10  # as the published figures of random splits


@dataclass(frozen=True, eq=False)
class _Favorites:
    """A community's favorites, and the settings that a protocol divides them by."""

    rows: pa.Table
    users: Ids
    images: Ids
    favorites_UI: csr_array
    test: pa.Table | None  # pairs from the file --test
    validation: pa.Table | None  # and from --validation
    config: SplitConfig
    evaluation: ProtocolConfig


@dataclass(frozen=True, eq=False)
class _Division:
    """The parts of a protocol over these images; for the paper's, the thresholds of validation and of the test."""

    parts: Parts
    images: Ids
    thresholds: tuple[ProtocolConfig | None, ProtocolConfig | None] = (None, None)


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
    """The split of a protocol: one part to choose settings on, another for the reported figures.

    Args:
        table: the community, as ingested.
        test, validation: held-out pairs for the protocol `full`; None: a share of each user's favorites at random.
    Raises:
        ValueError: nobody has enough favorites to be tested, no favorite is left to learn from, or a
            split by time of favorites without times.
    """
    rows = parquet.read(table["favorites"], root)
    users, images = (
        matrices.ids_of(parquet.read(table[name], root, [key])[key])
        for name, key in (("users", "user_id"), ("images", "image_id"))
    )
    favorites_UI = matrices.incidence(rows["user_id"], rows["image_id"], users, images)
    test_rows, validation_rows = (parquet.read(pairs, root) if pairs else None for pairs in (test, validation))
    division = DIVISIONS[protocol](
        _Favorites(rows, users, images, favorites_UI, test_rows, validation_rows, config, evaluation)
    )
    parts, images = division.parts, division.images
    if not parts.test.nnz and test:
        raise ValueError("no row of the file of held-out favorites names a user of the community: give another file")
    if not parts.test.nnz:
        raise ValueError(
            f"protocol {protocol}: nobody has enough favorites to be tested; "
            f"the community has {favorites_UI.nnz} favorites of {len(users)} users"
        )
    log.info(
        "%-18s %d favorites to learn from, %d to validate on, %d to test on",
        "draw-split", parts.training.nnz, parts.validation.nnz, parts.test.nnz,
    )  # fmt: skip
    without_test, test_part = _divide(rows, parts.test, users, images)
    if not len(without_test):
        raise ValueError(
            f"protocol {protocol}: the test holds out all {len(rows)} favorites of the community, so none is left to "
            f"learn from; give a test of fewer"
        )
    training, validation_part = _divide(without_test, parts.validation, users, images)
    metric, k = DECIDING_METRICS.get(protocol, DECIDING_METRIC)
    if protocol == "full" and test is None:
        k = K_OF_RANDOM_SPLITS
    time_of = config.time_of if protocol == "time" else None

    def split(
        learned: pa.Table,
        heldout: pa.Table,
        heldout_UI: csr_array,
        candidates: np.ndarray | None,
        thresholds: ProtocolConfig | None,
    ) -> EvaluationSplit:
        return EvaluationSplit(
            protocol=protocol,
            training=parquet.write(
                FAVORITES, learned if time_of or _is_later(heldout, learned) else _without_times(learned), root
            ),
            heldout=parquet.write(CONCEALED, _pairs(heldout_UI, users, images), root),
            candidates=None if candidates is None else _write_candidates(images[candidates], root),
            cold_below=config.cold_below if protocol == "auc" else 1,
            thresholds=thresholds,
            metric=metric,
            k=thresholds.max_k if thresholds else k,
            time_of=time_of,
        )

    of_validation, of_test = division.thresholds
    return ComparisonSplit(
        tuning=split(training, validation_part, parts.validation, parts.validation_candidates, of_validation),
        final=split(without_test, test_part, parts.test, parts.test_candidates, of_test),
    )


def _paper(favorites: _Favorites) -> _Division:
    """Equally many concealed favorites of each test user, twice (CDL, section 6.1.1)."""
    test = protocols.conceal(favorites.favorites_UI, favorites.evaluation)
    validation = protocols.conceal(test.training, favorites.evaluation)
    parts = Parts(validation.training, validation.concealed, test.concealed)
    return _Division(parts, favorites.images, (validation.thresholds, test.thresholds))


def _full(favorites: _Favorites) -> _Division:
    """The test from the user's file where there is one, else a share of each user's favorites at random."""
    users, images, config = favorites.users, favorites.images, favorites.config
    if favorites.test is None:
        return _Division(splits.random(favorites.favorites_UI, config), images)
    # Test images that the community does not have stay in the denominator: columns that no list can reach.
    images = np.append(images, np.setdiff1d(matrices.ids_of(favorites.test["image_id"]), images))
    test_UI = _incidence(favorites.test, users, images)
    validation_UI = None if favorites.validation is None else _incidence(favorites.validation, users, images)
    return _Division(splits.official(favorites.favorites_UI, test_UI, validation_UI, config), images)


def _time(favorites: _Favorites) -> _Division:
    """The latest favorites. Raises ValueError where a time is missing."""
    times_UI = matrices.seconds_of(favorites.rows, favorites.users, favorites.images)
    if times_UI is None:
        missing = favorites.rows["favorited_at"].null_count
        raise ValueError(
            f"protocol time: {missing} of {len(favorites.rows)} favorites have no favorited_at; "
            f"choose the protocol full"
        )
    return _Division(splits.by_time(favorites.favorites_UI, times_UI, favorites.config), favorites.images)


def _by_pattern(divide: Callable[[csr_array, SplitConfig], Parts]) -> Callable[[_Favorites], _Division]:
    """The protocol that looks at nothing but who favorited which image."""
    return lambda favorites: _Division(divide(favorites.favorites_UI, favorites.config), favorites.images)


DIVISIONS: dict[Protocol, Callable[[_Favorites], _Division]] = {
    "paper": _paper,
    "auc": _by_pattern(splits.leave_one_out),
    "full": _full,
    "time": _time,
    "cold": _by_pattern(splits.cold),
    "cold_users": _by_pattern(splits.cold_users),
}


def _is_later(heldout: pa.Table, learned: pa.Table) -> bool:
    """Whether each user's held-out favorites are later than all those to learn from.

    False where a time is missing, and where no tested user has a favorite to learn from. Only where it is true do the
    favorites to learn from keep their times: a system that takes a user's latest favorites for what comes next would be
    wrong about favorites held out from anywhere in a history.
    """
    if not len(heldout) or heldout["favorited_at"].null_count or learned["favorited_at"].null_count:
        return False
    at = pl.col("favorited_at")
    first, last = (
        pl.DataFrame(rows.select(["user_id", "favorited_at"])).group_by("user_id").agg(end)
        for rows, end in ((heldout, at.min().alias("first")), (learned, at.max().alias("last")))
    )
    both = first.join(last, on="user_id")
    return len(both) > 0 and bool(both.select((pl.col("last") <= pl.col("first")).all()).item())


def _without_times(favorites: pa.Table) -> pa.Table:
    column = favorites.schema.get_field_index("favorited_at")
    field = favorites.schema.field(column)
    return favorites.set_column(column, field, pa.nulls(len(favorites), field.type))


def _incidence(pairs: pa.Table, users: Ids, images: Ids) -> csr_array:
    """The pairs of users whom the community has."""
    pairs_UI = matrices.incidence(pairs["user_id"], pairs["image_id"], users, images)
    if left_out := len(pairs) - pairs_UI.nnz:
        log.warning("%-18s %d rows name a user whom the community does not have", "draw-split", left_out)
    return pairs_UI


def _divide(favorites: pa.Table, heldout_UI: csr_array, users: Ids, images: Ids) -> tuple[pa.Table, pa.Table]:
    """The rows of the table that stay, and those that are held out."""
    row, column = matrices.rows_of(favorites["user_id"], users), matrices.rows_of(favorites["image_id"], images)
    pairs = heldout_UI.tocoo()
    keys = pairs.coords[0].astype(np.int64) * len(images) + pairs.coords[1]
    is_heldout = np.isin(row * len(images) + column, keys)
    return favorites.filter(~is_heldout), favorites.filter(is_heldout)


def _pairs(heldout_UI: csr_array, users: Ids, images: Ids) -> pl.DataFrame:
    pairs = heldout_UI.tocoo()
    return pl.DataFrame({"user_id": users[pairs.coords[0]].tolist(), "image_id": images[pairs.coords[1]].tolist()})


def _write_candidates(images: Ids, root: Root) -> Ref:
    return parquet.write(CANDIDATES, {"image_id": images}, root)
