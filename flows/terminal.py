"""Text on the terminal: ids, names and paths letter by letter, never as markup or as terminal control.

Everything that a command prints for a person, and every line of its log, passes through `visible`.
"""

import logging
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

# What moves the cursor, colours, rings, ends a line or turns the reading direction; and halves of surrogate pairs,
# which stand for bytes of a file name that are not UTF-8. Letters of every script and joiners within words stay.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

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
    typer.echo("\n".join(map(visible, f"tastegraph: {message}".split("\n"))), err=True)


def prepare_terminal() -> None:
    """Log to stderr, and let a terminal of another encoding than UTF-8 show escapes for the letters that it lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("tastegraph").setLevel(logging.INFO)


class VisibleFormatter(logging.Formatter):
    """Messages in one line, letter by letter; the lines of a traceback stay lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # a name of the library
        return visible(super().formatMessage(record))

    def formatException(self, exc_info: Any) -> str:  # noqa: N802
        return "\n".join(map(visible, super().formatException(exc_info).split("\n")))
