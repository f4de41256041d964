"""Text on the terminal: ids, names and paths letter by letter, never as markup or as terminal control.

Everything that a command prints for a person, and every line of its log, passes through `visible`. The log is text on a
terminal, and else JSON, a line for each of its lines; TASTEGRAPH_LOG says which where that is not what is wanted.
"""

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.runtime.whereabouts import RUN, STAGE

# What moves the cursor, colours, rings, ends a line or turns the reading direction; and halves of surrogate pairs,
# which stand for bytes of a file name that are not UTF-8. Letters of every script and joiners within words stay.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

TOPIC = "%-18s "  # how a message begins that names what it is about
COUNTED = ("outcome", "seconds")  # fields of a record that a line of JSON has too

_quiet = threading.Event()  # whether the log has warnings and errors alone
_logged = threading.Event()  # whether errors are lines of the log
# Markup and emoji names are off here too, for what is printed without `say`.
_console = Console(markup=False, emoji=False, highlight=False)


def visible(text: object) -> str:
    r"""The text with every control character as an escape, such as \x1b or \u202e; all else as it is."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(text))


def say(line: object = "", style: str = "") -> None:
    """Print one line, which no width cuts.

    Args:
        style: of the whole line, as rich names it: "red", "bold".
    """
    _console.print(Text(visible(line), style), soft_wrap=True)


def say_table(columns: Sequence[str], rows: Iterable[Sequence[object]], **looks: Any) -> None:
    """Print a table; a cell that is too wide goes on in the next line, so that nothing of it is lost.

    Args:
        looks: arguments of rich.table.Table.
    """
    table = Table(**looks)
    for name in columns:
        table.add_column(Text(visible(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    _console.print(table)


def say_error(message: object) -> None:
    """Print an error of one or more lines to stderr."""
    typer.echo(error_text(message), err=True)


def error_text(message: object) -> str:
    """What `say_error` prints: lines of text, or of a flow whose log is JSON a line of that."""
    if _logged.is_set():
        record = logging.LogRecord("tastegraph", logging.ERROR, "", 0, str(message), None, None)
        return JsonFormatter().format(record)
    return "\n".join(map(visible, f"tastegraph: {message}".split("\n")))


def be_quiet(wanted: bool = True) -> None:
    """From now on neither what goes well nor how far it is appears on the terminal; results and warnings do."""
    if wanted:
        _quiet.set()
        logging.getLogger("tastegraph").setLevel(logging.WARNING)


def wants_bars() -> bool:
    """Whether somebody may look on: the log is text on a terminal that can move its cursor, and not quiet."""
    is_text = not any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)
    can_move = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return is_text and can_move and not _quiet.is_set()


def log_errors() -> None:
    """From now on an error is a line of the log, where that is JSON."""
    if any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers):
        _logged.set()


def prepare_terminal() -> None:
    """Log to stderr, and let a terminal of another encoding than UTF-8 show escapes for the letters that it lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    wanted = os.environ.get("TASTEGRAPH_LOG") or ("text" if sys.stderr.isatty() else "json")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if wanted == "json" else VisibleFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log = logging.getLogger("tastegraph")
    log.setLevel(logging.INFO)
    if wanted not in ("json", "text"):
        log.warning("TASTEGRAPH_LOG is %r, so the log is text; write json or text", wanted)


class VisibleFormatter(logging.Formatter):
    """Messages in one line, letter by letter; the lines of a traceback stay lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # a name of the library
        return visible(super().formatMessage(record))

    def formatException(self, exc_info: Any) -> str:  # noqa: N802
        return "\n".join(map(visible, super().formatException(exc_info).split("\n")))


class JsonFormatter(logging.Formatter):
    r"""A line of JSON for each line of the log: time, level, run, stage, message, and what is counted.

    Many messages begin with the name of what they are about, in a column of 18 letters; it is the stage where no stage
    is at work.
    """

    def format(self, record: logging.LogRecord) -> str:
        about, args, text = None, record.args, record.msg
        if isinstance(text, str) and text.startswith(TOPIC) and isinstance(args, tuple) and args:
            about, args, text = str(args[0]), args[1:], text.removeprefix(TOPIC)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "run": RUN.get(),
            "stage": STAGE.get() or about,
            "message": str(text) % args if args else str(text),
        }
        line |= {name: getattr(record, name) for name in COUNTED if hasattr(record, name)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
