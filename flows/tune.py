"""The tuning of one system on validation, as the comparison does it for each."""

from dataclasses import replace

from prefect import flow

from flows.compare import ingest_and_split, prepare, prepare_images, tuning_tables
from flows.learn import signals_of
from flows.opening import open_run, settings_of_run
from flows.settings import ComparisonConfig, refuse_ignored, settings_of, systems_named
from models.evaluation.splits import Protocol
from models.systems import SYSTEMS
from tasks.data.tag_leak import account_of_tags
from tasks.evaluation.tune import Tuned, tune_system
from tasks.runtime.code_version import code_version
from tasks.runtime.runners import THREADS


@flow(name="tune", task_runner=THREADS, persist_result=False)  # type: ignore[arg-type]  # invariant futures
def tune(
    source: str = "demo",
    root: str = "tastegraph-data",
    system: str = "popularity",
    protocol: Protocol = "full",
    test: str | None = None,
    validation: str | None = None,
    budget: int = 20,
    config: ComparisonConfig | None = None,
) -> Tuned:
    """Try settings of `system` on the validation part of the protocol's split; arguments as in `compare`."""
    config = settings_of_run(ComparisonConfig, config)
    refuse_ignored(config)
    (name,) = systems_named(system)
    with open_run(source, root, config, system, protocol, test, validation, budget) as opened:

        def run_stages() -> Tuned:
            source_root, out = opened.source, opened.root
            table, splits = ingest_and_split(opened, [name], protocol, test, validation, config)
            split = splits.tuning
            known = tuning_tables(table, splits, out)
            tags = account_of_tags(table, known, split.heldout, out)
            images = prepare_images(source_root, table, [name], config, out)
            tables = prepare(images, known, split.training, [name], config, out)
            tuned = tune_system(
                name=name,
                version=code_version(SYSTEMS[name].__module__),
                given=settings_of(name, config),
                budget=budget,
                seed=0,
                tables=tables.restricted(signals_of([name])),
                split=split,
                root=out,
            )
            return replace(tuned, tags=tags)

        found = opened.rebuilding(run_stages)
        opened.finish()
    return found
