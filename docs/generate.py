"""Write the pages that are made from the code: docs/tables.md from the schemas, docs/settings.md from the settings.

`python docs/generate.py --check` only says whether they are up to date; a test runs it.
"""

import ast
import inspect
import io
import sys
import tokenize
from dataclasses import fields
from pathlib import Path

import pyarrow as pa

from flows.settings import NightlyConfig
from storage import tables
from storage.tables import Table

DOCS = Path(__file__).parent


def tables_page() -> str:
    """Every table: what a row means, its key, its columns."""
    parts = [
        "# Tables",
        "Made from `storage/tables.py` by `make docs`. Files are Parquet, sorted by key; each carries "
        f"`tastegraph.schema_version` (now {tables.SCHEMA_VERSION}) in its metadata. A column marked *optional* may be "
        "null.",
    ]
    derived = [table for table in vars(tables).values() if isinstance(table, Table)]
    sections = {
        "What a source becomes": [*tables.COMMUNITY, tables.QUARANTINE],
        "What downstream teams read": list(tables.EXPORTS),
    }
    listed = [table for members in sections.values() for table in members]
    sections["What the pipeline derives"] = [table for table in derived if table not in listed]
    for title, members in sections.items():
        parts.append(f"## {title}")
        for table in members:
            parts.append(f"### {table.name}\n\n{table.doc} Key: {', '.join(f'`{name}`' for name in table.key)}.")
            rows = [
                f"| `{field.name}` | {_type(field)} | {field.metadata[b'doc'].decode()} |" for field in table.schema
            ]
            parts.append("\n".join(["| column | type | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def settings_page() -> str:
    """Every setting: its default and what it does, from the comment beside it."""
    parts = [
        "# Settings",
        "Made from the code by `make docs`. Each is set by `--set section.key=value`, in a YAML file given as "
        "`--config`, or in a deployment's parameter `config`. `--config paper` takes the paper's settings, "
        "`flows/paper.yaml`.",
    ]
    for section in fields(NightlyConfig):
        owner = section.default_factory
        assert isinstance(owner, type)
        comments = _comments(owner)
        default = owner()
        parts.append(f"## {section.name}\n\n{inspect.getdoc(owner)}")
        rows = [
            f"| `{field.name}` | `{getattr(default, field.name)}` | {comments.get(field.name, '')} |"
            for field in fields(owner)
        ]
        parts.append("\n".join(["| key | default | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _type(field: pa.Field) -> str:
    name = str(field.type).replace("list<item: float>", "list of float32").replace("list<item: ", "list of ")
    return name.rstrip(">") + (", *optional*" if field.nullable else "")


def _comments(owner: type) -> dict[str, str]:
    """The comment within the lines of each field."""
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


PAGES = {"tables.md": tables_page, "settings.md": settings_page}


def main() -> None:
    """Write the pages, or with --check say which are out of date and exit 1."""
    stale = [name for name, page in PAGES.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != page()]
    if "--check" in sys.argv:
        if stale:
            sys.exit(f"out of date: {', '.join(stale)}; run `make docs`")
        return
    for name in stale:
        (DOCS / name).write_text(PAGES[name]())


if __name__ == "__main__":
    main()
