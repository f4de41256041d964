"""The end of the night: the gate, the report, the snapshot, and last of all the pointer."""

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.context import TaskRunContext

from storage import history, parquet, snapshots
from storage.documents import DocumentError
from storage.manifests import Manifest, Outcome
from storage.refs import Ref
from storage.roots import DamagedError, Root
from tasks.evaluation.policy_price import metrics_of
from tasks.night import mending, report, start
from tasks.night.gate import Candidate, gate
from tasks.night.records import FromScratch, Night
from tasks.pages.night import files_of
from tasks.runtime import ledger
from tasks.runtime.caching import uncached_stage
from tasks.runtime.digests import digest, plain
from tasks.runtime.ledger import Line
from tasks.settings.limits import GateConfig

GALLERY_VARIABLE = "TASTEGRAPH_GALLERY"  # the address where `tastegraph serve` runs
HISTORY_READ = 50  # how many of the pointer's last changes a night looks at, for rollbacks

log = logging.getLogger("tastegraph")


@dataclass(frozen=True)
class Published:
    """How the night ended."""

    run_id: str  # the run whose snapshot holds this night's tables
    is_current: bool
    is_new: bool  # False: an earlier run had published the very same
    reasons: list[str]  # why it is not current
    warnings: list[str]
    folder: str
    rows: dict[str, int]


@uncached_stage
def publish(night: Night, settings: dict[str, Any], config: GateConfig, stages: list[Line], root: Root) -> Published:
    """Publish the night's snapshot, and make it current if the gate lets it. Nothing is done twice."""
    content = digest([night.exports, night.metrics, night.community, settings])
    judged_beside = snapshots.current_id(root)
    current = _current(root)
    exports = [ref for part in night.exports.values() for ref in part]
    is_whole = current is None or all(fault.is_mended for fault in mending.mend(current, root, exports))
    same = _same(content, config, night, current, root)
    if same and same != current:
        is_whole = all(fault.is_mended for fault in mending.mend(same, root, exports))
    if same and not is_whole:
        log.warning("run %s holds these very tables but not all its files, so they are published again", same.run_id)
        same = None
    if same:
        log.info("nothing to do: run %s holds these very tables", same.run_id)
        ledger.mark_reused()
        return _published(same, same.gate, root, is_new=False)
    metrics = [*parquet.read(night.metrics, root).to_pylist(), *metrics_of(night.prices, night.tested.model.system)]
    split = night.split
    thresholds = plain(split.thresholds, "thresholds")
    comparable = {"source": night.source.address, "thresholds": thresholds, "concealed": split.order}
    if night.tags and night.tags.num_assignments:  # figures fall where a source begins to say who tagged what
        comparable["tags"] = "withheld"
    system, tables = night.tested.model.system, night.community.tables
    learned_from = None if isinstance(night.start, FromScratch) else night.start.base.run_id
    candidate = Candidate(
        system=system,
        metrics=metrics,
        exports=night.exports,
        table=tables,
        lists=night.lists,
        comparable=comparable,
        settings=settings,
        tags=night.tags,
        prices=tuple(night.prices),
        recall=tuple(night.recall),
    )
    outcomes = undone_rollbacks(night.exports, learned_from, root)
    outcomes += gate(candidate, current, config, root)
    generated_at = datetime.now(UTC).isoformat(timespec="seconds")
    past = report.past_figures(comparable, root)
    shown = report.build(night, metrics, outcomes, settings, generated_at, stages, past, root)
    stopped = [outcome for outcome in outcomes if outcome.verdict == "hold"]
    manifest = Manifest(
        run_id=night.run.id,
        generated_at=generated_at,
        code_version=version("tastegraph"),
        night=content,
        gate_settings=plain(config, "gate"),
        source=night.source.address,
        settings=settings,
        inputs=tables,
        quarantine=night.quarantine,
        ingest=night.community.report,
        comparable=comparable,
        system=system,
        model=night.published.label,
        fitted=plain(night.published.fitted, "fitted"),
        learned_from="all favorites" if night.published != night.tested.model else "favorites not concealed",
        image_input=night.tested.image_input,
        score=night.published.score_meaning,
        metrics=metrics,
        gate=tuple(outcomes),
        is_current=not stopped,
        incremental=start.account_of(night),
        memory=start.saved_state(night),
    )
    files = files_of(shown)
    written = snapshots.publish(root, manifest, night.exports, files, current=not stopped, after=judged_beside)
    published = _published(written, outcomes, root, is_new=True)
    if TaskRunContext.get():
        _show(published, metrics, root)
    for warning in published.warnings:
        log.warning("%s", warning)
    for reason in published.reasons:
        log.error("not made current: %s", reason)
    return published


