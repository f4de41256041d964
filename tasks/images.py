"""Pictures to packed shards of pixels."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from prefect import unmapped

from storage import images, parquet, tables
from storage.images import ImageConfig
from storage.refs import Ref
from storage.roots import Root
from storage.sources.directory import IngestConfig, SourceError
from tasks.caching import stage
from tasks.progress import Progress


@dataclass(frozen=True)
class Batch:
    """The pictures of one shard; the fingerprint changes whenever the bytes of one of them do."""

    ids: list[str]
    paths: list[str]
    fingerprint: str


@dataclass(frozen=True)
class Shard:
    """A shard of pixels (None where no picture of it could be decoded), and the pictures that could not."""

    pixels: Ref | None
    rejected: list[dict[str, Any]]


def plan_shards(images_table: Ref, source: Root, config: ImageConfig, root: Root) -> list[Batch]:
    """Which pictures go into which shard. Looks at every file's version, so it is no cached stage."""
    rows = parquet.read(images_table, root, ["image_id", "path"])
    rows = rows.filter(rows["path"].is_valid())
    ids, paths = rows["image_id"].to_pylist(), rows["path"].to_pylist()
    versions = images.versions(source, paths)
    batches = []
    for first in range(0, len(ids), config.shard_images):
        chosen = slice(first, first + config.shard_images)
        fingerprint = images.fingerprint(ids[chosen], paths[chosen], source, versions)
        batches.append(Batch(ids[chosen], paths[chosen], fingerprint))
    return batches


def decode_all(images_table: Ref, source: Root, config: ImageConfig, root: Root) -> list[Shard]:
    """Every shard of the community's pictures, each a cached task run of its own."""
    batches = plan_shards(images_table, source, config, root)
    return list(decode_images.map(batches, unmapped(source), unmapped(config), unmapped(root)).result())


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
def decode_images(batch: Batch, source: Root, config: ImageConfig, root: Root) -> Shard:
    """Decode and resize a batch of pictures once."""
    progress = Progress("decode-images", len(batch.ids), "pictures of the shard")
    pixels, rejected = images.pack(batch.ids, batch.paths, source, config, root, progress.advance)
    return Shard(pixels, rejected)
