"""The nightly run: a community's raw data to a published snapshot of recommendations. Read this first.

Every line below that calls a stage is a cached task: it takes references to immutable files and returns references. A
run that was killed goes on where it stopped, and a run on unchanged input does nothing.
"""

import os
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.settings import NightlyConfig
from storage.roots import Root
from storage.sources.directory import tables_digest
from tasks import ledger, runs
from tasks.caching import canonical, digest, records_below
from tasks.embed import embed_all
from tasks.evaluate import evaluate
from tasks.images import decode_all, quarantine_pictures
from tasks.ingest import ingest, open_source
from tasks.inputs import prepare_inputs
from tasks.negatives import assign_negatives
from tasks.night import Learned, Night
from tasks.profiles import ProfileTables, build_profiles
from tasks.publish import Published, publish
from tasks.recommend import exported, find_similar, recommend_all
from tasks.signals import SignalTables
from tasks.split import conceal_favorites
from tasks.tags import cluster_vectors, make_vectors
from tasks.train import train_cdl
from tasks.triplets import sample_triplets

THREADS = ThreadPoolTaskRunner[Any](max_workers=os.cpu_count() or 1)


@flow(name="nightly", task_runner=THREADS, persist_result=False)  # type: ignore[arg-type]  # invariant futures
def nightly(
    source: str = "demo", root: str = "tastegraph-data", config: NightlyConfig | None = None, run_id: str | None = None
) -> Published:
    """Ingest `source`, train, recommend to everybody, and publish below `root` if the gate lets it.

    Args:
        source: a source directory (docs: source contract), local or s3://, or `demo` for the built-in community.
        root: where everything that is made lies, local or s3://.
        config: settings; the defaults suit a laptop and communities up to some hundred thousand images.
        run_id: names the run; by default that of an unfinished run of the same source and settings, else the time.
    """
    config, here = config or NightlyConfig(), Root(root)
    with records_below(here):
        there = open_source(source, config.demo, here)
        content = tables_digest(there)
        run = runs.begin(run_id, digest([source, content, config]), here)
        community = ingest(there, content, config.ingest, here)
        table = community.tables
        split = conceal_favorites(table["favorites"], config.evaluation, here)
        shards = decode_all(table["images"], there, config.images, here)
        quarantine = quarantine_pictures(community.quarantine, shards, config.ingest, here)

        vectors = make_vectors(table, split.training, config.pretrained, config.word2vec, here)
        clusters = cluster_vectors(vectors.vectors, config.clusters, here)
        known = ProfileTables.of(table, split.training)
        profiles = build_profiles(vectors, clusters, known, config.vocabulary, config.interests, here)
        pixels = [shard.pixels for shard in shards if shard.pixels]
        inputs = prepare_inputs(table, pixels, split.training, vectors, clusters, config.word2vec, config.inputs, here)

        signals = SignalTables.of(table, split.training, profiles)
        audit = assign_negatives(signals, config.negatives, here)
        drawing = (config.negatives, config.training_users, config.triplets)
        triplets = sample_triplets(signals, profiles.profiles, inputs.shards, audit, *drawing, here)
        bags, width = profiles.profiles, profiles.num_clusters
        trained = train_cdl(triplets, bags, width, inputs.shards, config.model, config.training, here)

        embeddings = embed_all(bags, inputs.shards, trained, config.model, config.training.device, here)
        lists = recommend_all(embeddings, table["favorites"], profiles, trained, config.recommend, here)
        similar = find_similar(embeddings.images, config.recommend, here)
        metrics = evaluate(split, table["images"], table["favorites"], embeddings, here)

        learned = Learned(vectors, clusters, profiles, inputs, audit, triplets, trained)
        exports = exported(lists, embeddings, similar)
        night = Night(run, there, community, quarantine, split, shards, learned, metrics, exports)
        stages = ledger.lines_of(flow_run.id)
        published = publish(night, canonical(config, "config"), config.gate, stages, here).result()
    runs.finish(run, here)
    return published
