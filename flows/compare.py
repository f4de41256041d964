"""The comparison: every system on one split, with one tuning budget, one set of features and the same seeds.

A line that calls a stage is a cached task, once for each (system, split, seed): a comparison that was killed resumes
where it stopped, and only a changed system runs again.
"""

import logging
from dataclasses import dataclass
from typing import Any

from prefect import flow

from flows.learn import describe_tastes, make_features, signals_of
from flows.opening import OpenRun, open_run, settings_of_run
from flows.settings import (
    ComparisonConfig,
    SharedConfig,
    changed_settings,
    refuse_ignored,
    settings_of,
    settings_of_results,
    systems_named,
)
from models.evaluation.splits import Protocol
from models.systems import SYSTEMS
from storage.refs import Ref
from storage.roots import Root
from tasks.data.community import Clustered, CommunityTables
from tasks.data.fetching import fetch_pictures
from tasks.data.ingest import ingest
from tasks.data.pairs import take_pairs, with_tested_users
from tasks.data.pictures import Features, Pictures
from tasks.data.pixels import decode_all, plan_shards
from tasks.data.tag_leak import account_of_tags
from tasks.data.tag_withholding import known_tables
from tasks.evaluation.comparison import Compared, Entry, describe, publish_comparison
from tasks.evaluation.leaderboard import gather
from tasks.evaluation.measure import score_system
from tasks.evaluation.records import ComparisonSplit, EvaluationSplit
from tasks.evaluation.splits import draw_split
from tasks.evaluation.tune import tune_system
from tasks.night.records import NewModel
from tasks.runtime.code_version import code_version
from tasks.runtime.runners import THREADS

log = logging.getLogger("tastegraph")


@flow(name="compare", task_runner=THREADS, persist_result=False)  # type: ignore[arg-type]  # invariant futures
def compare(
    source: str = "demo",
    root: str = "tastegraph-data",
    systems: str = "all",
    protocol: Protocol = "full",
    test: str | None = None,
    validation: str | None = None,
    seeds: int = 1,
    budget: int = 0,
    config: ComparisonConfig | None = None,
) -> Compared:
    """Fit and measure systems on one split of `source`, and leave tables and a report below `root`/comparisons.

    Args:
        source, root: as in the nightly run.
        config: settings. Each system starts from those of its own that stand there, and from its defaults.
        systems: names with commas between them, or `all`.
        protocol: paper, auc, full, cold, cold_users or time.
        test, validation: files of held-out favorites for the protocol full; without one, shares are drawn at random.
        seeds: each system is fitted with the seeds 0 to seeds - 1.
        budget: how many settings of each system are tried on validation, the defaults first; 0 takes the defaults.
    """
    config, names = settings_of_run(ComparisonConfig, config), systems_named(systems)
    refuse_ignored(config)
    given = {name: settings_of(name, config) for name in names}
    with open_run(source, root, config, names, protocol, test, validation, seeds, budget) as opened:

        def run_stages() -> Compared:
            source_root, out = opened.source, opened.root
            table, splits = ingest_and_split(opened, names, protocol, test, validation, config)
            known = final_tables(table, splits, out)
            tags = account_of_tags(table, known, splits.final.heldout, out)
            images = prepare_images(source_root, table, names, config, out)
            final = Trial(splits.final, prepare(images, known, splits.final.training, names, config, out))
            tuning = None
            if budget:
                known = tuning_tables(table, splits, out)
                tuning = Trial(splits.tuning, prepare(images, known, splits.tuning.training, names, config, out))
            entries = [Entry(name, given[name]) for name in names]
            if tuning:
                entries = _tuned(entries, tuning, budget, out)
            entries = _scored(entries, final, seeds, out)
            leaderboard = gather([scored for entry in entries for scored in entry.scored], splits.final, out)
            parameters = describe(
                source=source,
                content=opened.content,
                protocol=protocol,
                files=(test, validation),
                seeds=seeds,
                budget=budget,
                features=images.origin,
                config=settings_of_results(config),
                changed=changed_settings(config),
            )
            return publish_comparison(leaderboard, entries, splits, tags, parameters, out)

        compared = opened.rebuilding(run_stages)
        opened.finish(f"comparisons/{compared.id}")
    return compared


