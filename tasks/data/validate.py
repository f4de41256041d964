"""Check a source as the nightly run would, without storing anything."""

import tempfile
from collections import Counter
from typing import Any

from storage import parquet
from storage.images import ImageConfig
from storage.roots import Root
from storage.sources import directory
from storage.sources.directory import IngestConfig
from storage.tables.community import IMAGES, QUARANTINE
from tasks.data.pixels import decode_images, plan_shards
from tasks.data.quarantine import quarantine_pictures


def validate(source: Root, ingest: IngestConfig, images: ImageConfig) -> dict[str, Any]:
    """The ingest report, including pictures that cannot be decoded. Raises SourceError if the nightly run would."""
    community = directory.ingest(source, ingest)
    with tempfile.TemporaryDirectory() as folder:
        root = Root(folder)
        table = parquet.write(IMAGES, community.tables["images"], root)
        quarantine = parquet.write(QUARANTINE, community.quarantine, root)
        shards = [
            decode_images.fn(batch, source, images, root, []) for batch in plan_shards(table, source, images, root)
        ]
        quarantine_pictures.fn(quarantine, shards, ingest, root)
    pictures = Counter(item["reason"] for shard in shards for item in shard.rejected)
    report = community.report
    report["pictures"] = {
        "decoded": sum(shard.pixels.rows for shard in shards if shard.pixels),
        "quarantined": dict(sorted(pictures.items())),
    }
    return report
