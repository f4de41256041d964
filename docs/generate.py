"""Write the pages generated from the code: tables, settings, files; render the picture of the architecture.

`python docs/generate.py --check` only says whether they are up to date; a test runs it.
"""

import ast
import hashlib
import inspect
import io
import re
import shutil
import subprocess
import sys
import tokenize
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from flows.settings import OWN_SETTINGS, PUBLISHED, ModelConfig, NightlyConfig
from models.systems import SYSTEMS
from storage.sources.flickr.crawl import FlickrConfig
from storage.tables import cdl, community, evaluation, exports, pixels, schema, splits, tastes
from storage.tables.schema import Table

DOCS = Path(__file__).parent
PROJECT = DOCS.parent
FOLDERS = ("flows", "tasks", "models", "storage")  # in the order of who imports whom


def tables_page() -> str:
    """Every table: what a row means, its key, its columns."""
    parts = [
        "# Tables",
        "Made from `storage/tables/` by `make docs`. Files are Parquet, sorted by key; each carries "
        f"`tastegraph.schema_version` (now {schema.SCHEMA_VERSION}) in its metadata. A column marked *optional* may be "
        "null.",
    ]
    for title, members in table_sections().items():
        parts.append(f"## {title}")
        for table in members:
            parts.append(f"### {table.name}\n\n{table.doc} Key: {', '.join(f'`{name}`' for name in table.key)}.")
            rows = [
                f"| `{field.name}` | {_type(field)} | {field.metadata[b'doc'].decode()} |" for field in table.schema
            ]
            parts.append("\n".join(["| column | type | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def table_sections() -> dict[str, list[Table]]:
    """All tables, by heading of the page, in the order of their modules."""
    derived = (pixels, splits, tastes, cdl, evaluation)
    return {
        "What a source becomes": [*community.COMMUNITY, community.TOMBSTONES, community.QUARANTINE],
        "What downstream teams read": list(exports.EXPORTS),
        "What the pipeline derives": [table for module in derived for table in _tables_in(module)],
    }


def _tables_in(module: ModuleType) -> list[Table]:
    return [value for value in vars(module).values() if isinstance(value, Table)]


def settings_page() -> str:
    """Every setting: its default and what it does, from the comment beside it."""
    parts = [
        "# Settings",
        "Made from the code by `make docs`. Each is set by `--set section.key=value`, in a YAML file given as "
        "`--config`, or in a deployment's parameter `config`. `--config paper` takes the paper's settings, "
        "`flows/paper.yaml`.",
    ]
    for section in fields(NightlyConfig):
        parts += _section(section.name, NightlyConfig())
        if section.name == "model":
            for name, own in OWN_SETTINGS.items():
                parts += [f"### `model.system={name}`", *_source(name), *_settings(own, own(**PUBLISHED.get(name, {})))]
    parts.append("The sections that follow are those of `tastegraph crawl flickr` and the flow `crawl`.")
    for section in fields(FlickrConfig):
        parts += _section(section.name, FlickrConfig())
    return "\n\n".join(parts) + "\n"


def files_page() -> str:
    """Every file of the four folders with the first line of its docstring or comment; a package has a heading."""
    parts = [
        "# Files",
        "Generated from the first line of each file by `make docs`. `flows -> tasks -> models, storage`; no import "
        "points back. Read `flows/nightly.py` first. `tests/` mirrors the four folders; `tests/world.py` is a tiny "
        "community with two tastes.",
    ]
    for package in sorted(
        (file.parent for folder in FOLDERS for file in (PROJECT / folder).rglob("__init__.py")),
        key=lambda path: (FOLDERS.index(path.relative_to(PROJECT).parts[0]), path),
    ):
        files = sorted(
            file
            for pattern in ("*.py", "*.yaml", "templates/*.jinja")
            for file in package.glob(pattern)
            if file.name != "__init__.py"
        )
        parts += [f"## {package.relative_to(PROJECT).as_posix()}/", first_line(package / "__init__.py")]
        rows = [f"| `{file.relative_to(PROJECT).as_posix()}` | {first_line(file)} |" for file in files]
        if rows:
            parts.append("\n".join(["| file | holds |", "|---|---|", *rows]))
    return "\n\n".join(part for part in parts if part) + "\n"


def first_line(file: Path) -> str:
    """The first sentence or line of a file's docstring, or of its first comment where it is not Python."""
    text = file.read_text()
    if file.suffix == ".py":
        said = ast.get_docstring(ast.parse(text)) or ""
        return " ".join(said.split("\n\n")[0].split())
    found = re.match(r"\{#-?\s*(.*?)\s*-?#\}|#\s*(.*)", text)
    return (found[1] or found[2]).strip() if found else ""


def owners() -> dict[str, list[type]]:
    """The classes whose fields are the settings of each section; `model` has one for each system."""
    flows = (NightlyConfig(), FlickrConfig())
    sections = {section.name: [type(getattr(flow, section.name))] for flow in flows for section in fields(flow)}
    return sections | {"model": [ModelConfig, *OWN_SETTINGS.values()]}


def _section(name: str, flow: Any) -> list[str]:
    """A section's heading and its settings."""
    return [f"## {name}", *_settings(owners()[name][0], getattr(flow, name))]


def _source(system: str) -> list[str]:
    return [f"Source: {SYSTEMS[system].source}."] if system in SYSTEMS else []


def _settings(owner: type, defaults: Any) -> list[str]:
    """What an owner says of itself, and its settings as a table."""
    comments = comments_of(owner)
    rows = [
        f"| `{field.name}` | `{getattr(defaults, field.name)}` | {comments.get(field.name, '')} |"
        for field in fields(owner)
    ]
    table = ["\n".join(["| key | default | meaning |", "|---|---|---|", *rows])] if rows else []
    return [str(inspect.getdoc(owner)), *table]


def _type(field: pa.Field) -> str:
    name = str(field.type).replace("list<item: float>", "list of float32").replace("list<item: ", "list of ")
    return name.rstrip(">") + (", *optional*" if field.nullable else "")


def comments_of(owner: type) -> dict[str, str]:
    """The comment within the lines of each field, inherited ones included."""
    lines = reversed([base for base in owner.__mro__ if is_dataclass(base)])
    return {name: comment for base in lines for name, comment in _comments_in(base).items()}


def _comments_in(owner: type) -> dict[str, str]:
    source = inspect.getsource(owner)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comment_of_line = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
    tree = ast.parse(source).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            comments = [comment_of_line[line].removeprefix("#").strip() for line in lines if line in comment_of_line]
            found[node.target.id] = " ".join(comments).replace("|", "\\|")
    return found


PAGES = {"tables.md": tables_page, "settings.md": settings_page, "files.md": files_page}


def mark_of(source: Path) -> str:
    """The comment in a rendered picture that says which source it was rendered from."""
    return f"<!-- {source.name}: sha256 {hashlib.sha256(source.read_bytes()).hexdigest()} -->"


def is_rendered(source: Path) -> bool:
    """Whether the SVG beside a Graphviz source was rendered from it as it is now."""
    picture = source.with_suffix(".svg")
    return picture.exists() and mark_of(source) in picture.read_text()


def render(source: Path) -> None:
    """Render a Graphviz source to the SVG beside it. Exits where Graphviz is not installed or refuses the source."""
    if not shutil.which("dot"):
        sys.exit(f"{source.name} has changed, and `dot` is not installed: install Graphviz, then run `make docs`")
    rendered = subprocess.run(["dot", "-Tsvg", source], capture_output=True, text=True, check=False)
    if rendered.returncode or rendered.stderr:
        sys.exit(f"dot refuses {source.name}: {rendered.stderr}")
    source.with_suffix(".svg").write_text(rendered.stdout.replace("<svg ", f"{mark_of(source)}\n<svg ", 1))


def main() -> None:
    """Write the pages and pictures, or with --check say which are out of date and exit 1."""
    stale = [name for name, page in PAGES.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != page()]
    sources = [source for source in sorted(DOCS.glob("*.dot")) if not is_rendered(source)]
    if "--check" in sys.argv:
        if stale or sources:
            names = [*stale, *(source.with_suffix(".svg").name for source in sources)]
            sys.exit(f"out of date: {', '.join(names)}; run `make docs`")
        return
    for name in stale:
        (DOCS / name).write_text(PAGES[name]())
    for source in sources:
        render(source)


if __name__ == "__main__":
    main()
