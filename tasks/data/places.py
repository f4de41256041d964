"""Fetched pictures in the table of images: paths of files in place of addresses."""

from collections import Counter
from dataclasses import replace

import polars as pl

from storage import parquet
from storage.roots import Root
from storage.tables.community import IMAGES
from tasks.data.ingest import Community
from tasks.data.pictures import Fetched
from tasks.data.quarantine import with_pictures
from tasks.runtime.caching import stage


@stage
def place_pictures(community: Community, outcomes: list[Fetched], root: Root) -> Community:
    """The tables with the paths of the fetched files, and the addresses in the column `url` where it was empty."""
    images = pl.DataFrame(parquet.read(community.tables["images"], root))
    found = pl.DataFrame(
        [(one.address, one.path, one.reason) for one in outcomes],
        {"path": pl.String, "place": pl.String, "reason": pl.String},
        orient="row",
    )
    joined = images.join(found, on="path", how="left")
    is_address = pl.col("place").is_not_null() | pl.col("reason").is_not_null()
    placed = joined.with_columns(
        path=pl.when(is_address).then("place").otherwise("path"),
        url=pl.when(is_address).then(pl.coalesce("url", "path")).otherwise("url"),
    )
    lost = joined.filter(pl.col("reason").is_not_null())
    rejected = list(lost.select("reason", "path").iter_rows())
    fetched = {
        "files": joined["place"].count(),
        "quarantined": dict(sorted(Counter(reason for reason, _ in rejected).items())),
    }
    return replace(
        community,
        tables={**community.tables, "images": parquet.write(IMAGES, placed.select(images.columns), root)},
        quarantine=with_pictures(community.quarantine, rejected, root),
        report={**community.report, "fetched": fetched},
    )
