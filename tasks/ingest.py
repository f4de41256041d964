"""A source directory to the community's typed tables."""

from dataclasses import dataclass
from typing import Any

from storage import parquet, tables
from storage.refs import Ref, ref_of
from storage.roots import Root
from storage.sources import demo, directory
from storage.sources.demo import DemoConfig
from storage.sources.directory import IngestConfig
from tasks.caching import digest, stage
from tasks.progress import Progress


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
def generate_demo(config: DemoConfig, root: Root) -> Demo:
    """Write the demo community as a source directory."""
    folder = f"sources/demo-{digest(config)[:12]}"
    progress = Progress("generate-demo", config.images, "pictures")
    with root.workspace() as workspace:
        demo.write(config, workspace, lambda done, total: progress.advance(done - progress.done))
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
    return Root(root.url(generate_demo(config, root).folder) if source == "demo" else source)


@stage
def ingest(source: Root, source_digest: str, config: IngestConfig, root: Root) -> Community:
    """Validate a source directory and store its tables. `source_digest` stands for its content in the cache key."""
    community = directory.ingest(source, config)
    stored = {}
    for table in tables.COMMUNITY:
        rows = community.tables.get(table.name)
        if rows is None or (table is tables.IMAGE_FEATURES and rows.is_empty()):
            continue
        if table is tables.IMAGE_FEATURES:
            table = table.with_dimensions(rows["feature"].list.len()[0])
        stored[table.name] = parquet.write(table, rows, root)
    quarantine = parquet.write(tables.QUARANTINE, community.quarantine, root)
    return Community(stored, quarantine, community.report)
