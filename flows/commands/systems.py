"""Measure, compare and tune systems."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.at_work import at_work_on, with_bars
from flows.commands.options import (
    FAILED,
    ConfigOption,
    JsonOption,
    ProtocolOption,
    QuietOption,
    RootOption,
    SetOption,
    SourceOption,
    TestOption,
    ValidationOption,
)
from flows.printing.common import print_json
from flows.printing.systems import print_comparison, print_tuned
from flows.terminal import say, say_table

if TYPE_CHECKING:
    from flows.settings import ComparisonConfig


def evaluate(
    root: RootOption,
    test: Annotated[Path, typer.Option(help="Held-out favorites: columns user_id, image_id; Parquet, CSV or JSONL.")],
    as_json: JsonOption = False,
) -> None:
    """Measure the current export's model on held-out favorites, ranking all images but the other favorites."""
    from storage.roots import Root
    from tasks.evaluation.score_file import score_file

    figures = score_file(test, Root(root))
    if as_json:
        print_json(figures)
        return
    say(f"{figures['users']} users of {test.name}, run {figures['run_id']}")
    rows = (
        (f"{row['metric']}@{row['k']}", f"{row['value']:.4f}", f"{row['low']:.4f} to {row['high']:.4f}")
        for row in figures["metrics"]
    )
    say_table(("metric", "value", "95 % interval"), rows)
    for line in filter(None, (figures["learned_from"], *figures["left_out"])):
        say(line)


def compare(
    source: SourceOption = "demo",
    root: RootOption = "tastegraph-data",
    systems: Annotated[str, typer.Option(help="Names with commas between them, or all.")] = "all",
    protocol: ProtocolOption = "full",
    test: TestOption = None,
    validation: ValidationOption = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each system is fitted with.")] = 1,
    budget: Annotated[int, typer.Option(min=0, help="Settings tried for each system; 0: the defaults.")] = 0,
    config: ConfigOption = None,
    set_: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit and measure systems on one split; exit 1 where one of them fails."""
    with at_work_on(root, "compare", source, _settings(config, set_, systems, protocol)) as settings:
        from flows.compare import compare as flow
        from storage.roots import Root

        compared = with_bars(
            flow,
            source=source,
            root=root,
            systems=systems,
            protocol=protocol,
            test=test,
            validation=validation,
            seeds=seeds,
            budget=budget,
            config=settings,
        )
        print_comparison(compared, Root(root), as_json)
        raise typer.Exit(FAILED if compared.failed else 0)


def tune(
    source: SourceOption,
    root: RootOption,
    system: Annotated[str, typer.Option(help="The system's name.")],
    budget: Annotated[int, typer.Option(min=1, help="How many settings are tried, the defaults first.")] = 20,
    protocol: ProtocolOption = "full",
    test: TestOption = None,
    validation: ValidationOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Choose a system's settings on validation, never on the test."""
    with at_work_on(root, "tune", source, _settings(config, set_, system, protocol)) as settings:
        from flows.tune import tune as flow
        from storage.roots import Root

        tuned = with_bars(
            flow,
            source=source,
            root=root,
            system=system,
            protocol=protocol,
            test=test,
            validation=validation,
            budget=budget,
            config=settings,
        )
        print_tuned(tuned, Root(root), as_json)
        raise typer.Exit(FAILED if tuned.lacking else 0)


def _settings(
    config: str | None, set_: list[str] | None, systems: str, protocol: ProtocolOption
) -> "Callable[[], ComparisonConfig]":
    """What loads the settings of a comparison of these systems."""
    from flows.settings import load_comparison, systems_named

    return lambda: load_comparison(config, set_, systems_named(systems), protocol)
