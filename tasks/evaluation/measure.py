"""One system on one split: fitted on the training favorites, measured on those held out.

U users, N of them tested, I images, J the same and the held-out images that the community does not have, M images of
each user's mixture, K places in a list.
"""

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

LISTED = max(FULL_KS)  # places in a list
BOTH = "paper_both"  # the mean of both versions of the paper's protocol for each user; settings are chosen by it


class Figure(NamedTuple):
    """A metric of every test user: float64 (N,), nan where there is nothing to find for a user."""

    protocol: str
    slice: str
    metric: str
    k: int
    values_N: np.ndarray


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a fitted system is tested on: N test users, and J images, first those that the community has."""

    indexed: IndexedCommunity
    tested_N: np.ndarray  # user rows
    heldout_NJ: csr_array
    split: EvaluationSplit
    candidates_I: np.ndarray | None  # image rows that are ranked; None: all

    @property
    def training_NI(self) -> csr_array:  # noqa: N802  # a shape suffix
        """The test users' training favorites, which their lists leave out."""
        return self.indexed.community.favorites_UI[self.tested_N]

    @property
    def is_cold_J(self) -> np.ndarray:  # noqa: N802
        """bool (J,): few training favorites; an image that the community does not have has none."""
        num_unknown = self.heldout_NJ.shape[1] - self.indexed.community.num_images
        popularity_J = np.pad(self.indexed.community.popularity_I, (0, num_unknown))
        return np.asarray(popularity_J < self.split.cold_below)


@stage
def score_system(
    name: str,
    version: str,
    settings: dict[str, Any],
    seed: int,
    tables: CommunityTables,
    split: EvaluationSplit,
    root: Root,
) -> Scored:
    """The figures of one system with one seed.

    `version` stands for the system's code in the cache key, as nothing here imports it.
    """
    indexed = read_community(tables, root)
    if lacking := SYSTEMS[name]().lacking(indexed.community):
        return Scored(name, seed, settings, lacking, None, None, float("nan"))
    system, fit_s = fit(name, settings, seed, indexed)
    heldout = read_heldout(indexed, split, root)
    start = time.perf_counter()
    figures, list_figures = measure(system, heldout)
    score_s = time.perf_counter() - start
    seconds = {"fit_s": fit_s, "score_s": score_s}
    rows = [{**_key(figure), **interval._asdict(), **seconds} for figure, interval in _intervals(figures)] + [
        {"protocol": split.protocol, "slice": "all", **row, "users": len(heldout.tested_N), **seconds}
        for row in list_figures
    ]
    measured = pl.DataFrame([{"system": name, "seed": seed, **row} for row in rows], schema=pl.Schema(RESULTS.schema))
    return Scored(
        name,
        seed,
        settings,
        [],
        parquet.write(RESULTS, measured, root),
        parquet.write(USER_METRICS, _per_user(figures, indexed.users[heldout.tested_N]), root),
        headline(figures, split),
    )


def read_heldout(indexed: IndexedCommunity, split: EvaluationSplit, root: Root) -> HeldOut:
    """The held-out favorites of a split. Test images that the community does not have stay in the denominators."""
    heldout = parquet.read(split.heldout, root)
    images = np.append(indexed.images, np.setdiff1d(matrices.ids_of(heldout["image_id"]), indexed.images))
    heldout_UJ = matrices.incidence(heldout["user_id"], heldout["image_id"], indexed.users, images)
    tested_N = np.flatnonzero(np.diff(heldout_UJ.indptr))
    candidates = parquet.read(split.candidates, root)["image_id"] if split.candidates else None
    candidates_I = None if candidates is None else np.sort(matrices.rows_of(candidates, indexed.images))
    return HeldOut(indexed, tested_N, heldout_UJ[tested_N], split, candidates_I)


def headline(figures: list[Figure], split: EvaluationSplit) -> float:
    """The mean of the deciding metric over users; for the paper's protocol, of both its versions."""
    wanted = (BOTH if split.protocol == "paper" else split.protocol, "all", split.metric, split.k)
    return next(float(np.nanmean(figure.values_N)) for figure in figures if figure[:4] == wanted)


def measure(system: System[Any], heldout: HeldOut) -> tuple[list[Figure], list[dict[str, Any]]]:
    """The figures of a protocol: those of each test user, and those of all lists together."""
    if heldout.split.protocol == "paper":
        return list(_mixtures(system, heldout)), []
    if heldout.split.protocol == "auc":
        return list(_auc(system, heldout)), []
    return _full(system, heldout)


