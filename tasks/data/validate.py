"""Check a source as the nightly run would, without storing anything."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from storage import parquet
from storage.roots import Root
from storage.settings.directory import IngestConfig
from storage.settings.images import ImageConfig
from storage.sources import directory
from storage.sources.fetching import addresses_in
from storage.sources.findings import Finding, findings
from storage.sources.table_files import SourceError
from storage.tables.community import IMAGES, QUARANTINE
from tasks.data.pictures import Shard
from tasks.data.pixels import decode_images, plan_shards
from tasks.data.quarantine import quarantine_pictures, rejected_pictures


@dataclass(frozen=True)
class Validation:
    """What a night would read of a source, keep out of it, and whether it would run."""

    report: dict[str, Any]  # the ingest report, with `pictures`
    findings: Sequence[Finding]
    refusal: str | None  # why the night would not run

    def to_json(self) -> dict[str, Any]:
        """The report with what is in quarantine, and why the night would not run, in plain JSON types."""
        found = [asdict(finding) for finding in self.findings]
        return {**self.report, "quarantine": found, "would_run": self.refusal is None, "refusal": self.refusal}


def validate(source: Root, ingest: IngestConfig, images: ImageConfig) -> Validation:
    """What a night would make of a source, including pictures that cannot be decoded. None is fetched.

    Raises SourceError where a table is missing or cannot be read at all.
    """
    refusal, shards = None, list[Shard]()
    try:
        community = directory.ingest(source, ingest, fetches=images.fetch)
    except SourceError as error:
        if error.found is None:
            raise
        community, refusal = error.found, str(error)
    with tempfile.TemporaryDirectory() as folder:
        root = Root(folder)
        to_fetch = addresses_in(community.tables["images"])
        is_address = pl.col("path").is_in(to_fetch)
        own = community.tables["images"].with_columns(path=pl.when(~is_address).then("path"))
        table = parquet.write(IMAGES, own, root)
        quarantine = parquet.write(QUARANTINE, community.quarantine, root)
        shards = [
            decode_images.fn(batch, source, images, root, []) for batch in plan_shards(table, source, images, root)
        ]
        try:
            quarantine_pictures.fn(quarantine, shards, ingest, root)
        except SourceError as error:
            refusal = refusal or str(error)
    pictures = Counter(item["reason"] for shard in shards for item in shard.rejected)
    report = community.report
    report["pictures"] = {
        "to_fetch": len(to_fetch),
        "decoded": sum(shard.pixels.rows for shard in shards if shard.pixels),
        "quarantined": dict(sorted(pictures.items())),
    }
    together = pl.concat([community.quarantine, rejected_pictures(shards)])
    return Validation(report, findings(together), refusal)
