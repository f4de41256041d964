"""One system on one split: fitted on what may be learned from, measured on what was held out."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from models.evaluation import metrics, protocols
from models.systems import SYSTEMS, System
from storage import matrices, parquet
from storage.matrices import Ids
from storage.roots import Root
from storage.tables.evaluation import RESULTS, USER_METRICS
from tasks.data.community import CommunityTables, IndexedCommunity, read_community
from tasks.evaluation.full_ranking import FULL_KS, FULL_METRICS
from tasks.evaluation.records import EvaluationSplit, Scored
from tasks.runtime.caching import stage
from tasks.systems.fit import fit
from tasks.systems.scoring import fair_lists, score_mixtures, user_blocks

LISTED = 20  # the longest list
BOTH = "paper_both"  # of each user, the mean of both versions of the paper's protocol, by which settings are chosen


class Figure(NamedTuple):
    """A metric of every test user: float64 (N,), nan where there is nothing to find for a user."""

    protocol: str
    slice: str
    metric: str
    k: int
    values_N: np.ndarray


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a fitted system is asked: N test users, and J images, those first that the community has."""

    known: IndexedCommunity
    tested_N: np.ndarray  # user rows
    heldout_NJ: csr_array
    round: EvaluationSplit
    candidates_I: np.ndarray | None  # image rows that are ranked; None: all

    @property
    def training_NI(self) -> csr_array:  # noqa: N802  # a shape suffix
        """What the test users' lists leave out."""
        return self.known.community.favorites_UI[self.tested_N]

    @property
    def is_cold_J(self) -> np.ndarray:  # noqa: N802
        """An image that the community does not have has no favorite either."""
        num_strangers = self.heldout_NJ.shape[1] - self.known.community.num_images
        popularity_J = np.pad(self.known.community.popularity_I, (0, num_strangers))
        return np.asarray(popularity_J < self.round.cold_below)


@stage
def score_system(
    name: str,
    version: str,
    settings: dict[str, Any],
    seed: int,
    given: CommunityTables,
    round_: EvaluationSplit,
    root: Root,
) -> Scored:
    """Fit a system and measure it. `version` stands for the code of the system, which no import here tells."""
    known = read_community(given, root)
    if lacking := SYSTEMS[name]().lacking(known.community):
        return Scored(name, seed, settings, lacking, None, None, float("nan"))
    system, fit_s = fit(name, settings, seed, known)
    asked = read_heldout(known, round_, root)
    start = time.perf_counter()
    figures, of_all_lists = measure(system, asked)
    score_s = time.perf_counter() - start
    seconds = {"fit_s": fit_s, "score_s": score_s}
    rows = [{**_place(figure), **interval._asdict(), **seconds} for figure, interval in _intervals(figures)] + [
        {"protocol": round_.protocol, "slice": "all", **row, "users": len(asked.tested_N), **seconds}
        for row in of_all_lists
    ]
    measured = pl.DataFrame([{"system": name, "seed": seed, **row} for row in rows], schema=pl.Schema(RESULTS.schema))
    return Scored(
        name,
        seed,
        settings,
        [],
        parquet.write(RESULTS, measured, root),
        parquet.write(USER_METRICS, _per_user(figures, known.users[asked.tested_N]), root),
        headline(figures, round_),
    )


def read_heldout(known: IndexedCommunity, round_: EvaluationSplit, root: Root) -> HeldOut:
    """The round's held-out favorites. Test images that the community does not have stay in the denominators."""
    heldout = parquet.read(round_.heldout, root)
    images = np.append(known.images, np.setdiff1d(matrices.ids_of(heldout["image_id"]), known.images))
    heldout_UJ = matrices.incidence(heldout["user_id"], heldout["image_id"], known.users, images)
    tested_N = np.flatnonzero(np.diff(heldout_UJ.indptr))
    candidates = parquet.read(round_.candidates, root)["image_id"] if round_.candidates else None
    candidates_I = None if candidates is None else np.sort(matrices.rows_of(candidates, known.images))
    return HeldOut(known, tested_N, heldout_UJ[tested_N], round_, candidates_I)


def headline(figures: list[Figure], round_: EvaluationSplit) -> float:
    """The mean over users of the figure that settings are chosen by; of both versions of the paper's protocol."""
    wanted = (BOTH if round_.protocol == "paper" else round_.protocol, "all", round_.metric, round_.k)
    return next(float(np.nanmean(figure.values_N)) for figure in figures if figure[:4] == wanted)


def measure(system: System[Any], asked: HeldOut) -> tuple[list[Figure], list[dict[str, Any]]]:
    """The figures of a protocol: each test user's, and those of all lists together."""
    if asked.round.protocol == "paper":
        return list(_mixtures(system, asked)), []
    if asked.round.protocol == "auc":
        return list(_auc(system, asked)), []
    return _full(system, asked)


