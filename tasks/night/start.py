"""What a night starts from: from scratch, or from the published run, and why."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from models.evaluation.headlines import HEADLINES, headline_of
from storage import parquet, snapshots
from storage.documents import DocumentError
from storage.manifests import Manifest
from storage.roots import Root
from storage.tables.schema import SCHEMA_VERSION
from tasks.data.clusters import drift
from tasks.data.pictures import Packed
from tasks.data.sentences import sentences_of
from tasks.night.records import (
    STATE_VERSION,
    FromScratch,
    InputFingerprint,
    Keep,
    Night,
    NightStart,
    NightState,
    WarmStart,
)
from tasks.runtime.digests import canonical
from tasks.runtime.records import missing
from tasks.settings.start import IncrementalConfig
from tasks.settings.word2vec import Word2VecConfig

log = logging.getLogger("tastegraph")


def choose(
    config: IncrementalConfig, inputs: InputFingerprint, system: str, words: Word2VecConfig, root: Root
) -> NightStart:
    """What the night starts from. Looks at the pointer and at files, so it is no cached stage."""
    start = _choose(config, inputs, system, words, root)
    if not config.take_over:
        fresh = replace(start, shards=())
        start = fresh if isinstance(fresh, FromScratch) else replace(fresh, previous=None)
    log.info("%-18s %s", f"start: {start.how}", start.why)
    return start


def states_of(manifest: Manifest) -> tuple[NightState, NightState] | str:
    """The night that learned a published model, and the night that published it; or why neither can be read."""
    run, state = f"run {manifest.run_id}", manifest.memory
    if state is not None and not isinstance(state, dict):
        return f"the state that {run} left cannot be read (no object but {state!r})"
    if not state:
        return f"{run} left no state: " + (
            "it is one without somebody who was forgotten" if manifest.withdrawn else "it is of an earlier version"
        )
    version = state.get("version", 1)
    if version != STATE_VERSION:
        return f"{run} left a state of version {version}, and this code reads version {STATE_VERSION}"
    try:
        last = TypeAdapter(NightState).validate_python(state["last"])
        base = TypeAdapter(NightState).validate_python(state["base"]) if state["base"] else last
    except (ValidationError, KeyError, TypeError) as error:
        return f"the state that {run} left cannot be read ({str(error).splitlines()[0]})"
    return base, last


def state_of(night: Night) -> NightState:
    """What the nights after this one may build on."""
    return NightState(
        run_id=night.run.id,
        how=night.start.how,
        num_kept=night.start.num_kept,
        **vars(night.inputs),
        split=night.split,
        tested_table=night.tested_table,
        shards=[Packed(shard.pixels, shard.pictures) for shard in night.shards],  # rejected ones would name images
        tested=night.tested,
        published=night.final,
        metrics=night.metrics,
        full_metrics=night.metrics if isinstance(night.start, FromScratch) else night.start.base.full_metrics,
        lists=night.lists,
    )


def saved_state(night: Night) -> dict[str, Any]:
    """For the manifest: the state of this night, and that of the one whose model it kept."""
    base = night.start.base if isinstance(night.start, Keep) else None
    states = {"last": canonical(state_of(night), "state"), "base": canonical(base, "base")}
    return {"version": STATE_VERSION, **states}


def account_of(night: Night) -> dict[str, Any]:
    """For the manifest: what the night started from and why, what was learned, and how much was computed."""
    start = night.start
    model, tags_account = "from nothing", "learned"
    if not isinstance(start, FromScratch):
        model = f"{'kept from' if isinstance(start, Keep) else 'from the weights of'} run {start.base.run_id}"
        tags_account = f"{'kept' if start.keeps_tags else 'learned'}: they have drifted by {start.tag_drift:.4f}"
    return {
        "how": start.how,
        "why": start.why,
        "nights_kept": start.num_kept,
        "model": model,
        "tags": tags_account,
        "work": night.work,
    }


def _choose(
    config: IncrementalConfig, inputs: InputFingerprint, system: str, words: Word2VecConfig, root: Root
) -> NightStart:
    try:
        pointer = snapshots.current(root)
        if pointer is None:
            return FromScratch("nothing is published yet")
        manifest = snapshots.manifest(root, pointer.run_id)
    except (DocumentError, FileNotFoundError) as error:
        return FromScratch(f"what is published cannot be read ({error})")
    states = states_of(manifest)
    if isinstance(states, str):
        return FromScratch(states)
    base, last = states
    if gone := next(missing(canonical(list(states), "states"), root), None):
        return FromScratch(f"{gone}, which run {pointer.run_id} left, is gone")
    same_pixels = (last.source, last.decoding) == (inputs.source, inputs.decoding)
    clusters = last.published.tastes.known if last.source == inputs.source else None
    shards = tuple(last.shards) if same_pixels else ()
    if config.start == "full":
        return FromScratch("asked for by incremental.start", clusters, shards)
    if against := next(_against(config, inputs, last, manifest, root), None):
        return FromScratch(against, clusters, shards)
    is_same = (last.table, last.pictures) == (inputs.table, inputs.pictures)
    kind: type[WarmStart] | type[Keep] = Keep if config.start == "keep" or is_same else WarmStart
    tag_drift = _drift(inputs, base, words, root)
    keeps_tags = tag_drift <= config.tag_drift
    why = "nothing has changed" if is_same else "asked for by incremental.start"
    nights = last.num_kept + 1 - base.num_kept
    if kind is Keep and not is_same and 0 < config.warm_every <= nights:
        kind, why = WarmStart, f"it is {nights} nights since {base.run_id}, whose model it is, learned"
    if not keeps_tags and system == "cdl":  # its users are bags of these clusters
        kind = WarmStart
        why = f"tags have drifted by {tag_drift:.3f} since {base.run_id}, more than incremental.tag_drift"
    return kind(
        why=why,
        num_kept=last.num_kept + 1,
        keeps_tags=keeps_tags,
        tag_drift=tag_drift,
        base=base,
        previous=last,
        clusters=clusters,
        shards=shards,
    )


def _against(
    config: IncrementalConfig, inputs: InputFingerprint, last: NightState, manifest: Manifest, root: Root
) -> Iterator[str]:
    """Why the night cannot build on the last one, or should not."""
    if last.source != inputs.source:
        yield f"the source is another one than {last.source}"
    if manifest.schema_version != SCHEMA_VERSION:
        yield f"run {last.run_id} has tables of version {manifest.schema_version}, this is {SCHEMA_VERSION}"
    if last.lineage != inputs.lineage:
        yield f"code or settings have changed since run {last.run_id}"
    if last.published.model.fitted:
        yield f"{last.published.model.system} has no embeddings that could be kept"
    if config.full_every and last.num_kept + 1 >= config.full_every:
        yield f"it is {last.num_kept + 1} nights since the last that learned from nothing"
    newest = snapshots.runs(root, skip_damaged=True)[0]
    was_held = not newest.is_current and newest.run_id != manifest.run_id  # else a person made it current even so
    if was_held and newest.incremental.get("how", "full") != "full":
        yield f"the gate stopped run {newest.run_id}, which did not learn from nothing"
    yield from _fallen(config.quality_drift, last, root)


def _fallen(tolerance: float, last: NightState, root: Root) -> Iterator[str]:
    """The figures of the last night that are too far below those of the last that learned from scratch."""
    before, now = (parquet.read(metrics, root).to_pylist() for metrics in (last.full_metrics, last.metrics))
    for protocol, metric in HEADLINES:
        first, latest = (headline_of(rows, last.tested.model.system, protocol, metric) for rows in (before, now))
        if not first or not latest or first["k"] != latest["k"]:
            continue
        if latest["value"] < first["value"] * (1 - tolerance):
            figure = f"{protocol} {metric}@{first['k']}"
            yield f"since the last night from nothing, {figure} fell from {first['value']:.4f} to {latest['value']:.4f}"


def _drift(inputs: InputFingerprint, base: NightState, words: Word2VecConfig, root: Root) -> float:
    sentences = sentences_of(inputs.table, inputs.table["favorites"])
    return drift(base.published.tastes.vectors, sentences, words.min_count, root)
