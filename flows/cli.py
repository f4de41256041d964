"""The command line. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 finished but not made current."""

import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from flows import stopping
from flows.errors import SettingsError
from flows.output import (
    print_comparison,
    print_crawled,
    print_difference,
    print_finding,
    print_history,
    print_import,
    print_json,
    print_list,
    print_moved,
    print_plan,
    print_published,
    print_run,
    print_runs,
    print_settings,
    print_tuned,
    print_validation,
)
from flows.terminal import be_quiet, log_errors, prepare_terminal, say, say_error, say_table, wants_bars

if TYPE_CHECKING:
    from flows.plan import NightPlan
    from flows.settings import ComparisonConfig, NightlyConfig
    from storage.settings.flickr import FlickrConfig

C = TypeVar("C")  # the settings of a flow

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From an image community's raw data to versioned recommendations in Parquet.",
)
crawl_app = typer.Typer(no_args_is_help=True, help="From a living community to a source directory.")
app.add_typer(crawl_app, name="crawl")
FAILED, USAGE, NOT_CURRENT = 1, 2, 3
NO_MEMORY = ("can't allocate memory", "out of memory", "can't start new thread")  # in errors of torch and Python

SourceOption = Annotated[str, typer.Option(help="A source directory, local or s3://BUCKET/PREFIX; or demo.")]
RootOption = Annotated[str, typer.Option(help="The folder of all outputs, local or s3://BUCKET/PREFIX.")]
ConfigOption = Annotated[str | None, typer.Option(help="A YAML or TOML file of settings, or `paper`.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be repeated.")]
ProtocolOption = Annotated[
    Literal["paper", "auc", "full", "time", "cold", "cold_users"],  # as models.evaluation.splits.Protocol
    typer.Option(help="Which split, and what is measured."),
]
TestOption = Annotated[
    str | None, typer.Option(help="Held-out favorites for the protocol full; by default a random share.")
]
ValidationOption = Annotated[
    str | None, typer.Option(help="Favorites to choose settings on, with --test; by default a random share.")
]
WhyOption = Annotated[str, typer.Option(help="The reason, for the history; name no user and no image in it.")]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="Look at the files' sizes alone, instead of reading and comparing every byte.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", callback=be_quiet, help="Say only the result, and what went wrong.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"tastegraph {version('tastegraph')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """From an image community's raw data to versioned recommendations in Parquet."""


@app.command()
def doctor(root: RootOption = "tastegraph-data", as_json: JsonOption = False) -> None:
    """Whether this machine has what a night needs: torch, GPU, codecs, the root, Prefect; exit 1 where it has not."""
    from flows.doctor import examine

    findings = []
    for found in examine(root):
        findings.append(found)
        if not as_json:
            print_finding(found)
    if as_json:
        print_json([vars(found) for found in findings])
    raise typer.Exit(FAILED if any(found.verdict == "fault" for found in findings) else 0)


@app.command()
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


@app.command()
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


@app.command("config")
def config_(
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


@app.command("import")
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


@app.command()
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


@app.command()
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
    from flows.settings import load_comparison, systems_named

    def load() -> "ComparisonConfig":
        return load_comparison(config, set_, systems_named(systems), protocol)

    with at_work_on(root, "compare", source, load) as settings:
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


@app.command()
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
    from flows.settings import load_comparison, systems_named

    def load() -> "ComparisonConfig":
        return load_comparison(config, set_, systems_named(system), protocol)

    with at_work_on(root, "tune", source, load) as settings:
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


@crawl_app.command("flickr")
def crawl_flickr(
    out_: Annotated[Path, typer.Option("--out", help="The source directory; the crawl's state lies below it.")],
    user: Annotated[list[str] | None, typer.Option(help="A seed, by id or user name; may be repeated.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group of seeds, by id; may be repeated.")] = None,
    seed_file: Annotated[Path | None, typer.Option(help="Seeds, one a line; a group as group:ID.")] = None,
    max_users: Annotated[int, typer.Option(min=1, help="Users read in all.")] = 1000,
    depth: Annotated[int, typer.Option(min=0, help="Steps over contacts and groups; 0: the seeds alone.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a crawl that did not end.")] = False,
    config: Annotated[str | None, typer.Option(help="A YAML or TOML file of settings.")] = None,
    set_: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Crawl Flickr from seeds; the key comes from FLICKR_API_KEY or the Prefect Secret flickr-api-key."""
    from flows.settings import load_as
    from storage.settings.flickr import FlickrConfig
    from storage.sources.flickr.crawl import FOLDER, locked

    def load() -> "FlickrConfig":
        return load_as(FlickrConfig, config, set_).config

    folder = out_.expanduser().resolve()
    home = folder / FOLDER / "prefect"
    with at_work("crawl", folder, home, locked(folder), load, again="with --resume") as settings:
        from flows.crawl import crawl as flow

        crawled = with_bars(
            flow,
            out=str(out_),
            users=user,
            groups=group,
            seed_file=str(seed_file) if seed_file else None,
            max_users=max_users,
            depth=depth,
            resume=resume,
            config=settings,
        )
        if as_json:
            print_json({key: getattr(crawled, key) for key in crawled.__dataclass_fields__})
        else:
            print_crawled(crawled)


@app.command()
def recommend(
    root: RootOption,
    user: Annotated[str, typer.Option(help="The user's id.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """A user's recommendations in the current export."""
    print_list(root, "recommendations", "user_id", user, "image_id", k, as_json)


@app.command()
def similar(
    root: RootOption,
    image: Annotated[str, typer.Option(help="The image's id.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """The images that are similar to an image, in the current export."""
    print_list(root, "similar_images", "image_id", image, "similar_image_id", k, as_json)


@app.command()
def serve(
    root: RootOption = "tastegraph-data",
    run: Annotated[str | None, typer.Option(help="A run's id; by default the current one, whichever that is.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Where pictures lie, instead of the source directory that the run names.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; the default is reached from here alone.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8020,
    export: Annotated[
        Path | None, typer.Option(help="Serve nothing, but write the gallery to this folder, to be opened as files.")
    ] = None,
    max_users: Annotated[int, typer.Option(min=1, help="With --export: how many users have a page.")] = 50,
) -> None:
    """A gallery of the published runs in the browser, and a JSON API; the root is only read. Ends with Ctrl-C."""
    from flows.serve import export as export_
    from flows.serve import serve as serve_

    if export:
        export_(root, run, source, export, max_users)
    else:
        serve_(root, run, source, host, port)


@app.command()
def show(
    root: RootOption,
    history: Annotated[
        bool, typer.Option("--history", help="Instead: which run became current when, by whom, and why.")
    ] = False,
    run: Annotated[str | None, typer.Option(help="Only this run, and what each of its stages took.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The current and earlier runs: when, from what, metrics, gate, sizes."""
    if history and run:
        raise typer.BadParameter("choose one of --history and --run")
    from storage.roots import Root

    if run:
        print_run(run, Root(root), as_json)
        return
    show_ = print_history if history else print_runs
    show_(root, Root(root), as_json)


@app.command()
def diff(
    root: RootOption,
    first: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, as `tastegraph show` lists it.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="The run to compare it with.")],
    k: Annotated[int, typer.Option("-k", min=0, help="How many users and images are named.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """How the lists of two runs differ: whose changed, by how many images, and what entered and left most."""
    from storage import snapshots
    from storage.roots import Root
    from tasks.upkeep.difference import difference

    output = Root(root)
    runs = (snapshots.manifest(output, first), snapshots.manifest(output, second))
    print_difference(runs, difference(*runs, output, k), as_json)


@app.command()
def rollback(
    root: RootOption,
    to: Annotated[str | None, typer.Option(help="A run's id; by default the last one that may be current.")] = None,
    why: WhyOption = "",
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make an earlier run current, at once and without writing a table; a night does not undo it by itself."""
    from storage.roots import Root
    from tasks.upkeep.rollback import roll_back

    print_moved(roll_back(Root(root), to, why, read_all=not quick), root, as_json)


@app.command()
def publish(
    root: RootOption,
    run: Annotated[str, typer.Option(help="The run's id, as `tastegraph show` lists it.")],
    force: Annotated[bool, typer.Option("--force", help="Also a run that the gate held; needs --why.")] = False,
    why: WhyOption = "",
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a published run current, earlier or later than the current one."""
    if force and not why.strip():
        raise typer.BadParameter("--force needs --why: the history says why the gate was overruled")
    from storage.roots import Root
    from tasks.upkeep.rollback import publish_run

    print_moved(publish_run(Root(root), run, why, force=force, read_all=not quick), root, as_json)


@app.command()
def forget(
    root: RootOption,
    user: Annotated[list[str] | None, typer.Option(help="A user's id; may be repeated.")] = None,
    image: Annotated[list[str] | None, typer.Option(help="An image's id; may be repeated.")] = None,
    source: Annotated[str | None, typer.Option(help="A source: all ids in its table tombstones, known or not.")] = None,
    even_if_unknown: Annotated[
        bool, typer.Option("--even-if-unknown", help="Also ids that no file below the root names yet.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Forget users and images for good: tombstones, a current export without them, and no file that names them."""
    if not user and not image and not source:
        raise typer.BadParameter("name at least one --user, --image or --source")
    from storage.roots import Root
    from storage.sources import directory
    from tasks.upkeep.forget import forget as forget_in

    ids = {"user": frozenset(user or ()), "image": frozenset(image or ())}
    of_source = directory.tombstones_of(Root(source)) if source else {}
    forgotten = forget_in(ids, Root(root), from_source=of_source, even_if_unknown=even_if_unknown)
    if as_json:
        print_json({key: getattr(forgotten, key) for key in forgotten.__dataclass_fields__})
        raise typer.Exit(FAILED if forgotten.unreached else 0)
    say(f"Forgot {forgotten.users} users and {forgotten.images} images.")
    if forgotten.run_id:
        say(f"Run {forgotten.run_id} is current{', published without them' if forgotten.is_new else ''}.")
    say(f"Deleted {forgotten.files:,} files, {forgotten.bytes:,} bytes; the next run computes again what it needs.")
    for file in forgotten.unreached:
        say(f"Still named in {file}: outside the root, where nothing is deleted. Delete the file, and the link to it.")
    raise typer.Exit(FAILED if forgotten.unreached else 0)


@app.command()
def verify(
    root: RootOption,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare all that is published or cached with its sha256; exit 1 where something is damaged or lost."""
    from storage.roots import Root
    from tasks.upkeep.verify import verify as verify_in

    found = verify_in(Root(root), repair=repair)
    if as_json:
        faults = [vars(fault) for fault in found.faults]
        counts = {"files": found.files, "bytes": found.bytes, "lost": found.lost}
        print_json({**counts, "is_whole": found.is_whole, "faults": faults})
    else:
        for fault in found.faults:
            say(str(fault))
        if found.lost:
            say(f"{found.lost:,} cached files are gone; the next run that needs one computes it again.")
        wrong = sum(not fault.is_mended for fault in found.faults)
        end = "all whole" if found.is_whole else f"{wrong:,} files are wrong"
        say(f"Compared {found.files:,} files, {found.bytes:,} bytes: {end}.")
    raise typer.Exit(0 if found.is_whole else FAILED)


@app.command()
def gc(
    root: RootOption,
    keep: Annotated[int, typer.Option(min=1, help="How many published runs stay, beside the current one.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be deleted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete old runs, and all files that no published run and no unfinished run refers to."""
    from storage.roots import Root
    from tasks.upkeep.retention import collect

    collected = collect(Root(root), keep, dry_run=dry_run)
    if as_json:
        paths = [entry.path for entry in collected.deleted]
        counts = {"files": len(paths), "bytes": collected.bytes, "dry_run": dry_run}
        kept = {"kept_runs": collected.kept_runs, "waiting_for": collected.waiting_for}
        print_json({**counts, **kept, "unreached": collected.unreached, "deleted": paths})
        return
    for folder, (files, size) in collected.by_folder.items():
        say(f"  {files:>8,} files  {size:>16,} bytes  {folder}/")
    verb = "Would delete" if dry_run else "Deleted"
    num_files, num_runs = len(collected.deleted), len(collected.kept_runs)
    say(f"{verb} {num_files:,} files, {collected.bytes:,} bytes; kept {num_runs} published runs.")
    for holder in collected.waiting_for:
        say(f"Only old runs were deleted, because {holder} is running; run this again later.")
    for link, count in collected.unreached.items():
        say(f"{count:,} more files lie outside the root, where nothing is deleted: {link}")


def main() -> None:
    """Run the command line; an error that a person can correct is one line without a traceback."""
    with stopping.exiting_fast():
        stopping.end_on_signals()
        prepare_terminal()
        try:
            app()
        except BaseException as error:
            stopping.wait_if_stopped()
            if isinstance(error, SystemExit) or _wants_traceback() or (line := line_for_a_person(error)) is None:
                raise
            say_error(line)
            sys.exit(USAGE if isinstance(error, SettingsError) else FAILED)


def line_for_a_person(error: BaseException) -> object | None:
    """What is wrong and what to do; None for an error that only a programmer can correct."""
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY):
        return (
            f"out of memory ({text.partition(chr(10))[0] or 'no words'}); give it more, close other programs, or "
            f"lower recommend.block_users and images.shard_images, and start again: it resumes"
        )
    if isinstance(error, ValueError | OSError):
        return error
    from storage.leases import BusyError, LostError
    from storage.roots import ConflictError

    return error if isinstance(error, BusyError | LostError | ConflictError) else None


@contextmanager
def at_work_on(root: str, kind: str, source: str, load: Callable[[], C]) -> Iterator[C]:
    """Inside a command that runs the flow `kind` on a source and a root: its settings."""
    from storage import leases
    from storage.roots import Root, scratch_folder

    def load_and_look() -> C:
        from flows.startup import check_source

        settings = load()
        check_source(source)
        return settings

    stopping.on_stop(lambda _number: leases.release())
    output = Root(root)
    home = scratch_folder() if output.is_remote else Path(output.address)
    with at_work(kind, root, home / "prefect", leases.shared(output, kind), load_and_look) as settings:
        yield settings


@contextmanager
def at_work(
    kind: str,
    where: object,
    home: Path,
    lease: AbstractContextManager[None],
    load: Callable[[], C],
    again: str = "the same way",
) -> Iterator[C]:
    """Inside a command that runs the flow `kind`: its settings.

    They are loaded, the lease is taken, then Prefect starts, and then the flow is imported.

    Args:
        where: what the flow works on, for the first line of its log.
        home: where Prefect's files lie, unless PREFECT_HOME says so.
        load: its settings; also refuses what else would end the flow in its first seconds.
        again: how the command is started again when it was stopped.
    """
    log_errors()
    stopping.say_when_stopped(f"stopped; start it again {again}, and it resumes from here")
    logging.getLogger("tastegraph").info("%-18s starts on %s", kind, where)
    settings = load()
    from flows.local_server import prefect_serves
    from flows.startup import check_home, prefect_error

    prepare_prefect(home)
    check_home(Path(os.environ["PREFECT_HOME"]))
    with lease:
        with prefect_serves():
            import_module(f"flows.{kind}")
        try:
            yield settings
        except Exception as error:
            if (line := prefect_error(error)) is None or _wants_traceback():
                raise
            raise line from error


def plan_of(source: str, root: str, config: "NightlyConfig") -> "NightPlan":
    """What a night would do. Prefect is imported, and neither started nor given a place below the root."""
    from flows.startup import check_source

    check_source(source)
    logging.getLogger("tastegraph").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as home:
        prepare_prefect(Path(home))
        from flows.plan import plan_night

        return plan_night(source, root, config)


def with_bars(flow: Callable[..., C], **parameters: Any) -> C:
    """The flow's result; while it runs, a terminal shows the stages at work."""
    if not wants_bars():
        return flow(**parameters)
    from flows.progress_bars import stage_bars

    with stage_bars():
        return flow(**parameters)


def prepare_prefect(home: Path) -> None:
    """Prefect's settings for a run from the command line; variables that are already set stay."""
    if "PREFECT_HOME" not in os.environ:  # ours lies below a root, whose files are data: none may configure Prefect
        package = Path(str(find_spec("prefect").origin)).parent  # type: ignore[union-attr]  # installed
        os.environ.setdefault("PREFECT_LOGGING_SETTINGS_PATH", f"{package}/logging/logging.yml")
        os.environ.setdefault("PREFECT_PROFILES_PATH", f"{package}/settings/profiles.toml")
    for name, value in {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait slow a shared machine down severalfold
        # Prefect shows a failure as two tracebacks of fifty lines; `main` says in one line what is wrong.
        "PREFECT_LOGGING_LEVEL": "WARNING" if _wants_traceback() else "CRITICAL",
    }.items():
        os.environ.setdefault(name, value)


def _wants_traceback() -> bool:
    return bool(os.environ.get("TASTEGRAPH_TRACEBACK"))
