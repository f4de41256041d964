"""The nightly run: a community's raw data to a published snapshot of recommendations. Read this first.

Every line below that calls a stage is a cached task: it takes references to immutable files and returns references. A
run that was killed goes on where it stopped, and a run on unchanged input does nothing. `flows/learn.py` is read next.
"""

import os
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.learn import learn
from flows.settings import NightlyConfig
from storage import snapshots
from storage.roots import Root
from tasks import ledger, runs
from tasks.caching import canonical, digest, records_below
from tasks.evaluate import evaluate
from tasks.images import decode_all, quarantine_pictures
from tasks.ingest import content_of, ingest, open_source
from tasks.night import Night
from tasks.publish import Published, publish
from tasks.recommend import exported, find_similar, recommend_all
from tasks.split import conceal_favorites

THREADS = ThreadPoolTaskRunner[Any](max_workers=os.cpu_count() or 1)


@flow(name="nightly", task_runner=THREADS, persist_result=False)  # type: ignore[arg-type]  # invariant futures
def nightly(
    source: str = "demo", root: str = "tastegraph-data", config: NightlyConfig | None = None, run_id: str | None = None
) -> Published:
    """Ingest `source`, learn, recommend to everybody, and publish below `root` if the gate lets it.

    Args:
        source: a source directory (docs: source contract), local or s3://, or `demo` for the built-in community.
        root: where everything that is made lies, local or s3://.
        config: settings; the defaults suit a laptop and communities up to some hundred thousand images.
        run_id: names the run; by default that of an unfinished run of the same source and settings, else the time.
    """
    config, here = config or NightlyConfig(), Root(root)
    with records_below(here) as used:
        there = open_source(source, config.demo, here)
        content = content_of(there, here)
        run = runs.begin(run_id, digest([source, content, config]), here)
        community = ingest(there, content, config.ingest, here)
        table = community.tables
        split = conceal_favorites(table["favorites"], config.evaluation, here)
        shards = decode_all(table["images"], there, config.images, here)
        quarantine = quarantine_pictures(community.quarantine, shards, config.ingest, here)
        pixels = [shard.pixels for shard in shards if shard.pixels]

        tested = learn(table, split.training, pixels, config, here)
        metrics = evaluate(split, table["favorites"], tested.model, here)

        # What is measured has not seen the concealed favorites; what is published may have.
        final = learn(table, table["favorites"], pixels, config, here) if config.model.refit else tested
        lists = recommend_all(final.model, table["favorites"], final.tastes.profiles, config.recommend, here)
        similar = find_similar(final.model, config.recommend, here)

        exports = exported(lists, final.model, similar)
        night = Night(run, there, community, quarantine, split, shards, tested, metrics, final.model, exports)
        stages = ledger.lines_of(flow_run.id)
        published = publish(night, canonical(config, "config"), config.gate, stages, here).result()
        runs.finish(run, here, snapshots.folder(published.run_id), used)
    return published
