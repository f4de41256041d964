"""Pictures to packed shards of pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from storage import images, matrices, parquet, shards
from storage.images import PictureFiles
from storage.refs import Ref
from storage.roots import Root
from storage.settings.images import ImageConfig
from storage.shards import Shards
from storage.tables.pixels import PICTURES
from tasks.data.pictures import Batch, Packed, Shard, same_files
from tasks.runtime import ledger
from tasks.runtime.caching import stage, unmapped, unsearched
from tasks.runtime.code_version import code_version
from tasks.runtime.digests import digest
from tasks.runtime.progress import Progress


def decoding(config: ImageConfig) -> str:
    """A digest of all that a picture's pixels depend on, except its bytes."""
    return digest([code_version(__name__), config])


def plan_shards(images_table: Ref, source: Root, config: ImageConfig, root: Root) -> list[Batch]:
    """The pictures of each shard. Reads every file's version, so it is no cached stage."""
    rows = parquet.read(images_table, root, ["image_id", "path"])
    rows = rows.filter(rows["path"].is_valid())
    ids, paths = rows["image_id"].to_pylist(), rows["path"].to_pylist()
    versions = images.versions(PictureFiles(source, root), paths)
    return [
        Batch(ids[part], paths[part], [versions[path] for path in paths[part]])
        for part in shards.cut(ids, config.shard_images)
    ]


def decode_all(
    batches: Sequence[Batch], source: Root, config: ImageConfig, root: Root, last: Sequence[Packed] = ()
) -> list[Shard]:
    """Every shard of the community's pictures, each a cached task run of its own.

    Args:
        last: shards of the previous run by the same code and settings; their unchanged pictures are not decoded again.
    """
    spans = [parquet.read(shard.pictures, root, ["image_id"])["image_id"] for shard in last]
    ends = [(ids[0].as_py(), ids[len(ids) - 1].as_py()) for ids in spans]
    near = [
        [
            shard
            for shard, (first, end) in zip(last, ends, strict=True)
            if first <= batch.ids[-1] and batch.ids[0] <= end
        ]
        for batch in batches
    ]
    fixed = [unmapped(item) for item in (source, config, root)]
    each, overlapping = ([unsearched(item) for item in items] for items in (batches, near))
    return decode_images.map(each, *fixed, overlapping)


@stage
def decode_images(batch: Batch, source: Root, config: ImageConfig, root: Root, last: list[Packed]) -> Shard:
    """The pixels of a batch of pictures, decoded and resized."""
    decoded, rejected_before = _unchanged(batch, last, root)
    progress = Progress("decode-images", len(batch.ids), "pictures of the shard")
    progress.advance(len(rejected_before))
    rows = [row for row, image_id in enumerate(batch.ids) if image_id not in rejected_before]
    ids, paths = [batch.ids[row] for row in rows], [batch.paths[row] for row in rows]
    pixels, rejected = images.pack(ids, paths, PictureFiles(source, root), config, root, progress.advance, decoded)
    num_fetched = len(ids) - len(decoded)
    ledger.count("images fetched", num_fetched)
    ledger.count("images decoded", num_fetched - len(rejected))
    rejected = sorted([*rejected_before.values(), *rejected], key=lambda item: item["image_id"])
    reason_of = {item["image_id"]: item["reason"] for item in rejected}
    reasons = pa.array([reason_of.get(image_id) for image_id in batch.ids], pa.string())
    columns = {"image_id": batch.ids, "path": batch.paths, "version": batch.versions, "reason": reasons}
    return Shard(pixels, parquet.write(PICTURES, columns, root), rejected)


def _unchanged(batch: Batch, last: list[Packed], root: Root) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Of the pictures whose file has not changed: pixels by id, and quarantine rows of those that cannot be decoded."""
    wanted = pl.DataFrame({"image_id": batch.ids, "path": batch.paths, "version": batch.versions})
    pixels: dict[str, np.ndarray] = {}
    rejected: dict[str, Any] = {}
    for shard in last:
        same = same_files(shard.pictures, wanted, root)
        for row in same.filter(pl.col("reason").is_not_null()).to_dicts():
            rejected[row["image_id"]] = {
                "table": "images",
                "image_id": row["image_id"],
                "reason": row["reason"],
                "value": row["path"],
            }
        if shard.pixels:
            packed = Shards.open([shard.pixels], root)
            wanted_ids = same.filter(pl.col("reason").is_null())["image_id"].sort().to_numpy()
            rows = np.flatnonzero(matrices.rows_of(pa.array(packed.ids), wanted_ids) >= 0)
            pixels |= dict(zip(packed.ids[rows], packed.gather(rows), strict=True))
    return pixels, rejected