def _current(root: Root) -> Manifest | None:
    """The manifest of the current run; None where there is none, or none that can be read or written again."""
    try:
        return mending.current_manifest(root)
    except (DocumentError, DamagedError, FileNotFoundError) as error:
        log.warning("compared with no earlier run, as what is published cannot be read: %s", error)
        return None


def _same(content: str, config: GateConfig, night: Night, current: Manifest | None, root: Root) -> Manifest | None:
    """The manifest of a run that already holds this content and went through the same gate.

    Being published does not last: when another run has become current since, this one is published again.
    """
    gate_settings = plain(config, "gate")
    # The current one first: a run that was held may hold the same tables.
    for manifest in [*([current] if current else []), *snapshots.runs(root, skip_damaged=True)]:
        equal = manifest.night == content and manifest.gate_settings == gate_settings
        stands = not manifest.is_current or (current is not None and manifest.run_id == current.run_id)
        if equal and stands and (not night.run.is_named or manifest.run_id == night.run.id):
            return manifest
    return None


def undone_rollbacks(exports: dict[str, list[Ref]], learned_from: str | None, root: Root) -> list[Outcome]:
    """The outcomes that stop a night which would undo a rollback by itself; none for any other night.

    Args:
        exports: the night's tables.
        learned_from: the run whose model the night kept or trained on from.
    """
    outcomes, tables = [], {(name, ref.sha256) for name, refs in exports.items() for ref in refs}
    for run_id, change in history.withdrawn(snapshots.changes(root, HISTORY_READ)).items():
        about = f"run {run_id}, which {change.by} rolled back at {change.at}{f' ({change.why})' if change.why else ''}"
        if run_id == learned_from:
            message = f"the model goes on from that of {about}; run again, and it starts from the run that is current"
            outcomes.append(Outcome("no model that was rolled back", False, False, message))
        with suppress(FileNotFoundError, DocumentError):
            if tables == {(file.table, file.sha256) for file in snapshots.manifest(root, run_id).table_files()}:
                message = f"they are those of {about}; `tastegraph publish --run {run_id}` makes it current again"
                outcomes.append(Outcome("no tables that were rolled back", False, False, message))
    return outcomes


def _published(manifest: Manifest, outcomes: Iterable[Outcome], root: Root, *, is_new: bool) -> Published:
    failed = [outcome for outcome in outcomes if not outcome.passed]
    is_current = snapshots.current_id(root) == manifest.run_id  # by the gate, or by hand
    stopped = [] if is_current else [outcome for outcome in failed if outcome.verdict == "hold"]
    return Published(
        run_id=manifest.run_id,
        is_current=is_current,
        is_new=is_new,
        reasons=[f"{outcome.name}: {outcome.message}" for outcome in stopped],
        warnings=[f"{outcome.name}: {outcome.message}" for outcome in failed if outcome not in stopped],
        folder=root.url(f"exports/runs/run_id={manifest.run_id}"),
        rows=manifest.rows,
    )


def _show(published: Published, metrics: list[dict[str, Any]], root: Root) -> None:
    """Leave the metrics, what the gate said and the way to the report in Prefect's UI."""
    figures: dict[tuple[str, str], dict[str, Any]] = {}
    for row in metrics:
        if row["slice"] == "all" and row["k"] in (10, 20):
            which = (row["protocol"], f"{row['metric']}@{row['k']}")
            figures.setdefault(which, {"protocol": which[0], "metric": which[1]})[row["system"]] = round(
                row["value"], 4
            )
    create_table_artifact(key="metrics", table=list(figures.values()), description=f"Metrics of run {published.run_id}")
    said = [("holds", reason) for reason in published.reasons] + [("warns", reason) for reason in published.warnings]
    if said:
        create_table_artifact(
            key="gate",
            table=[{"outcome": outcome, "why": why} for outcome, why in said],
            description=f"Run {published.run_id} {'is' if published.is_current else 'was not made'} current",
        )
    page = f"{published.folder}/report/index.html"
    if root.is_remote:
        create_link_artifact(key="report", link=page, link_text="The run's report")
    else:  # a browser follows no link from a page of a server to a file
        create_markdown_artifact(key="report", markdown=f"The run's report: `{page}`")
    if gallery := os.environ.get(GALLERY_VARIABLE):
        create_link_artifact(key="gallery", link=gallery, link_text="What is recommended, with pictures")
