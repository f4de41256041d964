"""Run nights, and what comes before one: validate a source, explain settings, import a data set."""

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows import stopping
from flows.commands.at_work import at_work_on, plan_of, with_bars
from flows.commands.options import (
    FAILED,
    NOT_CURRENT,
    ConfigOption,
    JsonOption,
    QuietOption,
    RootOption,
    SetOption,
    SourceOption,
)
from flows.printing.common import print_json
from flows.printing.nights import print_import, print_plan, print_published, print_settings, print_validation
from flows.terminal import say, say_error


def nightly(
    source: SourceOption = "demo",
    root: RootOption = "tastegraph-data",
    config: ConfigOption = None,
    set_: SetOption = None,
    run_id: Annotated[str | None, typer.Option(help="Name of the run; by default the time.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would run, what is reused and why; run nothing.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Ingest, train, recommend, and publish: the whole night."""
    from flows.settings import load

    if plan:
        print_plan(plan_of(source, root, load(config, set_)), as_json)
        return

    with at_work_on(root, "nightly", source, lambda: load(config, set_)) as settings:
        from flows.nightly import nightly as flow  # Prefect reads its settings when it is first imported
        from storage import snapshots
        from storage.roots import Root

        published = with_bars(flow, source=source, root=root, config=settings, run_id=run_id)
        if as_json:
            print_json({key: getattr(published, key) for key in published.__dataclass_fields__})
        else:
            print_published(published, root, snapshots.manifest(Root(root), published.run_id))
        raise typer.Exit(0 if published.is_current else NOT_CURRENT)


def validate(
    source: SourceOption,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a night would read, keep out and why, and whether it would run; exit 1 where it would not."""
    from flows.settings import load

    settings = load(config, set_)
    from storage.roots import Root
    from tasks.data.validate import validate as report_on

    validation = report_on(Root(source), settings.ingest, settings.images)
    if as_json:
        print_json(validation.to_json())
    else:
        print_validation(validation)
    if validation.refusal:
        say_error(validation.refusal)
        raise typer.Exit(FAILED)


def config(
    root: Annotated[
        str | None, typer.Option(help="Also say where they differ from the settings of the run that is current there.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    of: Annotated[
        Literal["nightly", "compare", "tune", "crawl"], typer.Option(help="The command whose settings are shown.")
    ] = "nightly",
    changed: Annotated[bool, typer.Option("--changed", help="Only those that are no defaults.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Each setting, its value, and where it came from: default, file, environment, --set; no secret is shown."""
    from flows.settings import ComparisonConfig, NightlyConfig, load_as
    from storage.settings.flickr import FlickrConfig

    classes: dict[str, type[Any]] = {"nightly": NightlyConfig, "crawl": FlickrConfig}
    loaded = load_as(classes.get(of, ComparisonConfig), config, set_)
    print_settings(loaded, root, as_json, changed=changed)


def import_(
    name: Annotated[
        str,
        typer.Argument(help="The layout of the download; an unknown name lists those that exist."),
    ],
    path: Annotated[Path, typer.Argument(help="The unpacked download: its folder, or for dvbpr and recdiff its file.")],
    source: Annotated[Path, typer.Option("--out", help="The source directory to write, a local folder.")],
    threshold: Annotated[float | None, typer.Option(help="The lowest rating that is a favorite; by default 4.")] = None,
    images: Annotated[
        Path | None, typer.Option("--images", "--posters", help="A folder of pictures, each named by its image's id.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier import wrote.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a public data set, as downloaded, as a source directory; says what is left out, and why."""
    from storage.sources.importers import IMPORTERS, ImportConfig, import_source

    if name not in IMPORTERS:
        raise typer.BadParameter(f"there is no importer {name!r}, but there are {', '.join(sorted(IMPORTERS))}")
    stopping.unwind_on_signals("stopped; nothing was written")
    report = import_source(name, path, source, ImportConfig(threshold=threshold, images=images), overwrite)
    if as_json:
        print_json(report)
        return
    print_import(report)
    say(f"  source      {source}/")
    say(f"  check it    tastegraph validate --source {shlex.quote(str(source))}")
