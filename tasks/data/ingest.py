"""A source directory to the community's typed tables."""

from dataclasses import dataclass
from typing import Any

from storage import parquet, tombstones
from storage.refs import Ref, ref_of
from storage.roots import Root
from storage.sources import directory
from storage.sources.demo.community import DemoConfig, write_demo
from storage.sources.directory import IngestConfig
from storage.tables.community import COMMUNITY, IMAGE_FEATURES, QUARANTINE
from tasks.runtime.caching import stage
from tasks.runtime.digests import digest
from tasks.runtime.progress import Progress


@dataclass(frozen=True)
class Demo:
    """The generated community: a source directory below the root."""

    folder: str
    files: list[Ref]


@dataclass(frozen=True)
class Community:
    """The ingested tables by name, what was kept out, and the ingest report."""

    tables: dict[str, Ref]
    quarantine: Ref
    report: dict[str, Any]


@stage
def generate_demo(config: DemoConfig, forgotten: str, root: Root) -> Demo:
    """Write the demo community as a source directory, which names nobody who was forgotten.

    `forgotten` stands for the root's tombstones in the cache key.
    """
    folder = f"sources/demo-{digest([config, forgotten] if forgotten else config)[:12]}"
    progress = Progress("generate-demo", config.images, "pictures")
    with root.workspace() as workspace:
        struck = tombstones.read(root)
        write_demo(config, workspace, lambda done, total: progress.advance(done - progress.done), struck)
        made = Root(str(workspace))
        files = []
        for entry in list(made.entries()):
            root.put(workspace / entry.path, f"{folder}/{entry.path}")
            if "/" not in entry.path:
                stored = root.read(f"{folder}/{entry.path}")
                files.append(ref_of(entry.path, f"{folder}/{entry.path}", stored))
    return Demo(folder, files)


def open_source(source: str, config: DemoConfig, root: Root) -> Root:
    """The source directory; for `demo`, the built-in community, written first."""
    return Root(root.url(_demo(config, root).folder) if source == "demo" else source)


def _demo(config: DemoConfig, root: Root) -> Demo:
    return generate_demo(config, tombstones.read(root).digest, root)


def content_of(source: Root, root: Root) -> str:
    """What an ingest takes in, as a digest: the source's tables, and the tombstones of the root."""
    content, forgotten = directory.tables_digest(source), tombstones.read(root).digest
    return digest([content, forgotten]) if forgotten else content


@stage
def ingest(source: Root, source_digest: str, config: IngestConfig, root: Root) -> Community:
    """Validate a source directory and store its tables, without those who were forgotten.

    `source_digest`, of `content_of`, stands for its content and for the tombstones in the cache key.
    """
    community = directory.ingest(source, config, tombstones.read(root))
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
