"""Publish the current run again without some users and images: same model, same figures, without their rows."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from storage import parquet, snapshots, tombstones
from storage.id_scan import IdScan
from storage.images import FETCHED
from storage.manifests import Manifest
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import IMAGES
from storage.tables.reasons import REASONS
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.similar import SIMILAR_IMAGES
from storage.tombstones import KINDS, TEXTS
from tasks.pages.contents import CUT, ContentsError, Picture, Reason, Recommendation, Report, from_json
from tasks.pages.night import CONTENTS, PAGE, files_of
from tasks.runtime import runs
from tasks.runtime.digests import digest

log = logging.getLogger("tastegraph")

RANKED_BY = {RECOMMENDATIONS.name: "user_id", REASONS.name: "user_id", SIMILAR_IMAGES.name: "image_id"}
WITHDRAWN = (
    b'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Report withdrawn</title>\n'
    b"<p>The report of this run named somebody who was forgotten, and was withdrawn. The figures are in "
    b"manifest.json; the next night has a report of its own.</p></html>\n"
)


def republish(manifest: Manifest, scan: IdScan, root: Root) -> str:
    """Publish a run again without the ids that the scan looks for, make that current, and return its id.

    The pointer moves last. The tables that the run was computed from are redacted too, and the new run notes the same
    records, so that scoring and retention find what belongs to it.
    """
    run = runs.Run(runs.new_id(root), True, f"{manifest.run_id} without some")
    place = snapshots.folder(manifest.run_id)
    exports: dict[str, list[Ref]] = {name: [] for name in manifest.rows}
    for file in manifest.table_files():
        exports[file.ref.name].append(_without(file.ref, scan, root))
    now = datetime.now(UTC)
    redacted = replace(
        manifest,
        run_id=run.id,
        generated_at=now.isoformat(timespec="seconds"),
        ingest=_scrubbed(manifest.ingest, scan),
        inputs={name: _input_without(ref, scan, root) for name, ref in manifest.inputs.items()},
        quarantine=manifest.quarantine and _quarantine_without(manifest.quarantine, scan, root),
        night=digest([manifest.night, *exports.values()]),
        is_current=True,
        memory=None,  # the files that it names are those that name the forgotten
        withdrawn={"from": manifest.run_id, **{f"{kind}s": len(ids) for kind, ids in scan.ids.items()}},
    )
    report = _report_without(place, redacted, scan, root)
    snapshots.publish(root, redacted, exports, report, current=True, action="forget", after=manifest.run_id)
    records = {record for note in runs.notes(root) if note.published == place for record in runs.records_of(note, root)}
    runs.finish(run, root, snapshots.folder(run.id), records)
    return run.id


def report_without(report: Report, scan: IdScan) -> Report:
    """The report without the people, pictures and words that name one of the ids that the scan looks for.

    A picture is left out where its id, its title or its tags name one; the ranks of the other pictures close up.
    """
    users, images = (scan.ids.get(kind, frozenset()) for kind in KINDS)

    def is_left(picture: Picture) -> bool:
        texts = [text for text in (picture.title, *picture.tags) if text]
        return picture.image_id not in images and not any(map(scan.in_words, texts))

    def words_left(words: Sequence[str]) -> list[str]:
        """In a community without tags, clusters and interests are of images."""
        return [word for word in words if word not in images and not scan.in_words(word)]

    def listed(items: Sequence[Recommendation]) -> list[Recommendation]:
        left = (replace(item, reasons=reasons_left(item.reasons)) for item in items if is_left(item.picture))
        return [replace(item, rank=place + 1) for place, item in enumerate(left)]

    def names_one(reason: Reason) -> bool:
        texts = [text for text in (reason.because, reason.label) if text]
        return reason.because in users | images or any(map(scan.in_words, texts))

    def reasons_left(reasons: Sequence[Reason]) -> list[Reason]:
        return [replace(one, because=None, label=None) if names_one(one) else one for one in reasons]

    def rows_left(row: str) -> bool:
        """A row that was cut may have named anybody in its other half."""
        return not row.endswith(CUT) and not scan.in_value(row)

    people = [
        replace(
            person,
            interests=words_left(person.interests),
            likes=[picture for picture in person.likes if is_left(picture)],
            got=listed(person.got),
            found=listed(person.found),
        )
        for person in report.people
        if person.user_id not in users
    ]
    case = report.case
    if case:
        named = case.user_id in users or len(words_left(tags := [tag for tag, _ in case.tags])) < len(tags)
        case = None if named or not all(map(is_left, (*case.positives, *case.negatives))) else case
    failures = report.failures
    if failures:
        misses = [
            replace(
                miss,
                likes=[picture for picture in miss.likes if is_left(picture)],
                missed=[picture for picture in miss.missed if is_left(picture)],
                got=listed(miss.got),
            )
            for miss in failures.misses
            if miss.user_id not in users
        ]
        failures = replace(
            failures,
            misses=misses,
            kept_out=[
                replace(kept, samples=[sample for sample in kept.samples if rows_left(sample[1])])
                for kept in failures.kept_out
            ],
            cold=[image for image in failures.cold if is_left(image.picture)],
        )
    clusters = [replace(cluster, tokens=words_left(cluster.tokens)) for cluster in report.clusters]
    return replace(report, people=people, clusters=clusters, failures=failures, case=case)


def _report_without(place: str, redacted: Manifest, scan: IdScan, root: Root) -> dict[str, bytes]:
    """The files of the redacted run's report, rendered from the data of the run in `place`.

    Where that run has no such data, as those of earlier versions, or where one of the ids is still named, a page says
    that the report was withdrawn.
    """
    try:
        report = from_json(root.read(f"{place}/report/{CONTENTS}"))
    except (FileNotFoundError, ContentsError) as error:
        log.warning("the report of the redacted run is withdrawn, as it cannot be rendered again: %s", error)
        return {PAGE: WITHDRAWN}
    left = replace(
        report_without(report, scan),
        title=report.title.replace(report.run_id, redacted.run_id),
        run_id=redacted.run_id,
        generated_at=datetime.fromisoformat(redacted.generated_at),
    )
    files = files_of(left)
    # Not its pictures: among their bytes any short id stands somewhere.
    return {PAGE: WITHDRAWN} if any(scan.in_words(files[name].decode()) for name in (PAGE, CONTENTS)) else files


def _without(ref: Ref, scan: IdScan, root: Root) -> Ref:
    """The table without the rows and texts that name one of the ids; ranks close up. The same file where none does."""
    rows, gone = pl.DataFrame(parquet.read(ref, root)), scan.ids
    if ref.name == IMAGES.name:  # of an owner who is forgotten no fetched picture stays
        is_owned = pl.col("owner_id").is_in(sorted(gone.get("user", ()))).fill_null(False)
        is_fetched = pl.col("path").str.starts_with(FETCHED).fill_null(False)
        rows = rows.with_columns(path=pl.when(~(is_owned & is_fetched)).then("path"))
    left = tombstones.redact(rows, gone)
    for name in {*TEXTS} & {*left.columns}:
        shown = [text if text is None or not scan.in_value(text) else None for text in left[name]]
        left = left.with_columns(pl.Series(name, shown, pl.String))
    if group := RANKED_BY.get(ref.name):
        left = left.with_columns(pl.col("rank").rank("dense").over(group).cast(pl.Int32))
    return parquet.rewrite(ref, left, root)


def _input_without(ref: Ref, scan: IdScan, root: Root) -> Ref:
    """One of the tables that the run was computed from; one that is lost stays lost."""
    return _without(ref, scan, root) if root.exists(ref.path) else ref


def _quarantine_without(ref: Ref, scan: IdScan, root: Root) -> Ref:
    """The quarantine; a value or a row's text that names one of the ids is emptied."""
    if not root.exists(ref.path):
        return ref
    rows = pl.DataFrame(parquet.read(ref, root))
    for name in ("value", "text"):
        if name in rows.columns:  # older runs have no text
            shown = [cell if cell is None or not scan.in_value(cell) else None for cell in rows[name]]
            rows = rows.with_columns(pl.Series(name, shown, pl.String))
    return parquet.rewrite(ref, rows, root)


def _scrubbed(ingest: dict[str, Any], scan: IdScan) -> dict[str, Any]:
    """The ingest report without the names of files and columns that name one of the ids."""

    def kept(names: list[str]) -> list[str]:
        return [name for name in names if not scan.in_text(name)]

    read = {
        name: {**table, "unknown_columns": kept(table["unknown_columns"])}
        for name, table in ingest.get("tables", {}).items()
    }
    return {**ingest, "tables": read, "unknown_files": kept(ingest.get("unknown_files", []))}
