"""The quarantine with the pictures that could not be decoded."""

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.settings.directory import IngestConfig
from storage.sources.findings import findings
from storage.sources.table_files import SourceError
from storage.tables.community import QUARANTINE
from tasks.data.pictures import Shard
from tasks.runtime.caching import stage


@stage
def quarantine_pictures(quarantine: Ref, shards: list[Shard], config: IngestConfig, root: Root) -> Ref:
    """QUARANTINE with the pictures that could not be decoded. Raises SourceError where they are too many."""
    rejected = rejected_pictures(shards)
    num_pictures = len(rejected) + sum(shard.pixels.rows for shard in shards if shard.pixels)
    if len(rejected) > config.max_quarantined_share * num_pictures:
        reasons = "; ".join(f"{one.count} {one.reason}, {one.example}, {one.advice}" for one in findings(rejected))
        raise SourceError(
            f"{len(rejected)} of {num_pictures} pictures cannot be decoded ({reasons}), more than the share of "
            f"{config.max_quarantined_share} that is allowed; correct the source, or raise ingest.max_quarantined_share"
        )
    return with_pictures(quarantine, _rejected(shards), root)


def with_pictures(quarantine: Ref, rejected: Sequence[tuple[str, str]], root: Root) -> Ref:
    """QUARANTINE with these pictures: why, and the path or the address."""
    pictures = parquet.conform(QUARANTINE, _rows(rejected))
    together = pa.concat_tables([parquet.read(quarantine, root).cast(pictures.schema), pictures])
    return parquet.write(QUARANTINE, together, root)


def rejected_pictures(shards: list[Shard]) -> pl.DataFrame:
    """The pictures that could not be decoded, as rows of QUARANTINE."""
    return _rows(_rejected(shards))


def _rejected(shards: list[Shard]) -> list[tuple[str, str]]:
    return [(item["reason"], item["value"]) for shard in shards for item in shard.rejected]


def _rows(rejected: Sequence[tuple[str, str]]) -> pl.DataFrame:
    rows = [("images", None, reason, value, None) for reason, value in rejected]
    types = {field.name: pl.Int64() if pa.types.is_integer(field.type) else pl.String() for field in QUARANTINE.schema}
    return pl.DataFrame(rows, types, orient="row")
