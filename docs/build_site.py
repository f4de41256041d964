"""Build the site of the pages below `build/`; ends with 1 where a link or an anchor is broken. `make docs` runs it."""

import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

import tastegraph
from flows.cli import app

DOCS = Path(__file__).parent
PROJECT = DOCS.parent
BUILD = PROJECT / "build"


def python_page() -> str:
    """What `import tastegraph` has, from its docstrings."""
    parts = ["# Python: `import tastegraph`", str(inspect.getdoc(tastegraph))]
    for name in sorted(tastegraph.__all__, key=lambda name: (name[0].isupper(), name)):  # functions first
        member = getattr(tastegraph, name)
        if inspect.isfunction(member):
            parts += [f"## {name}", _call(name, member), _doc(member)]
            continue
        rows = re.findall(r"^    (\w+: .+?)  # (.+)$", inspect.getsource(member), re.MULTILINE)
        parts += [f"## {name}", _doc(member), "\n".join(f"- `{field}`: {meaning}" for field, meaning in rows)]
        for own, value in vars(member).items():
            function = getattr(value, "fget", None) or getattr(value, "func", None) or value
            if inspect.isfunction(function) and not own.startswith("_"):
                call = [_call(own, function)] if function is value else []
                parts += [f"### {name}.{own}", *call, _doc(function)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _call(name: str, function: Any) -> str:
    """How a function is called, as a block of code."""
    shown = re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", str(inspect.signature(function)))
    return f"```python\n{name}{shown.replace('(self, ', '(').replace('(self)', '()')}\n```"


def _doc(member: Any) -> str:
    """A docstring as Markdown: a section's entries become a list."""
    text = inspect.getdoc(member) or ""
    text = re.sub(r"^(Args|Raises):$", r"\n**\1**\n", text, flags=re.MULTILINE)
    return re.sub(r"^    (\w[\w, ]*): ", r"- `\1`: ", text, flags=re.MULTILINE)


def options_page() -> str:
    """Every command with its options, as `--help` has them."""
    parts = ["# Options of every command", "[command-line.md](command-line.md) has the commands and their exit codes."]
    for name, command in _commands(get_command(app)):
        rows = [
            f"| `{', '.join(item.opts)}` | {'' if item.default is None else f'`{item.default}`'} | {_help(item)} |"
            for item in command.params
            if item.name != "help"
        ]
        head = ["| option | default | meaning |", "|---|---|---|"]
        parts += [f"## `tastegraph {name}`", str(command.help), "\n".join([*head, *rows])]
    return "\n\n".join(parts) + "\n"


def _help(option: Any) -> str:
    return (getattr(option, "help", None) or "").replace("|", "\\|")


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def lay(folder: Path) -> None:
    """Write the pages with the links that they have in one folder; the README is the first page."""
    folder.mkdir(parents=True)
    for file in [*PROJECT.glob("*.md"), *DOCS.glob("*.md")]:
        text = re.sub(r"\]\((?:\.\./|docs/)", "](", file.read_text())
        text = text.replace("](README.md", "](index.md")
        text = re.sub(r"\[([^\]]+)\]\((?:deploy|tests)/[^)]*\)", r"\1", text)  # files of the project are no pages
        (folder / ("index.md" if file.name == "README.md" else file.name)).write_text(text)
    for pattern in ("*.png", "*.svg", "*.ipynb"):
        for file in DOCS.glob(pattern):
            shutil.copy(file, folder)
    (folder / "python.md").write_text(python_page())
    (folder / "options.md").write_text(options_page())


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """The end of the build of the pages that lie in `folder`/docs."""
    shutil.copy(DOCS / "zensical.toml", folder)
    command = [Path(sys.executable).with_name("zensical"), "build", "--clean", "--strict"]
    return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, env={"NO_COLOR": "1"})


def main() -> None:
    """Lay the pages, build the site, and say where it is."""
    shutil.rmtree(BUILD, ignore_errors=True)
    lay(BUILD / "docs")
    built = build(BUILD)
    if built.returncode:
        sys.exit(re.sub(r"\x1b\[[\d;]*m", "", built.stdout + built.stderr).partition("Traceback")[0])
    sys.stdout.write(f"{BUILD / 'site' / 'index.html'}\n")


if __name__ == "__main__":
    main()