def _mixtures(system: System[Any], asked: HeldOut) -> Iterator[Figure]:
    """Precision and recall of concealed images among others (CDL, 6.1): drawn uniformly, as popular, the mean."""
    assert asked.round.thresholds
    num_users = asked.known.community.num_users
    rows_N = np.zeros(num_users, np.int64)
    rows_N[asked.tested_N] = np.diff(asked.heldout_NJ.indptr)
    concealed_UI = csr_array(
        (asked.heldout_NJ.data, asked.heldout_NJ.indices, np.concatenate([[0], np.cumsum(rows_N)])),
        shape=(num_users, asked.heldout_NJ.shape[1]),
    )
    training_UI = asked.known.community.favorites_UI
    split = protocols.Split(training_UI, concealed_UI, asked.tested_N.astype(np.int32), asked.round.thresholds)
    everything = np.ones(training_UI.shape[1], bool)
    favorites_UI = csr_array(training_UI + concealed_UI)
    versions = {}
    for protocol, matched in (("paper", False), ("paper_matched", True)):
        mixture_NM = protocols.mix(split, protocols.draw_others(favorites_UI, split, everything, matched=matched))
        scores_NM = score_mixtures(system, asked.tested_N, mixture_NM, training_UI.shape[1])
        versions[protocol] = protocols.mixture_metrics(scores_NM, split)
    versions[BOTH] = protocols.MixtureMetrics(
        *((one + other) / 2 for one, other in zip(*versions.values(), strict=True))
    )
    for protocol, measured in versions.items():
        for metric, values_NK in measured._asdict().items():
            for k, values_N in enumerate(values_NK.T, start=1):
                yield Figure(protocol, "all", metric, k, values_N)


def _auc(system: System[Any], asked: HeldOut) -> Iterator[Figure]:
    """AUC of the favorite left out over all unobserved images (seed 001, section 6.3)."""
    heldout_N = asked.heldout_NJ.indices
    training_NI = asked.training_NI
    values_N = np.concatenate(
        [
            metrics.auc(system.score(asked.tested_N[block]), heldout_N[block], training_NI[block])
            for block in user_blocks(len(asked.tested_N), training_NI.shape[1])
        ]
    )
    is_cold_N = asked.is_cold_J[heldout_N]
    for name, in_slice_N in {"all": np.ones_like(is_cold_N), "warm": ~is_cold_N, "cold": is_cold_N}.items():
        yield Figure("auc", name, "auc", 0, np.where(in_slice_N, values_N, np.nan))


def _full(system: System[Any], asked: HeldOut) -> tuple[list[Figure], list[dict[str, Any]]]:
    """All candidates ranked but the training favorites; all, warm and cold ones apart, each among its like."""
    community, protocol = asked.known.community, asked.round.protocol
    is_cold_J = asked.is_cold_J
    ranked_I = np.ones(community.num_images, bool)
    if asked.candidates_I is not None:
        ranked_I = np.isin(np.arange(community.num_images), asked.candidates_I)
    slices = {"all": np.ones_like(is_cold_J), "warm": ~is_cold_J, "cold": is_cold_J}
    kept = {name: csr_array(asked.heldout_NJ.multiply(slice_J[None, :])) for name, slice_J in slices.items()}
    for heldout_NJ in kept.values():
        heldout_NJ.eliminate_zeros()
    allowed = {
        name: np.flatnonzero(ranked_I & slice_J[: len(ranked_I)]) for name, slice_J in slices.items() if kept[name].nnz
    }
    figures = []
    num_images = len(allowed["all"])
    # A slice that holds all of them need not be ranked again.
    apart = {name: rows for name, rows in allowed.items() if name == "all" or len(rows) < num_images}
    lists = fair_lists(system, asked.tested_N, apart, LISTED, asked.training_NI, system.seed)
    for name in allowed:
        hits = metrics.find_hits(lists.get(name, lists["all"]), kept[name])
        figures += [
            Figure(protocol, name, metric, k, measured(hits, k))
            for metric, measured in FULL_METRICS.items()
            for k in FULL_KS
        ]
    of_all_lists = []
    for k in FULL_KS:
        listed_NK = lists["all"][:, :k]
        bias = metrics.popularity_bias(listed_NK, community.popularity_I)._asdict()
        share = {"coverage": metrics.coverage(listed_NK, num_images)}
        of_all_lists += [{"metric": metric, "k": k, "value": value} for metric, value in (share | bias).items()]
    return figures, of_all_lists


def _intervals(figures: list[Figure]) -> Iterator[tuple[Figure, metrics.Interval]]:
    """Each figure with its interval; those of one slice have the same users, hence the same resamples."""
    for slice_ in {figure.slice: None for figure in figures}:
        of_slice = [figure for figure in figures if figure.slice == slice_]
        intervals = metrics.bootstrap_columns(np.column_stack([figure.values_N for figure in of_slice]))
        yield from ((figure, interval) for figure, interval in zip(of_slice, intervals, strict=True) if interval.users)


def _place(figure: Figure) -> dict[str, Any]:
    return {key: value for key, value in figure._asdict().items() if key != "values_N"}


def _per_user(figures: list[Figure], users: Ids) -> pl.DataFrame:
    """A row for every figure that a user has."""
    names = pl.Series("user_id", users.tolist(), dtype=pl.String)
    return pl.concat(
        pl.DataFrame({"user_id": names, "value": figure.values_N}).with_columns(
            **{key: pl.lit(value) for key, value in _place(figure).items()}
        )
        for figure in figures
    ).filter(pl.col("value").is_not_nan())
