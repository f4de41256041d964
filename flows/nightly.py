"""The nightly run: a community's raw data to a published snapshot of recommendations. Read this first.

Every line below that calls a stage is a cached task: it takes references to immutable files and returns references. A
run that was killed goes on where it stopped, and a run on unchanged input does nothing.
"""

import os

from prefect import flow, unmapped
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.settings import NightlyConfig
from storage.roots import Root
from storage.sources.directory import tables_digest
from tasks import ledger, runs
from tasks.caching import canonical, digest, records_below
from tasks.embed import embed_images, embed_users
from tasks.evaluate import evaluate
from tasks.images import decode_images, plan_shards
from tasks.ingest import generate_demo, ingest
from tasks.inputs import prepare_inputs
from tasks.negatives import assign_negatives
from tasks.night import Night
from tasks.profiles import build_profiles
from tasks.publish import Published, publish
from tasks.recommend import find_similar, plan_blocks, recommend
from tasks.signals import SignalTables
from tasks.split import conceal_favorites
from tasks.tags import cluster_vectors, make_vectors, vocabulary_of
from tasks.train import train_cdl
from tasks.triplets import sample_triplets


@flow(name="nightly", task_runner=ThreadPoolTaskRunner(max_workers=os.cpu_count() or 1), persist_result=False)
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
    purpose = digest([source, config])
    is_named, run_id = run_id is not None, runs.begin(run_id, purpose, here)
    with records_below(here):
        there = Root(here.url(generate_demo(config.demo, here).folder) if source == "demo" else source)
        community = ingest(there, tables_digest(there), config.ingest, here)
        table = community.tables
        split = conceal_favorites(table["favorites"], config.evaluation, here)

        batches = plan_shards(table["images"], there, config.images, here)
        shards = decode_images.map(batches, unmapped(there), unmapped(config.images), unmapped(here)).result()
        pixels = [shard.pixels for shard in shards if shard.pixels]

        of = vocabulary_of(table)
        sentences = [table["image_tags"], table["user_tags"]] if of == "tags" else [split.training]
        vectors = make_vectors(of, sentences, config.pretrained, config.word2vec, here)
        clusters = cluster_vectors(vectors.vectors, config.clusters, here)
        profiles = build_profiles(
            vectors,
            clusters,
            table["users"],
            table["image_tags"],
            table["user_tags"],
            split.training,
            config.vocabulary,
            config.interests,
            here,
        )

        inputs = prepare_inputs(table, pixels, split.training, vectors, clusters, config.word2vec, config.inputs, here)

        signals = SignalTables(
            table["users"],
            table["images"],
            split.training,
            profiles.interests,
            profiles.carried,
            table["contacts"],
            table["memberships"],
        )
        audit = assign_negatives(signals, config.negatives, here)
        triplets = sample_triplets(
            signals,
            profiles.profiles,
            inputs.shards,
            audit,
            config.negatives,
            config.training_users,
            config.triplets,
            here,
        )
        trained = train_cdl(
            triplets, profiles.profiles, profiles.num_clusters, inputs.shards, config.model, config.training, here
        )

        embedded = [unmapped(item) for item in (trained, config.model, config.training.device, here)]
        image_embeddings = embed_images.map(inputs.shards, *embedded).result()
        user_embeddings = embed_users(profiles.profiles, trained, config.model, config.training.device, here)
        lists = recommend.map(
            plan_blocks(table["users"], config.recommend),
            *map(
                unmapped, (user_embeddings, image_embeddings, table["favorites"], profiles.interests, profiles.carried)
            ),
            *map(unmapped, (trained, config.recommend, here)),
        ).result()
        similar = find_similar(image_embeddings, config.recommend, here)
        metrics = evaluate(split, table["images"], table["favorites"], user_embeddings, image_embeddings, here)

        exports = {
            "recommendations": lists,
            "user_embeddings": [user_embeddings],
            "image_embeddings": image_embeddings,
            "similar_images": [similar],
        }
        night = Night(
            run_id,
            is_named,
            there,
            community,
            split,
            shards,
            vectors,
            clusters,
            profiles,
            inputs,
            audit,
            triplets,
            trained,
            metrics,
            exports,
        )
        published = publish(
            night, canonical(config, "config"), config.gate, ledger.lines_of(flow_run.id), here
        ).result()
    runs.finish(run_id, purpose, here)
    return published
