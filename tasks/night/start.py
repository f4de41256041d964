"""What a night starts from: from nothing, or from what the last published night left, and why."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import TypeAdapter

from storage import parquet, snapshots
from storage.refs import Ref
from storage.roots import Root
from storage.tables.schema import SCHEMA_VERSION
from tasks.data.clusters import drift
from tasks.data.pictures import Packed, Shard
from tasks.data.sentences import sentences_of
from tasks.data.split import Split
from tasks.data.word2vec import Word2VecConfig
from tasks.night.gate import GATED
from tasks.night.records import How, Learned, Night, NightStart, NightState
from tasks.runtime.digests import canonical
from tasks.runtime.records import missing
from tasks.runtime.runs import Run
from tasks.systems.lists import Lists

log = logging.getLogger("tastegraph")


@dataclass(frozen=True, kw_only=True)
class IncrementalConfig:
    """What a night keeps of the last published one."""

    start: Literal["full", "warm", "keep"] = (
        "full"  # full: learn from nothing; warm: train on from the last model; keep: that model, for all that is new
    )
    take_over: bool = True  # what the last night made of the same input; false makes it anew, to the same bytes
    full_every: int = 7  # every so many nights one learns from nothing; 0: none for that reason
    warm_every: int = (
        3  # with keep: every so many nights since a model has learned one is warm; 0: none for that reason
    )
    tag_drift: float = 0.1  # share of tag occurrences that may move before word2vec and k-means run again
    quality_drift: float = 0.05  # how far, relatively, figures may fall below those of the last night from nothing
    warm_epochs: int = 15  # of a training that goes on from the last model; half of one from nothing

    def __post_init__(self) -> None:
        if self.start not in ("full", "warm", "keep"):
            raise ValueError(f"incremental.start is {self.start!r}; choose full, warm or keep")


@dataclass(frozen=True)
class InputFingerprint:
    """What decides whether tonight may build on an earlier night."""

    source: str
    lineage: str
    decoding: str
    pictures: str
    table: dict[str, Ref]


def choose(
    config: IncrementalConfig, tonight: InputFingerprint, system: str, words: Word2VecConfig, root: Root
) -> NightStart:
    """What tonight starts from. Looks at the pointer and at files, so it is no cached stage."""
    start = _choose(config, tonight, system, words, root)
    if not config.take_over:
        start = replace(start, last=None, shards=())
    log.info("%-18s %s", f"start: {start.how}", start.why)
    return start


def memories_of(manifest: dict[str, Any]) -> tuple[NightState, NightState] | None:
    """The night that learned a published model, and the night that published it; None where it tells neither."""
    told = manifest.get("memory")
    if not told:
        return None
    last = TypeAdapter(NightState).validate_python(told["last"])
    return (TypeAdapter(NightState).validate_python(told["base"]) if told["base"] else last), last


def remember(
    run: Run,
    tonight: InputFingerprint,
    start: NightStart,
    split: Split,
    shards: list[Shard],
    tested: Learned,
    published: Learned,
    metrics: Ref,
    lists: Lists,
) -> NightState:
    """What the nights after this one may build on."""
    return NightState(
        run.id,
        start.how,
        start.num_kept,
        **vars(tonight),
        split=split,
        shards=[Packed(shard.pixels, shard.pictures) for shard in shards],  # what was rejected would name images
        tested=tested,
        published=published,
        metrics=metrics,
        full_metrics=start.base.full_metrics if start.base else metrics,
        lists=lists,
    )


def memory_of(night: Night) -> dict[str, Any]:
    """For the manifest: what later nights may build on, of this one and of the one whose model it kept."""
    base = night.start.base if night.start.how == "keep" else None
    return {"last": canonical(night.memory, "memory"), "base": canonical(base, "base")}


def account_of(night: Night) -> dict[str, Any]:
    """For the manifest: what the night started from and why, what was learned, and how much was really done."""
    start, base = night.start, night.start.base
    words = "kept" if start.keeps_tags else "learned"
    trained = {"full": "from nothing", "warm": "from the weights of", "keep": "kept from"}[start.how]
    return {
        "how": start.how,
        "why": start.why,
        "nights_kept": start.num_kept,
        "model": f"{trained} run {base.run_id}" if base else trained,
        "tags": words if start.tag_drift is None else f"{words}: they have drifted by {start.tag_drift:.4f}",
        "work": night.work,
    }


def _choose(
    config: IncrementalConfig, tonight: InputFingerprint, system: str, words: Word2VecConfig, root: Root
) -> NightStart:
    pointer = snapshots.current(root)
    if pointer is None:
        return NightStart("full", "nothing is published yet")
    run, manifest = f"run {pointer.run_id}", snapshots.manifest(root, pointer.run_id)
    memories = memories_of(manifest)
    if memories is None:
        forgot = (
            "it is one without somebody who was forgotten" if manifest.get("withdrawn") else "of an earlier version"
        )
        return NightStart("full", f"{run} left no memory: {forgot}")
    base, last = memories
    if gone := next(missing(canonical(list(memories), "memories"), root), None):
        return NightStart("full", f"{gone}, which {run} left, is gone")
    same_pixels = (last.source, last.decoding) == (tonight.source, tonight.decoding)
    known = NightStart(
        "full",
        "asked for by incremental.start",
        clusters=last.published.tastes.known if last.source == tonight.source else None,
        shards=tuple(last.shards) if same_pixels else (),
    )
    if config.start == "full":
        return known
    if why := next(_against(config, tonight, last, manifest, root), None):
        return replace(known, why=why)
    how: How = config.start
    is_same = (last.table, last.pictures) == (tonight.table, tonight.pictures)
    if how == "warm" and is_same:
        how = "keep"
    drift = _drift(tonight, base, words, root)
    why = "nothing has changed" if is_same else "asked for by incremental.start"
    keeps_tags = drift <= config.tag_drift
    nights = last.num_kept + 1 - base.num_kept
    if how == "keep" and not is_same and 0 < config.warm_every <= nights:
        how, why = "warm", f"it is {nights} nights since {base.run_id}, whose model it is, learned"
    if not keeps_tags and system == "cdl":  # its users are bags of these clusters
        how, why = "warm", f"tags have drifted by {drift:.3f} since {base.run_id}, more than incremental.tag_drift"
    return replace(
        known,
        how=how,
        why=why,
        num_kept=last.num_kept + 1,
        keeps_tags=keeps_tags,
        tag_drift=drift,
        base=base,
        last=last,
    )


def _against(
    config: IncrementalConfig, tonight: InputFingerprint, last: NightState, manifest: dict[str, Any], root: Root
) -> Iterator[str]:
    """Why tonight cannot build on the last night, or should not."""
    if last.source != tonight.source:
        yield f"the source is another one than {last.source}"
    if manifest["schema_version"] != SCHEMA_VERSION:
        yield f"run {last.run_id} has tables of version {manifest['schema_version']}, this is {SCHEMA_VERSION}"
    if last.lineage != tonight.lineage:
        yield f"code or settings have changed since run {last.run_id}"
    if last.published.model.fitted:
        yield f"{last.published.model.system} has no embeddings that could be kept"
    if config.full_every and last.num_kept + 1 >= config.full_every:
        yield f"it is {last.num_kept + 1} nights since the last that learned from nothing"
    newest = snapshots.runs(root)[0]
    if not newest["is_current"] and newest.get("incremental", {}).get("how", "full") != "full":
        yield f"the gate stopped run {newest['run_id']}, which did not learn from nothing"
    yield from _fallen(config.quality_drift, last, root)


def _fallen(tolerance: float, last: NightState, root: Root) -> Iterator[str]:
    """The figures of the last night that are too far below those of the last that learned from nothing."""
    before, now = (
        {
            (row["protocol"], row["metric"], row["k"]): row["value"]
            for row in parquet.read(metrics, root).to_pylist()
            if (row["system"], row["slice"]) == (last.tested.model.system, "all")
        }
        for metrics in (last.full_metrics, last.metrics)
    )
    for protocol, metric in GATED:
        k = max((key[2] for key in before.keys() & now.keys() if key[:2] == (protocol, metric)), default=0)
        key = (protocol, metric, k)
        if k and now[key] < before[key] * (1 - tolerance):
            figure = f"{protocol} {metric}@{k}"
            yield f"since the last night from nothing, {figure} fell from {before[key]:.4f} to {now[key]:.4f}"


def _drift(tonight: InputFingerprint, base: NightState, words: Word2VecConfig, root: Root) -> float:
    sentences = sentences_of(tonight.table, tonight.table["favorites"])
    return drift(base.published.tastes.vectors, sentences, words.min_count, root)
