"""Write the pages generated from the code: tables, settings, stages; render the picture of the architecture.

`python docs/generate.py --check` only says whether they are up to date; a test runs it.
"""

import ast
import hashlib
import inspect
import io
import shutil
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from flows.settings import PUBLISHED, ComparisonConfig, ModelConfig, NightlyConfig
from models.settings.systems import OWN_SETTINGS
from storage.settings.flickr import FlickrConfig
from storage.tables import cdl, community, evaluation, exports, pixels, schema, splits, stages, tastes
from storage.tables.schema import Table
from tasks.runtime.code_version import coverage

DOCS = Path(__file__).parent
PROJECT = DOCS.parent
IS_NEARLY_ALL = 0.8  # share of the stages that cover a module for the page to say so once
DERIVED = "What the pipeline derives"  # nobody's contract: without types
IS_COMMON = 3  # tables in which a column with one meaning is explained once for all


def tables_page() -> str:
    """Every table: what a row means, its key, its columns."""
    sections = table_sections()
    entries = Counter(_column(field) for members in sections.values() for table in members for field in table.schema)
    common = {entry for entry, number in entries.items() if number >= IS_COMMON}
    parts = [
        "# Tables",
        "Made from `storage/tables/` by `make docs`. Files are Parquet, sorted by key; each carries "
        f"`tastegraph.schema_version` (now {schema.SCHEMA_VERSION}) in its metadata. A column marked *optional* may be "
        "null. A column without a meaning beside it has this one:",
        "\n".join(entry for entry in entries if entry in common),
    ]
    for title, members in sections.items():
        parts.append(f"## {title}")
        for table in members:
            parts.append(f"### {table.name}\n\n{table.doc} Key: {_list_of(table.key)}.")
            groups = groupby(table.schema, lambda field: _column(field) in common)
            lines = [
                line
                for is_common, group in groups
                for line in (
                    [f"- {_list_of(field.name for field in group)}"]
                    if is_common
                    else [_column(field, has_type=title != DERIVED) for field in group]
                )
            ]
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _list_of(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _column(field: pa.Field, has_type: bool = True) -> str:
    return f"- `{field.name}`{f' ({_type(field)})' * has_type}: {field.metadata[b'doc'].decode()}"


def table_sections() -> dict[str, list[Table]]:
    """All tables, by heading of the page, in the order of their modules."""
    derived = (pixels, splits, tastes, cdl, evaluation, stages)
    return {
        "What a source becomes": [*community.COMMUNITY, community.EVENTS, community.TOMBSTONES, community.QUARANTINE],
        "What downstream teams read": [*exports.EXPORTS, *exports.OPTIONAL_EXPORTS],
        DERIVED: [table for module in derived for table in _tables_in(module)],
    }


def _tables_in(module: ModuleType) -> list[Table]:
    return [value for value in vars(module).values() if isinstance(value, Table)]


def settings_page() -> str:
    """Every setting: its default and what it does, from the comment beside it."""
    parts = [
        "# Settings",
        "Made from the code by `make docs`. Each line: key, default, meaning. [running.md](running.md#settings) says "
        "where they are set and which place wins; `--config paper` takes the paper's, `flows/paper.yaml`.",
        "`compare` and `tune` have the sections of the nightly but for "
        f"{_names(set(_section_names(NightlyConfig)) - set(_section_names(ComparisonConfig)))}, and the section "
        f"`splits`. Their defaults differ in {_differences()} ([running.md](running.md#settings-of-a-comparison)).",
    ]
    first: dict[str, str] = {}  # the section in which a line stands
    for section in fields(NightlyConfig):
        parts += _section(section.name, NightlyConfig(), first)
        if section.name == "model":
            parts += _systems()
    parts.append("The section that follows is of `compare` and `tune` alone.")
    for name in set(_section_names(ComparisonConfig)) - set(_section_names(NightlyConfig)):
        parts += _section(name, ComparisonConfig(), first)
    parts.append("The sections that follow are those of `tastegraph crawl flickr` and the flow `crawl`.")
    for section in fields(FlickrConfig):
        parts += _section(section.name, FlickrConfig(), first)
    return "\n\n".join(parts) + "\n"


def stages_page() -> str:
    """Every stage: the modules and libraries that the version of its code covers."""
    covered = {module: _covered(module) for module in stage_modules()}
    counts = Counter(name for names in covered.values() for name in names)
    common = [name for name in counts if counts[name] >= IS_NEARLY_ALL * len(covered)]
    parts = [
        "# Stages and what their keys cover",
        "Generated by `make docs`. A stage runs again when an input, a setting or its code changes. Its code is the "
        "modules of its row, with the versions of the libraries that they import; comments, docstrings and imports for "
        "types alone do not count. `tasks/runtime/` and `storage/roots/` order work and move bytes; they decide "
        "none, so no key covers them. A stage that runs a system has the version of that system as an argument.",
        "So a stage imports no more than it needs: records that others import are in modules of their own.",
        f"All stages cover {', '.join(sorted(common))}, but for those whose row says that they do not.",
    ]
    rows = []
    for module, names in stage_modules().items():
        cells = [f"`{name.replace('_', '-')}`" for name in names]
        own = [name for name in covered[module] if name not in common]
        lacking = [f"not {name}" for name in common if name not in covered[module]]
        rows.append(f"| {', '.join(cells)} | {', '.join([*own, *lacking])} |")
    return "\n\n".join([*parts, "\n".join(["| stages | cover |", "|---|---|", *rows])]) + "\n"


def _covered(module: str) -> list[str]:
    """The modules and libraries that the version of a module's code covers; no packages of ours, no Prefect."""
    covered = coverage(module)
    ours = [name for name in covered.modules if not (PROJECT / name.replace(".", "/")).is_dir()]
    return [*ours, *(name for name in covered.libraries if name not in {*sys.stdlib_module_names, "prefect"})]


def stage_modules() -> dict[str, list[str]]:
    """The modules that hold cached stages, and the names of their functions."""
    found = {}
    for file in sorted((PROJECT / "tasks").rglob("*.py")):
        functions = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
        names = [node.name for node in functions if any(ast.unparse(made) == "stage" for made in node.decorator_list)]
        if names:
            found[".".join(file.relative_to(PROJECT).with_suffix("").parts)] = names
    return found


def owners() -> dict[str, list[type]]:
    """The classes whose fields are the settings of each section; `model` has one for each system."""
    flows = (ComparisonConfig(), NightlyConfig(), FlickrConfig())  # of two defaults the night's are shown
    sections = {section.name: [type(getattr(flow, section.name))] for flow in flows for section in fields(flow)}
    return sections | {"model": [ModelConfig, *(own for _, own in sorted(OWN_SETTINGS.items()))]}


def _section_names(of: Any) -> list[str]:
    return [section.name for section in fields(of)]


def _names(names: Iterable[str]) -> str:
    *most, last = (f"`{name}`" for name in sorted(names))
    return f"{', '.join(most)} and {last}"


def _differences() -> str:
    """The settings whose defaults in a comparison are not those of a night."""
    nightly, compared = NightlyConfig(), ComparisonConfig()
    found = [
        f"`{section.name}.{key}` {value}"
        for section in fields(ComparisonConfig)
        if section.name not in ("model", "splits")
        for key, value in vars(getattr(compared, section.name)).items()
        if value != getattr(getattr(nightly, section.name), key)
    ]
    found += [f"`model.{key}` {compared.model.own[key]}" for key in PUBLISHED[nightly.model.system]]
    return " and ".join(found)


def _section(name: str, flow: Any, first: dict[str, str]) -> list[str]:
    """A section's heading and its settings."""
    about, lines = _settings(owners()[name][0], getattr(flow, name))
    return [f"## {name}", about, _listed(name, lines, first)]


def _systems() -> list[str]:
    """The settings of each system that has some; docs/systems.md has its source."""
    parts: list[str] = []
    first: dict[str, str] = {}
    for name, own in sorted(OWN_SETTINGS.items()):
        about, lines = _settings(own, own(**PUBLISHED.get(name, {})))
        if lines:
            about = about.removeprefix(f"Settings of `{name}`").lstrip(".,; ")
            parts += [f"### `model.system={name}`", about[:1].upper() + about[1:], _listed(name, lines, first)]
    without = _names(name for name, own in OWN_SETTINGS.items() if not fields(own))
    return [part for part in [*parts, f"{without} have no settings of their own."] if part]


def _listed(name: str, lines: list[str], first: dict[str, str]) -> str:
    """The lines as a list; those that an earlier owner has too, with default and meaning, by name and default alone."""
    known = [line for line in lines if line in first]
    as_before = [
        f"- as of `{other}`: {', '.join(line.removeprefix('- ').partition('`: ')[0] + '`' for line in group)}"
        for other, group in groupby(known, first.__getitem__)
    ]
    own = [line for line in lines if line not in first]
    first |= dict.fromkeys(own, name)
    return "\n".join([*own, *as_before])


def _settings(owner: type, defaults: Any) -> tuple[str, list[str]]:
    """What an owner says of itself, and a line for each of its settings."""
    comments = comments_of(owner)
    return str(inspect.getdoc(owner)), [
        f"- `{field.name}` `{getattr(defaults, field.name)}`: {comments.get(field.name, '')}" for field in fields(owner)
    ]


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
            found[node.target.id] = " ".join(comments)
    return found


PAGES = {"tables.md": tables_page, "settings.md": settings_page, "stages.md": stages_page}


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
