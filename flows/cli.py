"""The command line. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 finished but not made current."""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from flows import stopping
from flows.commands import crawls, exports, nights, systems, upkeep
from flows.commands.at_work import wants_traceback
from flows.commands.options import FAILED, USAGE
from flows.errors import SettingsError, one_line
from flows.terminal import prepare_terminal, say, say_error

NO_MEMORY = ("can't allocate memory", "out of memory", "can't start new thread")  # in errors of torch and Python
COMMANDS: dict[str, Callable[..., None]] = {  # in the order of --help
    "doctor": upkeep.doctor,
    "nightly": nights.nightly,
    "validate": nights.validate,
    "config": nights.config,
    "import": nights.import_,
    "evaluate": systems.evaluate,
    "compare": systems.compare,
    "tune": systems.tune,
    "recommend": exports.recommend,
    "similar": exports.similar,
    "serve": exports.serve,
    "show": exports.show,
    "diff": exports.diff,
    "rollback": upkeep.rollback,
    "publish": upkeep.publish,
    "forget": upkeep.forget,
    "verify": upkeep.verify,
    "gc": upkeep.gc,
}

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From an image community's raw data to versioned recommendations in Parquet.",
)
crawl_app = typer.Typer(no_args_is_help=True, help="From a living community to a source directory.")
for name, command in COMMANDS.items():
    app.command(name)(command)
crawl_app.command("flickr")(crawls.flickr)
app.add_typer(crawl_app, name="crawl")


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


def main() -> None:
    """Run the command line; an error that a person can correct is one line without a traceback."""
    with stopping.exiting_fast():
        stopping.end_on_signals()
        prepare_terminal()
        try:
            app()
        except BaseException as error:
            stopping.wait_if_stopped()
            if isinstance(error, SystemExit) or wants_traceback() or (line := line_for_a_person(error)) is None:
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
    if isinstance(error, OSError):
        return one_line(error)
    if isinstance(error, ValueError):
        return error
    from storage.leases import BusyError, LostError
    from storage.roots import ConflictError

    return error if isinstance(error, BusyError | LostError | ConflictError) else None
