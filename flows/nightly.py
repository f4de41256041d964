"""The nightly run: a community's raw data to a published snapshot of recommendations. Read this first.

Every line below that calls a stage is a cached task: it takes references to immutable files and returns references. A
run that was killed resumes where it stopped, and a run on unchanged input does nothing. Read `flows/learn.py` next.
"""

from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.learn import learn
from flows.lineage import lineage
from flows.lists import explain_lists, make_lists, policy_of, recall_of, request_lists
from flows.opening import OpenRun, open_run, settings_of_run
from flows.settings import NightlyConfig, settings_of_results
from models.settings.splits import TimeOf
from storage import snapshots
from tasks.data.concealment import split_favorites
from tasks.data.fetching import fetch_pictures
from tasks.data.ingest import ingest
from tasks.data.pictures import Pictures
from tasks.data.pixels import decode_all, decoding, plan_shards
from tasks.data.quarantine import quarantine_pictures
from tasks.data.tag_leak import account_of_tags
from tasks.data.tag_withholding import known_tables
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.policy_price import price_policy
from tasks.night.publish import Published, publish
from tasks.night.records import InputFingerprint, Night, reusable_lists, split_of
from tasks.night.start import choose
from tasks.runtime.digests import digest, plain
from tasks.runtime.runners import THREADS


@flow(name="nightly", task_runner=THREADS, persist_result=False)  # type: ignore[arg-type]  # invariant futures
def nightly(
    source: str = "demo", root: str = "tastegraph-data", config: NightlyConfig | None = None, run_id: str | None = None
) -> Published:
    """Ingest `source`, learn, recommend to every user, and publish below `root` if the gate lets it.

    Args:
        source: a source directory (docs: source contract), local or s3://, or `demo` for the built-in community.
        root: the folder of all outputs, local or s3://.
        config: settings; the defaults suit a laptop and communities up to some hundred thousand images.
        run_id: names the run; by default that of an unfinished run of the same source and settings, else the time.
    """
    config = settings_of_run(NightlyConfig, config)
    with open_run(source, root, config, run_id=run_id) as opened:
        published = opened.rebuilding(lambda: run_stages(opened, config))
        opened.finish(snapshots.folder(published.run_id))
    return published if published.is_current else held(published)


def held(published: Published) -> Any:
    """The end of a run that the gate held back: a state named `Held`, which Prefect's automations can watch."""
    return Completed(name="Held", message="; ".join(published.reasons), data=published)


def run_stages(opened: OpenRun, config: NightlyConfig) -> Published:
    """The night's stages in their order; those whose results are there already are skipped."""
    run, source_root, out = opened.run, opened.source, opened.root

    # The community's tables, what the night starts from, the held-out favorites, and the pictures.
    community = ingest(source_root, opened.content, config.ingest, config.images.fetch, out)
    community = fetch_pictures(community, config.images, config.fetch, out)
    table = community.tables
    batches = plan_shards(table["images"], source_root, config.images, out)
    inputs = InputFingerprint(
        source=source_root.address,
        lineage=lineage(config),
        decoding=decoding(config.images),
        pictures=digest(batches),
        table=table,
    )
    start = choose(config.incremental, inputs, config.model.system, config.word2vec, out)
    split = split_favorites(table["favorites"], split_of(start), config.evaluation, config.concealment, out)
    shards = decode_all(batches, source_root, config.images, out, start.shards)
    quarantine = quarantine_pictures(community.quarantine, shards, config.ingest, out)
    pictures = Pictures(source_root, shards)

    # The tested model has not seen the concealed favorites; the published one may have.
    time_of: TimeOf | None = "user" if split.order == "latest" else None
    known = known_tables(table, split.training, [split.concealed], out, time_of=time_of)
    tags = account_of_tags(table, known, split.concealed, out)
    tested = learn(known, split.training, pictures, start.model("tested"), config, out)
    metrics = evaluate(split, table["favorites"], tested.model, out)
    policy = policy_of(table, pictures.pixels, config.policy)
    prices = price_policy(split, tested.model, policy, out)
    final = tested
    if config.model.refit:
        final = learn(table, table["favorites"], pictures, start.model("published"), config, out, tested)

    # The lists, and the snapshot.
    request = request_lists(final.model, table["favorites"], final.tastes.profiles, config.recommend, policy)
    lists = make_lists(request, config.recommend, pictures.pixels, out, *reusable_lists(start))
    recall = recall_of(lists, pictures.pixels, out)
    reasons = explain_lists(lists, final, start, table, config.recommend, out)
    night = Night(
        run=run,
        source=source_root,
        inputs=inputs,
        start=start,
        community=community,
        quarantine=quarantine,
        shards=shards,
        split=split,
        tested_table=known,
        tags=tags,
        tested=tested,
        metrics=metrics,
        prices=prices,
        final=final,
        lists=lists,
        recall=recall,
        reasons=reasons,
        work=dict(opened.ledger.work),
    )
    return publish(
        night, plain(settings_of_results(config), "config"), config.gate, list(opened.ledger.lines.values()), out
    )
