"""The current run once more, without some users and images: same model, same figures, their rows gone."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
from markupsafe import escape

from storage import parquet, snapshots, tombstones
from storage.id_scan import IdScan
from storage.manifests import Manifest
from storage.refs import Ref
from storage.roots import Root
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.similar import SIMILAR_IMAGES
from storage.tombstones import IdsByKind
from tasks.pages.night import minute
from tasks.runtime import runs
from tasks.runtime.digests import digest

RANKED_BY = {RECOMMENDATIONS.name: "user_id", SIMILAR_IMAGES.name: "image_id"}


def republish(manifest: Manifest, scan: IdScan, root: Root) -> str:
    """Publish a run again without those who are looked for, make that current, and return its id.

    The pointer moves last. The tables that the run was computed from are written again too, and its note is kept, so
    that whoever reads the model, and whoever deletes what nobody needs, finds what belongs to the run.
    """
    run = runs.Run(runs.new_id(root), True, f"{manifest.run_id} without some")
    place = snapshots.folder(manifest.run_id)
    exports: dict[str, list[Ref]] = {name: [] for name in manifest.rows}
    for file in manifest.table_files():
        exports[file.ref.name].append(_without(file.ref, scan.ids, root))
    now = datetime.now(UTC)
    redacted = replace(
        manifest,
        run_id=run.id,
        generated_at=now.isoformat(timespec="seconds"),
        ingest=_scrubbed(manifest.ingest, scan),
        inputs={name: _input_without(ref, scan.ids, root) for name, ref in manifest.inputs.items()},
        quarantine=manifest.quarantine and _quarantine_without(manifest.quarantine, scan, root),
        night=digest([manifest.night, *exports.values()]),
        is_current=True,
        memory=None,  # the files that it names are those that name the forgotten
        withdrawn={"from": manifest.run_id, **{f"{kind}s": len(ids) for kind, ids in scan.ids.items()}},
    )
    page = page_without(root.read(f"{place}/report/index.html").decode(), scan)
    made = minute(datetime.fromisoformat(manifest.generated_at))
    page = page.replace(manifest.run_id, run.id).replace(made, minute(now))
    snapshots.publish(root, redacted, exports, page.encode(), current=True)
    records = {record for note in runs.notes(root) if note.made == place for record in runs.records_of(note, root)}
    runs.finish(run, root, snapshots.folder(run.id), records)
    return run.id


def page_without(page: str, scan: IdScan) -> str:
    """A report without the people and the pictures that go; where that is not enough, a page that says so."""
    if scan.ids.get("image") and '<figure class="picture' in page and "data-image=" not in page:
        return _withdrawn_page()  # of a version that did not say which image a picture is
    for kind, id_ in sorted(scan.named):
        element, word = {"user": "article", "image": "figure"}[kind], str(escape(id_))
        page = re.sub(rf'<{element} [^>]*data-{kind}="{re.escape(word)}".*?</{element}>\s*', "", page, flags=re.DOTALL)
        if kind == "image":  # where a community has no tags, clusters and interests are of images
            page = page.replace(f"<li>{word}</li>", "")
    return _withdrawn_page() if scan.in_text(page) else page


def _withdrawn_page() -> str:
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Report withdrawn</title>\n'
        "<p>The report of this run named somebody who was forgotten, and was withdrawn. The figures are in "
        "manifest.json; the next night has a report of its own.</p></html>\n"
    )


def _without(ref: Ref, gone: IdsByKind, root: Root) -> Ref:
    """The table without the rows that name them; ranks close up. The same file where no row does."""
    left = tombstones.redact(pl.DataFrame(parquet.read(ref, root)), gone)
    if group := RANKED_BY.get(ref.name):
        left = left.sort(group, "rank").with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over(group))
    return parquet.rewrite(ref, left, root)


def _input_without(ref: Ref, gone: IdsByKind, root: Root) -> Ref:
    """One of the tables that the run was computed from; one that is lost stays lost."""
    return _without(ref, gone, root) if root.exists(ref.path) else ref


def _quarantine_without(ref: Ref, scan: IdScan, root: Root) -> Ref:
    """The quarantine; a value that names one of them is not shown."""
    if not root.exists(ref.path):
        return ref
    rows = pl.DataFrame(parquet.read(ref, root))
    shown = [value if value is None or not scan.in_text(value) else None for value in rows["value"]]
    return parquet.rewrite(ref, rows.with_columns(pl.Series("value", shown, pl.String)), root)


def _scrubbed(ingest: dict[str, Any], scan: IdScan) -> dict[str, Any]:
    """An ingest report that names none of them: of what the source says it holds names of files and columns."""

    def others(names: list[str]) -> list[str]:
        return [name for name in names if not scan.in_text(name)]

    read = {
        name: {**table, "unknown_columns": others(table["unknown_columns"])} for name, table in ingest["tables"].items()
    }
    return {**ingest, "tables": read, "unknown_files": others(ingest["unknown_files"])}