def _mixtures(system: System[Any], heldout: HeldOut) -> Iterator[Figure]:
    """Precision and recall of concealed images among others (CDL, section 6.1).

    The others are drawn at random in one version, and are as popular as the concealed images in another; the third is
    the mean of both.
    """
    assert heldout.split.thresholds
    num_users = heldout.indexed.community.num_users
    rows_N = np.zeros(num_users, np.int64)
    rows_N[heldout.tested_N] = np.diff(heldout.heldout_NJ.indptr)
    concealed_UI = csr_array(
        (heldout.heldout_NJ.data, heldout.heldout_NJ.indices, np.concatenate([[0], np.cumsum(rows_N)])),
        shape=(num_users, heldout.heldout_NJ.shape[1]),
    )
    training_UI = heldout.indexed.community.favorites_UI
    concealment = protocols.Split(
        training_UI, concealed_UI, heldout.tested_N.astype(np.int32), heldout.split.thresholds
    )
    everything = np.ones(training_UI.shape[1], bool)
    favorites_UI = csr_array(training_UI + concealed_UI)
    versions = {}
    for protocol, matched in (("paper", False), ("paper_matched", True)):
        mixture_NM = protocols.mix(
            concealment, protocols.draw_distractors(favorites_UI, concealment, everything, matched=matched)
        )
        scores_NM = score_mixtures(system, heldout.tested_N, mixture_NM, training_UI.shape[1])
        versions[protocol] = protocols.mixture_metrics(scores_NM, concealment)
    versions[BOTH] = protocols.MixtureMetrics(
        *((one + other) / 2 for one, other in zip(*versions.values(), strict=True))
    )
    for protocol, measured in versions.items():
        for metric, values_NK in measured._asdict().items():
            for k, values_N in enumerate(values_NK.T, start=1):
                yield Figure(protocol, "all", metric, k, values_N)


def _auc(system: System[Any], heldout: HeldOut) -> Iterator[Figure]:
    """AUC of the favorite left out over all unobserved images (seed 001, section 6.3)."""
    heldout_N = heldout.heldout_NJ.indices
    training_NI = heldout.training_NI
    values_N = np.concatenate(
        [
            metrics.auc(system.score(heldout.tested_N[block]), heldout_N[block], training_NI[block])
            for block in user_blocks(len(heldout.tested_N), training_NI.shape[1])
        ]
    )
    is_cold_N = heldout.is_cold_J[heldout_N]
    for name, in_slice_N in {"all": np.ones_like(is_cold_N), "warm": ~is_cold_N, "cold": is_cold_N}.items():
        yield Figure("auc", name, "auc", 0, np.where(in_slice_N, values_N, np.nan))


def _full(system: System[Any], heldout: HeldOut) -> tuple[list[Figure], list[dict[str, Any]]]:
    """Figures of all candidates ranked, without training favorites; and of warm and of cold images ranked alone."""
    community, protocol = heldout.indexed.community, heldout.split.protocol
    is_cold_J = heldout.is_cold_J
    ranked_I = np.ones(community.num_images, bool)
    if heldout.candidates_I is not None:
        ranked_I = np.isin(np.arange(community.num_images), heldout.candidates_I)
    slices = {"all": np.ones_like(is_cold_J), "warm": ~is_cold_J, "cold": is_cold_J}
    kept = {name: csr_array(heldout.heldout_NJ.multiply(slice_J[None, :])) for name, slice_J in slices.items()}
    for heldout_NJ in kept.values():
        heldout_NJ.eliminate_zeros()
    allowed = {
        name: np.flatnonzero(ranked_I & slice_J[: len(ranked_I)]) for name, slice_J in slices.items() if kept[name].nnz
    }
    figures = []
    num_images = len(allowed["all"])
    # A slice that holds all images need not be ranked again.
    distinct = {name: rows for name, rows in allowed.items() if name == "all" or len(rows) < num_images}
    lists = fair_lists(system, heldout.tested_N, distinct, LISTED, heldout.training_NI, system.seed)
    for name in allowed:
        hits = metrics.find_hits(lists.get(name, lists["all"]), kept[name])
        figures += [
            Figure(protocol, name, metric, k, measured(hits, k))
            for metric, measured in FULL_METRICS.items()
            for k in FULL_KS
        ]
    list_figures = []
    for k in FULL_KS:
        listed_NK = lists["all"][:, :k]
        bias = metrics.popularity_bias(listed_NK, community.popularity_I)._asdict()
        share = {"coverage": metrics.coverage(listed_NK, num_images)}
        list_figures += [{"metric": metric, "k": k, "value": value} for metric, value in (share | bias).items()]
    return figures, list_figures


def _intervals(figures: list[Figure]) -> Iterator[tuple[Figure, metrics.Interval]]:
    """Each figure with its interval; those of one slice have the same users, hence the same resamples."""
    for slice_ in {figure.slice: None for figure in figures}:
        of_slice = [figure for figure in figures if figure.slice == slice_]
        intervals = metrics.bootstrap_columns(np.column_stack([figure.values_N for figure in of_slice]))
        yield from ((figure, interval) for figure, interval in zip(of_slice, intervals, strict=True) if interval.users)


def _key(figure: Figure) -> dict[str, Any]:
    return {key: value for key, value in figure._asdict().items() if key != "values_N"}


def _per_user(figures: list[Figure], users: Ids) -> pl.DataFrame:
    """A row for every figure that a user has."""
    names = pl.Series("user_id", users.tolist(), dtype=pl.String)
    return pl.concat(
        pl.DataFrame({"user_id": names, "value": figure.values_N}).with_columns(
            **{key: pl.lit(value) for key, value in _key(figure).items()}
        )
        for figure in figures
    ).filter(pl.col("value").is_not_nan())
