"""Pictures to packed shards of pixels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from prefect import unmapped

from storage import images, matrices, parquet, shards, tables
from storage.images import ImageConfig
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from storage.sources.directory import IngestConfig, SourceError
from tasks import ledger
from tasks.caching import code_version, digest, stage
from tasks.progress import Progress


@dataclass(frozen=True)
class Batch:
    """The pictures of one shard; a version changes whenever the bytes of its picture do."""

    ids: list[str]
    paths: list[str]
    versions: list[str]


@dataclass(frozen=True)
class Shard:
    """A shard of pixels (None where no picture of it could be decoded), and the pictures that could not."""

    pixels: Ref | None
    rejected: list[dict[str, Any]]
    pictures: Ref  # which files it was made of
    first_id: str
    last_id: str


def decoding(config: ImageConfig) -> str:
    """A digest of all that a picture's pixels hang on, but its bytes."""
    return digest([code_version(images.__name__), config])


def plan_shards(images_table: Ref, source: Root, config: ImageConfig, root: Root) -> list[Batch]:
    """Which pictures go into which shard. Looks at every file's version, so it is no cached stage."""
    rows = parquet.read(images_table, root, ["image_id", "path"])
    rows = rows.filter(rows["path"].is_valid())
    ids, paths = rows["image_id"].to_pylist(), rows["path"].to_pylist()
    versions = images.versions(source, paths)
    return [
        Batch(ids[part], paths[part], [versions[path] for path in paths[part]])
        for part in shards.cut(ids, config.shard_images)
    ]


def decode_all(
    batches: Sequence[Batch], source: Root, config: ImageConfig, root: Root, last: Sequence[Shard] = ()
) -> list[Shard]:
    """Every shard of the community's pictures, each a cached task run of its own.

    Args:
        last: shards of the same settings that an earlier night made; what stands in one is not decoded again.
    """
    fixed = [unmapped(item) for item in (source, config, root, list(last))]
    return list(decode_images.map(list(batches), *fixed).result())


@stage
def quarantine_pictures(quarantine: Ref, shards: list[Shard], config: IngestConfig, root: Root) -> Ref:
    """QUARANTINE with the pictures that could not be decoded. Raises SourceError where they are too many."""
    rejected = [item for shard in shards for item in shard.rejected]
    num_pictures = len(rejected) + sum(shard.pixels.rows for shard in shards if shard.pixels)
    if len(rejected) > config.max_quarantined_share * num_pictures:
        reasons = ", ".join(
            f"{count} {reason}" for reason, count in Counter(i["reason"] for i in rejected).most_common()
        )
        raise SourceError(
            f"{len(rejected)} of {num_pictures} pictures cannot be decoded ({reasons}), more than the share of "
            f"{config.max_quarantined_share} that is allowed; correct the source, or raise ingest.max_quarantined_share"
        )
    rows = [{"table": "images", "row": None, "reason": item["reason"], "value": item["value"]} for item in rejected]
    pictures = parquet.conform(tables.QUARANTINE, pa.Table.from_pylist(rows, tables.QUARANTINE.schema))
    together = pa.concat_tables([parquet.read(quarantine, root).cast(pictures.schema), pictures])
    return parquet.write(tables.QUARANTINE, together, root)


@stage
def decode_images(batch: Batch, source: Root, config: ImageConfig, root: Root, last: list[Shard]) -> Shard:
    """Decode and resize a batch of pictures once."""
    known, refused = _known(batch, last, root)
    progress = Progress("decode-images", len(batch.ids), "pictures of the shard")
    progress.advance(len(refused))
    rows = [row for row, image_id in enumerate(batch.ids) if image_id not in refused]
    ids, paths = [batch.ids[row] for row in rows], [batch.paths[row] for row in rows]
    pixels, rejected = images.pack(ids, paths, source, config, root, progress.advance, known)
    num_fetched = len(ids) - len(known)
    ledger.count("images fetched", num_fetched)
    ledger.count("images decoded", num_fetched - len(rejected))
    columns = {"image_id": batch.ids, "path": batch.paths, "version": batch.versions}
    rejected = sorted([*refused.values(), *rejected], key=lambda item: item["image_id"])
    return Shard(pixels, rejected, parquet.write(tables.PICTURES, columns, root), batch.ids[0], batch.ids[-1])


def _known(batch: Batch, last: list[Shard], root: Root) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Of the pictures whose file has not changed: the pixels by id, and the quarantine rows of those that have none."""
    wanted = pl.LazyFrame({"image_id": batch.ids, "path": batch.paths, "version": batch.versions})
    pixels: dict[str, np.ndarray] = {}
    refused: dict[str, Any] = {}
    for shard in last:
        if shard.last_id < batch.ids[0] or batch.ids[-1] < shard.first_id:
            continue
        seen = parquet.scan(shard.pictures, root)
        same = set(seen.join(wanted, on=["image_id", "path", "version"], how="semi").collect()["image_id"])
        refused |= {item["image_id"]: item for item in shard.rejected if item["image_id"] in same}
        if shard.pixels and same - refused.keys():
            packed = Shards.open([shard.pixels], root)
            rows = np.flatnonzero(matrices.rows_of(pa.array(packed.ids), np.array(sorted(same), object)) >= 0)
            pixels |= dict(zip(packed.ids[rows], packed.gather(rows), strict=True))
    return pixels, refused