def ingest_and_split(
    opened: OpenRun,
    names: list[str],
    protocol: Protocol,
    test: str | None,
    validation: str | None,
    config: ComparisonConfig,
) -> tuple[dict[str, Ref], ComparisonSplit]:
    """The community's tables, with the users of the files of held-out favorites, and its split."""
    community = ingest(opened.source, opened.content, config.ingest, config.images.fetch, opened.root)
    if _use_pictures(names, community.tables):
        community = fetch_pictures(community, config.images, config.fetch, opened.root)
    files = take_pairs(test, opened.root), take_pairs(validation, opened.root)
    table = with_tested_users(community.tables, files, opened.source, opened.root)
    return table, draw_split(table, protocol, *files, config.splits, config.evaluation, opened.root)


def tuning_tables(table: dict[str, Ref], splits: ComparisonSplit, root: Root) -> dict[str, Ref]:
    """What may be learned from to choose settings: nothing of the validation part or of the test."""
    tuning, final = splits.tuning, splits.final
    for part, what in ((tuning.training, "to learn from"), (tuning.heldout, "to validate on")):
        if not part.rows:
            raise ValueError(
                f"no favorite is left {what}, so no setting can be chosen; "
                f"give another --validation, or a --budget of 0"
            )
    return known_tables(table, tuning.training, [tuning.heldout, final.heldout], root, time_of=tuning.time_of)


def final_tables(table: dict[str, Ref], splits: ComparisonSplit, root: Root) -> dict[str, Ref]:
    """What may be learned from for the reported figures: nothing of the test."""
    final = splits.final
    return known_tables(table, final.training, [final.heldout], root, time_of=final.time_of)


@dataclass(frozen=True)
class ImageSignals:
    """The community's pictures and their features, which are the same on every split."""

    pixels: list[Ref]
    features: Features | None

    @property
    def origin(self) -> str | None:
        """Where the features come from; None where no system uses any, or the source has none."""
        return self.features.origin if self.features and self.features.shards else None


def prepare_images(
    source_root: Root, table: dict[str, Ref], names: list[str], config: SharedConfig, root: Root
) -> ImageSignals:
    """Pixels and features, where one of these systems uses them."""
    signals, pictures = signals_of(names), Pictures(source_root, [])
    if _use_pictures(names, table):
        batches = plan_shards(table["images"], source_root, config.images, root)
        pictures = Pictures(source_root, decode_all(batches, source_root, config.images, root))
    features = make_features(table, pictures, NewModel(), config, root) if "features" in signals else None
    return ImageSignals(pictures.pixels, features)


def _use_pictures(names: list[str], table: dict[str, Ref]) -> bool:
    """Whether one of these systems uses the pictures, and not features that the source brings."""
    signals = signals_of(names)
    return "pixels" in signals or ("features" in signals and "image_features" not in table)


def prepare(
    images: ImageSignals, table: dict[str, Ref], training: Ref, names: list[str], config: SharedConfig, root: Root
) -> CommunityTables:
    """What these systems may learn from; profiles only where one of them uses them."""
    clustered = None
    if "profiles" in signals_of(names):
        tastes = describe_tastes(table, training, NewModel(), config, root)
        clustered = Clustered(tastes.profiles, tastes.clusters)
    features = images.features.shards if images.features else []
    return CommunityTables(table, training, images.pixels, features, clustered)


@dataclass(frozen=True)
class Trial:
    """A split, and what systems may learn from on it."""

    split: EvaluationSplit
    tables: CommunityTables


def _tuned(entries: list[Entry], trial: Trial, budget: int, root: Root) -> list[Entry]:
    """The entries with the settings that did best, each from its given ones. One that fails is reported."""
    calls = [{**_call(entry, trial, root), "given": entry.given, "budget": budget, "seed": 0} for entry in entries]
    return [entry.tuned_by(found) for entry, found in zip(entries, tune_system.outcomes(calls), strict=True)]


def _scored(entries: list[Entry], trial: Trial, seeds: int, root: Root) -> list[Entry]:
    """The entries with their figures for each seed. One that fails is reported, and the others go on."""
    able = [entry for entry in entries if not (entry.error or entry.lacking)]
    calls = [
        {**_call(entry, trial, root), "settings": entry.settings, "seed": seed}
        for entry in able
        for seed in range(seeds)
    ]
    found, ended = score_system.outcomes(calls), []
    for entry in entries:
        for _ in range(seeds if entry in able else 0):
            entry = entry.scored_by(next(found))
        log.info("%-18s %s", "compare", entry.line)
        ended.append(entry)
    return ended


def _call(entry: Entry, trial: Trial, root: Root) -> dict[str, Any]:
    """The arguments of a stage that fits the entry's system on the trial's split."""
    return {
        "name": entry.system,
        "version": code_version(SYSTEMS[entry.system].__module__),
        "tables": trial.tables.restricted(signals_of([entry.system])),
        "split": trial.split,
        "root": root,
    }
