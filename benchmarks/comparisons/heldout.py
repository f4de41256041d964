"""The favorites of a set that are held out for validation, for benchmarks that fit systems themselves."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from flows.commands.at_work import prepare_prefect
from models.evaluation.splits import Protocol

if TYPE_CHECKING:  # it imports Prefect, which reads its settings then: they are made ready first
    from tasks.evaluation.measure import HeldOut


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The set, the protocol and the files of held-out favorites."""
    parser.add_argument("set", help="a folder of TASTEGRAPH_DATA")
    parser.add_argument("protocol", choices=get_args(Protocol))
    parser.add_argument("--root", required=True, help="the folder of all outputs")
    parser.add_argument("--test", help="the set's table of held-out favorites for the protocol full: official_test")
    parser.add_argument("--validation", help="the set's table to validate on: official_val")


def heldout_of(options: argparse.Namespace) -> "HeldOut":
    """The community without validation and test, and the favorites held out for validation."""
    if "TASTEGRAPH_DATA" not in os.environ:
        sys.exit("TASTEGRAPH_DATA is not set; set it to the folder of the sets")
    prepare_prefect(options.root)
    from prefect import flow

    from flows.compare import prepare, prepare_images, tuning_tables
    from flows.learn import signals_of
    from flows.settings import ComparisonConfig
    from storage.roots import Root
    from tasks.data.community import read_community
    from tasks.data.ingest import content_of, ingest
    from tasks.data.pairs import take_pairs
    from tasks.evaluation.measure import read_heldout
    from tasks.evaluation.splits import draw_split
    from tasks.runtime.record_store import records_below
    from tasks.runtime.runners import THREADS

    source_root, root = Root(str(Path(os.environ["TASTEGRAPH_DATA"]) / options.set)), Root(options.root)
    config = ComparisonConfig()

    @flow(name="heldout", task_runner=THREADS, persist_result=False)
    def read() -> "HeldOut":
        with records_below(root):
            table = ingest(source_root, content_of(source_root, root), config.ingest, False, root).tables
            files = [name and source_root.url(f"{name}.parquet") for name in (options.test, options.validation)]
            pairs = [take_pairs(file, root) for file in files]
            splits = draw_split(table, options.protocol, *pairs, config.splits, config.evaluation, root)
            tuning = splits.tuning
            images = prepare_images(source_root, table, ["tastegraph"], config, root)
            tables = prepare(images, tuning_tables(table, splits, root), tuning.training, ["tastegraph"], config, root)
            indexed = read_community(tables.restricted(signals_of(["tastegraph"])), root)
            return read_heldout(indexed, tuning, root)

    return read()
