"""Published runs: one immutable snapshot per run, and a small pointer, written last, that says which is current.

    exports/current.json                                    the pointer
    exports/runs/run_id=<run_id>/<table>/part-00000.parquet
    exports/runs/run_id=<run_id>/report/index.html
    exports/runs/run_id=<run_id>/manifest.json              written when every file of the run is in its place

A run without a manifest is one whose publishing was killed: nobody reads it, and publishing it again completes it.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from storage.refs import Ref
from storage.roots import Entry, Root
from storage.tables import SCHEMA_VERSION

POINTER = "exports/current.json"
RUNS = "exports/runs"


class PublishedError(ValueError):
    """The run id is taken by a published run with other tables."""


@dataclass(frozen=True)
class Pointer:
    """Where a published run's tables lie; what `exports/current.json` holds."""

    run_id: str
    generated_at: str
    schema_version: str
    paths: dict[str, list[str]]  # per table, its files below the root
    rows: dict[str, int]  # per table
    checksums: dict[str, str]  # sha256 per file
    metrics: Any

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "Pointer":
        """The pointer to the run with this manifest."""
        paths: dict[str, list[str]] = {table: [] for table in manifest["tables"]}
        for file in manifest["files"]:
            paths[file["table"]].append(file["path"])
        return cls(
            run_id=manifest["run_id"],
            generated_at=manifest["generated_at"],
            schema_version=manifest["schema_version"],
            paths=paths,
            rows=dict(manifest["tables"]),
            checksums={file["path"]: file["sha256"] for file in manifest["files"]},
            metrics=manifest["metrics"],
        )


def publish(
    root: Root,
    run_id: str,
    tables: Mapping[str, Sequence[Ref]],
    report: bytes,
    manifest: Mapping[str, Any],
    current: bool,
) -> dict[str, Any]:
    """Publish a run and return its manifest; with `current`, make it the one that readers follow.

    Killed anywhere and called again, it ends with the same files. A run that is published already is kept as it is
    where its tables are the same (lost files are put back), so that only the pointer may still move.

    Args:
        tables: the files of each table, in the order in which they are read.
        report: the page `report/index.html`.
        manifest: what else the manifest tells; `generated_at` (ISO 8601, UTC) and `metrics` are needed.
    Raises:
        PublishedError: the run id is taken by a run with other tables.
        ConflictError: another run was made current since this call began.
        ValueError: a run id that cannot stand in a path, or a manifest that JSON cannot hold.
    """
    if missing := {"generated_at", "metrics"} - set(manifest):
        raise ValueError(f"run {run_id}: the manifest lacks {', '.join(sorted(missing))}")
    pointer = root.entry(POINTER)
    folder = _folder(run_id)
    files = [
        {"table": table, "path": f"{folder}/{table}/part-{part:05d}.parquet"} | _facts(ref)
        for table, refs in sorted(tables.items())
        for part, ref in enumerate(refs)
    ]
    page = f"{folder}/report/index.html"
    made = {
        **manifest,
        "run_id": run_id,
        "schema_version": SCHEMA_VERSION,
        "content": content_digest(tables),
        "tables": {table: sum(ref.rows for ref in refs) for table, refs in sorted(tables.items())},
        "files": files,
        "report": {"path": page, "bytes": len(report), "sha256": hashlib.sha256(report).hexdigest()},
    }
    data = _json(made)  # before anything is written: it may refuse

    published = _read(root, f"{folder}/manifest.json")
    if published and published["content"] != made["content"]:
        raise PublishedError(
            f"{root.url(folder)}: run {run_id} was published at {published['generated_at']} with other tables, and "
            f"published runs never change; publish under another run id"
        )
    present = {entry.path: entry for entry in root.entries(folder)}
    for file, ref in zip(files, (ref for _, refs in sorted(tables.items()) for ref in refs), strict=True):
        # What a killed attempt left may come from other tables, so without a manifest everything is copied again.
        if not published or not _same_size(present.get(file["path"]), file["bytes"]):
            root.copy(ref.path, file["path"])
    if not published:
        for path in present.keys() - checksums.keys() ...
    return {}
