"""The quarantine with the pictures that could not be decoded."""

from collections import Counter

import pyarrow as pa

from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.sources.directory import IngestConfig, SourceError
from storage.tables.community import QUARANTINE
from tasks.data.pictures import Shard
from tasks.runtime.caching import stage


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
    pictures = parquet.conform(QUARANTINE, pa.Table.from_pylist(rows, QUARANTINE.schema))
    together = pa.concat_tables([parquet.read(quarantine, root).cast(pictures.schema), pictures])
    return parquet.write(QUARANTINE, together, root)
