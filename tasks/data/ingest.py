"""A source directory to the community's typed tables."""

import logging
from dataclasses import dataclass
from typing import Any

from storage import parquet, tombstones
from storage.refs import Ref
from storage.roots import Root
from storage.settings.directory import IngestConfig
from storage.sources import directory
from storage.tables.community import COMMUNITY, IMAGE_FEATURES, QUARANTINE
from tasks.runtime.caching import stage
from tasks.runtime.digests import digest

log = logging.getLogger("tastegraph")


@dataclass(frozen=True)
class Community:
    """The ingested tables by name, the quarantine, and the ingest report."""

    tables: dict[str, Ref]
    quarantine: Ref
    report: dict[str, Any]


def content_of(source: Root, root: Root) -> str:
    """A digest of everything an ingest reads: the source's tables, and the tombstones of the root."""
    content, forgotten = directory.tables_digest(source), tombstones.read(root).digest
    return digest([content, forgotten]) if forgotten else content


@stage
def ingest(source: Root, source_digest: str, config: IngestConfig, fetches: bool, root: Root) -> Community:
    """Validate a source directory and store its tables, without forgotten users and images.

    `source_digest`, from `content_of`, puts the source's content and the tombstones into the cache key. With
    `fetches` an image's path may be an address.
    """
    community = directory.ingest(source, config, tombstones.read(root), fetches=fetches)
    for account in community.report["tables"].values():
        for note in account["notes"]:
            log.info("%-18s %s: %s", "ingest", account["file"], note)
    stored = {}
    for table in COMMUNITY:
        rows = community.tables.get(table.name)
        if rows is None or (table is IMAGE_FEATURES and rows.is_empty()):
            continue
        if table is IMAGE_FEATURES:
            table = table.with_dimensions(rows["feature"].list.len()[0])
        stored[table.name] = parquet.write(table, rows, root)
    quarantine = parquet.write(QUARANTINE, community.quarantine, root)
    return Community(stored, quarantine, community.report)
