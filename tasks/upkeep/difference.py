"""How the lists of two published runs differ: whose changed, by how many images, and what entered and left most."""

from dataclasses import dataclass

import polars as pl

from storage import snapshots
from storage.manifests import Manifest
from storage.roots import Root
from storage.snapshots import Pointer
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.similar import SIMILAR_IMAGES

LISTS = ((RECOMMENDATIONS.name, "user_id", "image_id"), (SIMILAR_IMAGES.name, "image_id", "similar_image_id"))


@dataclass(frozen=True)
class Change:
    """A list's owner, or an image of lists: how many images entered the list, or how many lists the image entered."""

    id: str
    entered: int
    left: int


@dataclass(frozen=True)
class ListsDifference:
    """How one table of lists differs. All but `only_in` is about the owners that have a list in both runs."""

    table: str
    owner: str  # the column: user_id or image_id
    only_in: tuple[int, int]  # owners with a list in the first run alone, and in the second alone
    in_both: int
    changed: int  # with other images
    reordered: int  # with the same images in another order
    entered_mean: float  # images of the second run's list that the first's lacks: over all owners,
    entered_median: float  # over the changed ones,
    entered_most: int
    most_changed: list[Change]  # owners
    entered: list[Change]  # images, those first that entered most lists
    left: list[Change]  # images, those first that left most lists


def difference(first: Manifest, second: Manifest, root: Root, at_most: int = 10) -> list[ListsDifference]:
    """The difference of each table of lists that one of the runs has rows of.

    Args:
        at_most: how many owners and images are named.
    Raises:
        DamagedError, FileNotFoundError: a file of one of the runs is damaged or lost.
    """
    return [
        _difference(first, second, *lists, root, at_most)
        for lists in LISTS
        if any(manifest.rows.get(lists[0]) for manifest in (first, second))
    ]


def _difference(
    first: Manifest, second: Manifest, table: str, owner: str, item: str, root: Root, at_most: int
) -> ListsDifference:
    before, after = (
        pl.scan_parquet(snapshots.dataset(root, Pointer.of(manifest), table), glob=False).select(
            pl.col(owner).alias("owner"), pl.col(item).alias("item"), pl.col("rank").alias(name)
        )
        for manifest, name in ((first, "before"), (second, "after"))
    )
    pairs = before.join(after, on=["owner", "item"], how="full", coalesce=True)
    counts = (pl.col("before").is_null().sum().alias("entered"), pl.col("after").is_null().sum().alias("left"))
    owners = (
        pairs.group_by("owner")
        .agg(
            *counts,
            (pl.col("before") != pl.col("after")).sum().alias("moved"),
            pl.col("before").is_not_null().any().alias("in_first"),
            pl.col("after").is_not_null().any().alias("in_second"),
        )
        .collect(engine="streaming")
    )
    both = owners.filter(pl.col("in_first") & pl.col("in_second"))
    changed = both.filter(pl.col("entered") + pl.col("left") > 0)
    items = (
        pairs.join(changed.lazy().select("owner"), on="owner", how="semi")
        .group_by("item")
        .agg(*counts)
        .collect(engine="streaming")
    )

    def most(rows: pl.DataFrame, by: pl.Expr, name: str) -> list[Change]:
        best = rows.filter(by > 0).sort(by, name, descending=[True, False]).head(at_most)
        return [Change(*row) for row in best.select(name, "entered", "left").iter_rows()]

    return ListsDifference(
        table=table,
        owner=owner,
        only_in=(int((~owners["in_second"]).sum()), int((~owners["in_first"]).sum())),
        in_both=len(both),
        changed=len(changed),
        reordered=both.filter((pl.col("entered") + pl.col("left") == 0) & (pl.col("moved") > 0)).height,
        entered_mean=float(both.select(pl.col("entered").mean().fill_null(0.0)).item()),
        entered_median=float(changed.select(pl.col("entered").median().fill_null(0.0)).item()),
        entered_most=int(changed.select(pl.col("entered").max().fill_null(0)).item()),
        most_changed=most(changed, pl.col("entered") + pl.col("left"), "owner"),
        entered=most(items, pl.col("entered"), "item"),
        left=most(items, pl.col("left"), "item"),
    )
