"""Whether a run may become current: table checks, metrics against chance, popularity and the last published run."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from models.evaluation.headlines import HEADLINES, headline_of
from storage import parquet
from storage.manifests import Manifest, Outcome
from storage.refs import Ref
from storage.roots import Root
from storage.tables.exports import EXPORTS
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.similar import SIMILAR_IMAGES
from tasks.data.tag_leak import TagAccount
from tasks.evaluation.policy_price import Price
from tasks.night.policy_checks import check_policy
from tasks.systems.lists import Policy


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """How strict the gate is."""

    tolerance: float = 0.1  # how far, relatively, a metric may fall below the last published run's
    below_popularity_stops: bool = False  # else it is a loud warning

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"gate.tolerance is {self.tolerance}: it must be at least 0 and less than 1")


def gate(
    *,
    system: str,
    metrics: list[dict[str, Any]],
    exports: dict[str, list[Ref]],
    table: dict[str, Ref],
    last: Manifest | None,
    comparable: dict[str, Any],
    config: GateConfig,
    tags: TagAccount | None,
    policy: Policy | None,
    prices: list[Price],
    root: Root,
) -> list[Outcome]:
    """The outcomes of all checks.

    Args:
        metrics: rows of METRICS.
        exports: by table of `storage.tables.exports.EXPORTS`.
        table: the community, as ingested.
        last: the current run, of whatever system; its metrics are compared where its `comparable` is equal.
        tags: what they tell of the concealed favorites.
        prices: of the policy's rules.
    """
    outcomes = _check_tables(exports, table["favorites"], table["images"], root)
    lists, similar = (
        pl.concat([parquet.scan(ref, root) for ref in exports[of.name]]) for of in (RECOMMENDATIONS, SIMILAR_IMAGES)
    )
    outcomes += check_policy(policy, lists, similar, prices, root)
    if not any(row["slice"] == "all" for row in metrics):
        outcomes.append(
            Outcome("tested", False, True, "no user has enough favorites to be tested, so nothing is known")
        )
    if tags:
        outcomes.append(Outcome("tags in the test", not tags.is_warning, True, tags.line))
    for protocol, metric in HEADLINES:
        ours = headline_of(metrics, system, protocol, metric)
        if ours is None:
            continue
        name = f"{protocol} {metric}@{ours['k']}"  # below 20 where the protocol was lowered to a small community
        for floor, is_warning in (("random", False), ("popularity", not config.below_popularity_stops)):
            theirs = headline_of(metrics, floor, protocol, metric)
            assert theirs, f"{floor} is measured beside every system"
            outcomes.append(_at_least(f"{name} above {floor}", ours["value"], theirs["value"], is_warning=is_warning))
        before = headline_of(last.metrics, last.system, protocol, metric) if last else None
        if last and before and before["k"] == ours["k"] and last.comparable == comparable:
            least = before["value"] * (1 - config.tolerance)
            outcomes.append(_at_least(f"{name} near run {last.run_id}", ours["value"], least, is_warning=False))
    return outcomes


def _at_least(name: str, ours: float, floor: float, *, is_warning: bool) -> Outcome:
    relation = "is not below" if ours >= floor else "is below"
    return Outcome(name, ours >= floor, is_warning, f"{ours:.4f} {relation} {floor:.4f}")


def _check_tables(exports: dict[str, list[Ref]], favorites: Ref, images: Ref, root: Root) -> list[Outcome]:
    scanned = {name: pl.concat([parquet.scan(ref, root) for ref in refs]) for name, refs in exports.items() if refs}
    lists = scanned["recommendations"]
    known = parquet.scan(images, root).select("image_id")
    outcomes = []
    for table in EXPORTS:
        rows = scanned[table.name]
        repeated = rows.group_by(table.key).len().filter(pl.col("len") > 1).select(pl.len())
        outcomes.append(_none(f"{table.name}: one row per {', '.join(table.key)}", repeated))
        name = "score" if "score" in table.schema.names else "embedding"
        finite = (
            pl.col(name).is_finite()
            if name == "score"
            else pl.col(name).arr.to_list().list.eval(pl.element().is_finite()).list.all()
        )
        outcomes.append(_none(f"{table.name}: every {name} is finite", rows.filter(~finite).select(pl.len())))
    outcomes += [
        _none(
            "recommendations: one row per user_id, image_id",
            lists.group_by("user_id", "image_id").len().filter(pl.col("len") > 1).select(pl.len()),
        ),
        _none(
            "recommendations: no favorite is recommended",
            lists.join(parquet.scan(favorites, root), on=["user_id", "image_id"], how="semi").select(pl.len()),
        ),
        _none("recommendations: every image exists", lists.join(known, on="image_id", how="anti").select(pl.len())),
        _none(
            "recommendations: ranks count from 1 without a gap",
            lists.group_by("user_id")
            .agg(pl.col("rank").max().alias("last"), pl.len().alias("rows"))
            .filter(pl.col("last") != pl.col("rows"))
            .select(pl.len()),
        ),
    ]
    empty = lists.select(pl.len()).collect().item() == 0
    return [*outcomes, Outcome("recommendations: not empty", not empty, False, "no row" if empty else "has rows")]


def _none(name: str, counted: pl.LazyFrame) -> Outcome:
    count = counted.collect().item()
    return Outcome(name, count == 0, False, "holds" if count == 0 else f"{count} rows break it")
