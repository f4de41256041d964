"""Published runs: one immutable snapshot per run, and a small pointer, written last, that says which is current.

    exports/current.json                                      the pointer
    exports/runs/run_id=<run_id>/<table>/part-00000.parquet
    exports/runs/run_id=<run_id>/report/index.html
    exports/runs/run_id=<run_id>/manifest.json                written when all else of the run is in its place

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
from storage.roots import Root
from storage.tables.schema import SCHEMA_VERSION

POINTER = "exports/current.json"
RUNS = "exports/runs"


class PublishedError(ValueError):
    """The run id is taken by a published run with other tables."""


@dataclass(frozen=True)
class Pointer:
    """Where a published run's tables lie: what `exports/current.json` holds."""

    run_id: str
    generated_at: str
    schema_version: str
    paths: dict[str, list[str]]  # each table's files, below the root
    rows: dict[str, int]  # each table's
    checksums: dict[str, str]  # each file's sha256
    metrics: Any

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "Pointer":
        """The pointer to the run with this manifest, current or not."""
        files = [file for file in manifest["files"] if file["table"]]
        return cls(
            run_id=manifest["run_id"],
            generated_at=manifest["generated_at"],
            schema_version=manifest["schema_version"],
            paths={name: [file["path"] for file in files if file["table"] == name] for name in manifest["rows"]},
            rows=dict(manifest["rows"]),
            checksums={file["path"]: file["sha256"] for file in files},
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

    Killed anywhere and called again, it ends with the same files. A run that is published already keeps its manifest
    and its report where the tables are the same: lost tables are put back, and only the pointer may still move.

    Args:
        tables: each table's files, in the order in which they are read.
        report: the page for `report/index.html`.
        manifest: what else the manifest tells; needs `generated_at` (ISO 8601, UTC) and `metrics`. With tables of
            another version of the schema it says so in `schema_version`.
    Raises:
        PublishedError: the run id is taken by a run with other tables.
        ConflictError: somebody else published this run, or made another one current, since the call began.
        ValueError: a run id that cannot be part of a path, or a manifest that JSON cannot hold.
    """
    if missing := {"generated_at", "metrics"} - manifest.keys():
        raise ValueError(f"run {run_id}: the manifest lacks {', '.join(sorted(missing))}")
    pointer = root.entry(POINTER)
    place = folder(run_id)
    sources = {
        f"{place}/{name}/part-{part:05d}.parquet": (name, ref)
        for name, refs in sorted(tables.items())
        for part, ref in enumerate(refs)
    }
    files = [
        {"table": name, "path": path, "rows": ref.rows, "bytes": ref.bytes, "sha256": ref.sha256}
        for path, (name, ref) in sources.items()
    ]
    page = f"{place}/report/index.html"
    digest = hashlib.sha256(report).hexdigest()
    made: dict[str, Any] = {
        **manifest,
        "run_id": run_id,
        "schema_version": manifest.get("schema_version", SCHEMA_VERSION),
        "rows": {name: sum(ref.rows for ref in refs) for name, refs in sorted(tables.items())},
        "files": [*files, {"table": None, "path": page, "rows": 0, "bytes": len(report), "sha256": digest}],
    }
    data = _json(made)  # before anything is written, as it may refuse

    published = _read(root, f"{place}/manifest.json")
    if published and [file for file in published["files"] if file["table"]] != files:
        raise PublishedError(
            f"{root.url(place)}: run {run_id} was published at {published['generated_at']} with other tables, and "
            f"what is published never changes; publish under another run id"
        )
    present = {entry.path: entry.size for entry in root.entries(place)}
    for path, (_, ref) in sources.items():
        # Without a manifest everything is copied anew: what a killed call left may be of other tables.
        if not published or present.get(path) != ref.bytes:
            root.copy(ref.path, path)
    if not published:
        for left in present.keys() - sources.keys():
            root.delete(left)
        root.write(page, report)
        root.swap(f"{place}/manifest.json", data, None)
    if current:
        _follow(root, Pointer.of(published or made), pointer.version if pointer else None)
    return published or made


def current(root: Root) -> Pointer | None:
    """The pointer to the current run; None where no run was made current yet."""
    found = _read(root, POINTER)
    return Pointer(**{field.name: found[field.name] for field in fields(Pointer)}) if found else None


def manifest(root: Root, run_id: str) -> dict[str, Any]:
    """What a published run holds, and how it was made. Raises FileNotFoundError where there is no such run."""
    if found := _read(root, f"{folder(run_id)}/manifest.json"):
        return found
    raise FileNotFoundError(f"{root.url(RUNS)}: no run {run_id} was published here")


def runs(root: Root) -> list[dict[str, Any]]:
    """The manifests of all published runs, the newest first, current or not."""
    paths = [entry.path for entry in root.entries(RUNS)]
    read = [_read(root, path) for path in paths if re.fullmatch(f"{RUNS}/[^/]+/manifest.json", path)]
    manifests = [found for found in read if found]  # an old run may be deleted while we look
    return sorted(manifests, key=lambda found: (found["generated_at"], found["run_id"]), reverse=True)


def dataset(root: Root, pointer: Pointer, table: str) -> list[Path]:
    """Local Parquet files with a table's rows, in order, to be scanned. Raises ValueError for an unknown table."""
    if table not in pointer.paths:
        raise ValueError(f"run {pointer.run_id} has no table {table}; it has {', '.join(sorted(pointer.paths))}")
    return [root.local(path, pointer.checksums[path]) for path in pointer.paths[table]]


def folder(run_id: str) -> str:
    """Where a run is published, below the root. Raises ValueError for a run id that cannot be part of a path."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", run_id):
        raise ValueError(f"run id {run_id!r}: write letters, digits and . _ - only, and no . or - in front")
    return f"{RUNS}/run_id={run_id}"


def _follow(root: Root, pointer: Pointer, expected: str | None) -> None:
    data = _json(asdict(pointer))
    if expected is None or root.read(POINTER) != data:
        root.swap(POINTER, data, expected)


def _read(root: Root, path: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(root.read(path))
    except FileNotFoundError:
        return None
    return found


def _json(value: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(value, indent=2, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"run {value['run_id']}: JSON cannot hold its manifest or pointer: {error}") from error
