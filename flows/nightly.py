"""The nightly run: a community's raw data to a published snapshot of recommendations. Read this first.

Every line below that calls a stage is a cached task: it takes references to immutable files and returns references. A
run that was killed goes on where it stopped, and a run on unchanged input does nothing. `flows/learn.py` is read next.
"""

import os
from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.learn import learn
from flows.lineage import lineage
from flows.lists import make_lists, request_lists
from flows.opening import open_run
from flows.settings import NightlyConfig
from storage import snapshots
from tasks.data.concealment import split_favorites
from tasks.data.ingest import ingest
from tasks.data.pixels import decode_all, decoding, plan_shards
from tasks.data.quarantine import quarantine_pictures
from tasks.evaluation.evaluate import evaluate
from tasks.night.publish import Published, publish
from tasks.night.records import Night, reusable_lists, split_of
from tasks.night.start import InputFingerprint, choose, state_of
from tasks.runtime.digests import digest, plain

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
    config = config or NightlyConfig()
    with open_run(source, root, config, run_id=run_id) as opened:
        run, source_root, out = opened.run, opened.source, opened.root
        community = ingest(source_root, opened.content, config.ingest, out)
        table = community.tables
        batches = plan_shards(table["images"], source_root, config.images, out)
        inputs = InputFingerprint(source_root.address, lineage(config), decoding(config.images), digest(batches), table)
        start = choose(config.incremental, inputs, config.model.system, config.word2vec, out)
        split = split_favorites(table["favorites"], split_of(start), config.evaluation, config.concealment, out)
        shards = decode_all(batches, source_root, config.images, out, start.shards)
        quarantine = quarantine_pictures(community.quarantine, shards, config.ingest, out)
        pixels = [shard.pixels for shard in shards if shard.pixels]

        tested = learn(table, split.training, pixels, start.model("tested"), config, out)
        metrics = evaluate(split, table["favorites"], tested.model, out)

        # What is measured has not seen the concealed favorites; what is published may have.
        final = tested
        if config.model.refit:
            final = learn(table, table["favorites"], pixels, start.model("published"), config, out)
        request = request_lists(final.model, table["favorites"], final.tastes.profiles, config.recommend)
        lists = make_lists(request, config.recommend, out, *reusable_lists(start))

        state = state_of(
            run=run,
            inputs=inputs,
            start=start,
            split=split,
            shards=shards,
            tested=tested,
            published=final,
            metrics=metrics,
            lists=lists,
        )
        night = Night(
            run=run,
            source=source_root,
            community=community,
            quarantine=quarantine,
            split=split,
            shards=shards,
            tested=tested,
            metrics=metrics,
            published=final.model,
            state=state,
            start=start,
            work=dict(opened.ledger.work),
        )
        stages = list(opened.ledger.lines.values())
        published = publish(night, plain(config, "config"), config.gate, stages, out)
        opened.finish(snapshots.folder(published.run_id))
    return published
