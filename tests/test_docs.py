"""What the pages say is there: files, stages, tables, settings, commands, and queries that run."""

import ast
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import duckdb
import numpy as np
import pytest
from typer.main import get_command

from docs import generate
from flows.cli import app
from flows.commands.options import ProtocolOption
from models.evaluation.splits import Protocol
from storage import images, matrices, parquet, snapshots
from storage.manifests import Manifest
from storage.roots import Root
from storage.snapshots import Pointer
from storage.sources.importers import IMPORTERS
from storage.tables.community import COMMUNITY
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from storage.tables.exports import EXPORTS
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.schema import SCHEMA_VERSION, Table
from storage.tables.similar import SIMILAR_IMAGES
from tests.storage.servers import moto_server

PROJECT = Path(__file__).parents[1]
PAGES = [*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")]
FOLDERS = ("flows", "tasks", "models", "storage")
README, ARCHITECTURE, READING, COMMAND_LINE, PIPELINE, SOURCES, IMPORTS, RUNNING, CONTRIBUTING = (
    (PROJECT / name).read_text()
    for name in (
        "README.md",
        "docs/architecture.md",
        "docs/reading.md",
        "docs/command-line.md",
        "docs/pipeline.md",
        "docs/sources.md",
        "docs/imports.md",
        "docs/running.md",
        "CONTRIBUTING.md",
    )
)
SETTINGS = generate.owners()  # each section's classes; `model` has one for each system
USER = "u000004"  # the user of the queries in README.md and docs/reading.md


def code(name: str) -> str:
    return (PROJECT / name).read_text()


def decorated(folder: str, decorators: set[str]) -> Iterator[ast.FunctionDef]:
    """Functions of a folder that carry one of the decorators."""
    for file in (PROJECT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                made_by = (item.func if isinstance(item, ast.Call) else item for item in node.decorator_list)
                if any(isinstance(item, ast.Name) and item.id in decorators for item in made_by):
                    yield node


def first_line(file: Path) -> str:
    """The first sentence or line of a file's docstring, or of its first comment where it is not Python."""
    text = file.read_text()
    if file.suffix == ".py":
        said = ast.get_docstring(ast.parse(text)) or ""
        return " ".join(said.split("\n\n")[0].split())
    found = re.match(r"\{#-?\s*(.*?)\s*-?#\}|#\s*(.*)", text)
    return (found[1] or found[2]).strip() if found else ""


def first_cells(page: str) -> set[str]:
    """The names in the first column of a page's tables."""
    return {
        name for line in page.splitlines() if line.startswith("|") for name in re.findall("`(.+?)`", line.split("|")[1])
    }


def commands_of(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command, with the names of the groups that it is in."""
    for name, command in group.commands.items():
        yield from (
            commands_of(command, f"{before}{name} ") if hasattr(command, "commands") else [(before + name, command)]
        )


def queries(language: str) -> list[str]:
    """The queries of the README and the page for readers, each once."""
    return list(dict.fromkeys(re.findall(rf"```{language}\n(.*?)```", README + READING, re.DOTALL)))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which tastegraph-data holds an earlier, the current, and a later run that was stopped."""
    folder = tmp_path_factory.mktemp("readme")
    root = Root(str(folder / "tastegraph-data"))
    for number, run_id in enumerate(("20261119T020000Z", "20261120T020000Z", "20261121T020000Z")):
        users, shown = [USER, "u000005"], [f"i00000{number}", f"i00001{number}"]
        vectors, model = matrices.lists_of(np.eye(2, 3, dtype=np.float32) + number), ["cdl-0"] * 2
        wide = (USER_EMBEDDINGS.with_dimensions(3), IMAGE_EMBEDDINGS.with_dimensions(3))
        lists = {"user_id": users, "rank": [1, 1], "image_id": shown, "score": [1.0, 1.0], "model": model}
        near = {
            "image_id": shown,
            "rank": [1, 1],
            "similar_image_id": shown[::-1],
            "score": [1.0, 1.0],
        }
        exports = {
            "recommendations": [parquet.write(RECOMMENDATIONS, lists, root)],
            "user_embeddings": [parquet.write(wide[0], {"user_id": users, "embedding": vectors, "model": model}, root)],
            "image_embeddings": [
                parquet.write(wide[1], {"image_id": shown, "embedding": vectors, "model": model}, root)
            ],
            "similar_images": [parquet.write(SIMILAR_IMAGES, near, root)],
        }
        manifest = Manifest(run_id=run_id, generated_at=f"2026-11-{19 + number}T02:00:00+00:00", metrics=[])
        snapshots.publish(root, manifest, exports, {"index.html": b"<html></html>"}, current=number < 2)
    return folder


@pytest.mark.parametrize("query", queries("sql"))
def test_the_pages_duckdb_queries_answer_from_the_current_run(
    query: str, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(published)
    found = duckdb.query(query).pl()

    assert set(found["image_id"]) in ({"i000001"}, {"i000001", "i000011"})


def images_of(rows: Any) -> list[str]:
    """The images of what a snippet ends with: a table of pyarrow, pandas or Polars, or rows of DuckDB or Spark."""
    if isinstance(rows, list):
        return [row["image_id"] if hasattr(row, "asDict") else row[1] for row in rows]
    return [str(image) for image in rows["image_id"]]


def answer_of(snippet: str, names: dict[str, Any]) -> Any:
    """The value of a snippet's last line, run with these names."""
    *statements, last = ast.parse(snippet).body
    assert isinstance(last, ast.Expr)
    exec(compile(ast.Module(statements, []), "reading.md", "exec"), names)
    return eval(compile(ast.Expression(last.value), "reading.md", "eval"), names)


OPENING = next(snippet for snippet in queries("python") if "ROOT = " in snippet)
SNIPPETS = [snippet for snippet in queries("python") if snippet != OPENING]
LIBRARIES = [re.search(r"tastegraph|pyspark|boto3|duckdb|polars|pandas|pyarrow", snippet)[0] for snippet in SNIPPETS]  # type: ignore[index]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Spark leaves a socket open
@pytest.mark.parametrize("place", ["disk", "s3"])
@pytest.mark.parametrize(("library", "snippet"), list(zip(LIBRARIES, SNIPPETS, strict=True)))
def test_the_readers_page_reads_the_current_run(
    library: str, snippet: str, place: str, published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip(library)
    if (library, place) in {("boto3", "disk"), ("pyspark", "s3")}:
        pytest.skip("boto3 reads S3 alone, and Spark needs jars for S3")
    monkeypatch.chdir(published)
    opening = OPENING
    with moto_server() if place == "s3" else nullcontext() as server:
        if server is not None:
            there = server.root(monkeypatch, tmp_path)
            for file in (published / "tastegraph-data" / "exports").rglob("*"):
                if file.is_file():
                    there.write(file.relative_to(published / "tastegraph-data").as_posix(), file.read_bytes())
            monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
            snippet = snippet.replace('"tastegraph-data"', repr(there.address))
            bucket, prefix = there.address.removeprefix("s3://").split("/", 1)
            opening = opening.replace('"tastegraph-data"', repr(there.address))
            snippet = snippet.replace("my-bucket", bucket).replace("some/prefix", prefix)
        names: dict[str, Any] = {}
        exec(compile(opening, "reading.md", "exec"), names)
        rows = answer_of(snippet, names)

    assert images_of(rows)[:1] == ["i000001"]


def test_the_readme_has_a_query_and_the_readers_page_has_one_for_each_library() -> None:
    assert README.count("```sql") == 1
    assert len(queries("sql")) == 2
    assert LIBRARIES == ["tastegraph", "pyarrow", "pandas", "polars", "duckdb", "pyspark", "boto3"]


def test_every_file_of_the_four_folders_says_in_one_line_what_it_holds() -> None:
    files = [
        file
        for folder in FOLDERS
        for file in (PROJECT / folder).rglob("*")
        if file.suffix in (".py", ".yaml", ".jinja") and file.name != "__init__.py"
    ]

    assert [file for file in files if not first_line(file)] == []
    assert files


def test_every_command_and_option_stands_on_its_page_and_no_other() -> None:
    lines = [line for line in COMMAND_LINE.splitlines() if line.startswith("    tastegraph ")]
    commands = dict(commands_of(get_command(app)))
    usage = {name: line for line in lines for name in commands if line.startswith(f"    tastegraph {name} ")}

    assert usage.keys() == commands.keys()
    assert len(usage) == len(lines)
    for name, command in commands.items():
        options = {option for item in command.params for option in item.opts if option.startswith("-")}
        assert set(re.findall(r"(?<=[ \[])--?[a-z-]+", usage[name])) == options - {"--help"}


COMMANDS = [
    (page.name, line)
    for page in PAGES
    for line in re.findall(
        r"^ {0,4}(?:\$ |\.venv/bin/)?(tastegraph [a-z].*)$", page.read_text().replace("\\\n", " "), re.MULTILINE
    )
    if not re.search(r"[\[|…]| {4}|\b[A-Z]{2,}\b(?<!ROOT)(?<!TASTEGRAPH_DATA)|^\D*\.\.\.", line)  # usage, not a command
]


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page}-{line[:60]}" for page, line in COMMANDS])
def test_every_command_that_a_page_shows_is_one_that_the_command_line_takes(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command: Any = get_command(app)
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    command.make_context(name, words).close()  # parses, and runs nothing


def test_a_block_of_code_is_run_by_a_test_or_says_why_not() -> None:
    run_here = {
        "README.md": {"sql", "console"},  # here, and tests/flows/test_tutorial.py
        "CONTRIBUTING.md": {"python", "diff"},  # tests/test_contributing.py
        "reading.md": {"sql", "python"},
        "running.md": {"sh"},  # tests/flows/test_deployment.py
        "tutorial.md": {"sh", "python"},  # tests/flows/test_tutorial.py
    }
    for page in PAGES:
        found = re.findall(r"(<!-- not run: [^\n]+ -->\n)?```([a-z]+)\n", page.read_text())
        assert {language for marker, language in found if not marker} <= run_here.get(page.name, set()), page.name


def test_every_protocol_is_offered_and_explained_and_no_other() -> None:
    offered, *_ = get_args(ProtocolOption)

    assert offered == Protocol
    assert f"[--protocol {'|'.join(get_args(Protocol))}]" in COMMAND_LINE
    assert all(f"\n| `{protocol}` |" in RUNNING for protocol in get_args(Protocol))


def every_declared_table() -> dict[str, Table]:
    """The tables of all modules of `storage.tables`, by name."""
    modules = [import_module(f"storage.tables.{file.stem}") for file in (PROJECT / "storage/tables").glob("[a-z]*.py")]
    return {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Table)}


def test_the_generated_pages_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    generate.main()  # exits with the names of the pages that are not


def test_every_setting_has_a_comment_and_every_table_and_column_a_meaning() -> None:
    silent = [
        f"{name}.{field.name} of {owner.__name__}"
        for name, owners in SETTINGS.items()
        for owner in owners
        for field in fields(owner)
        if not generate.comments_of(owner).get(field.name)
    ]
    every_table = every_declared_table()

    assert not silent
    assert every_table == {table.name: table for section in generate.table_sections().values() for table in section}
    assert all(table.doc and all(field.metadata[b"doc"] for field in table.schema) for table in every_table.values())


def test_every_flow_stage_and_settings_section_stands_on_the_pages() -> None:
    flows = {node.name for node in decorated("flows", {"flow"})}
    stages = {node.name.replace("_", "-") for node in decorated("tasks", {"stage", "uncached_stage"})}
    rows = PIPELINE.split("\n\n")[2]

    assert flows
    assert all(f"`{flow}`" in PIPELINE for flow in flows)
    assert first_cells(rows) == stages
    assert all(re.search(rf"`{section}[`.]", rows) for section in SETTINGS)
    assert all(f"## {section}\n" in code("docs/settings.md") for section in SETTINGS)


def test_every_table_stands_on_the_pages_where_it_belongs() -> None:
    public = {table.name for table in (*COMMUNITY, *EXPORTS)}
    derived = every_declared_table().keys() - public

    assert public <= first_cells(SOURCES)
    assert all(f"`{name}`" in PIPELINE for name in derived)
    for table in COMMUNITY:
        row = next(line for line in SOURCES.splitlines() if line.startswith(f"| `{table.name}`"))
        for field in table.schema:
            optional = field.nullable or (table.name, field.name) == ("user_tags", "count")
            assert (f"[`{field.name}`]" if optional else f" `{field.name}`") in row


def test_every_importer_and_every_reason_to_leave_a_row_out_stands_on_the_page() -> None:
    importers = "\n".join(file.read_text() for file in (PROJECT / "storage/sources/importers").glob("*.py"))
    reasons = set(re.findall(r'pl\.lit\("([a-z]+ [a-z ]+)"\)', importers))

    assert {"unreadable time", "no genre"} <= reasons
    assert reasons <= first_cells(IMPORTS)
    assert {f"## `{name}`" for name in IMPORTERS} <= set(IMPORTS.splitlines())


def test_every_reason_to_keep_something_out_is_explained() -> None:
    rules = re.findall(r'Rule\("([a-z ]+)"|"(missing [a-z]+)"', code("storage/sources/rules.py"))
    literals = re.findall(
        r'pl\.lit\("([a-z]+ [a-z]+)"\)', code("storage/sources/rules.py") + code("storage/sources/directory.py")
    )
    reasons = {reason for found in rules for reason in found if reason} | set(literals) | set(get_args(images.Reason))

    assert {"missing tag", "missing id", "duplicate id", "dangling reference", "damaged"} <= reasons
    assert reasons - {"unreadable row"} <= first_cells(SOURCES)
    assert "unreadable row" in first_cells(SOURCES)


def test_every_field_of_the_pointer_and_the_manifest_is_explained() -> None:
    pointer, manifest = PIPELINE.split("## `current.json`")[1].split("## `manifest.json`")

    assert first_cells(pointer) == {field.name for field in fields(Pointer)}
    assert first_cells(manifest) == {field.name for field in fields(Manifest)} - {"further"}


def test_every_variable_of_the_environment_is_explained() -> None:
    read = {
        name
        for folder in FOLDERS
        for file in (PROJECT / folder).rglob("*.py")
        for name in re.findall(r"TASTEGRAPH_[A-Z_]+", file.read_text())
    }

    assert all(name in RUNNING for name in read | set(re.findall(r"TASTEGRAPH_[A-Z_]+", code("prefect.yaml"))))


def keys_of(owner: type, section: str) -> Iterator[str]:
    """What `--set` calls the settings of a class, and those within them."""
    for field in fields(owner):
        yield f"{section}.{field.name}"
        if is_dataclass(field.type):
            yield from keys_of(field.type, f"{section}.{field.name}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_points_at_exists(page: Path) -> None:
    text = page.read_text()
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    named = re.findall(r"`((?:flows|tasks|models|storage|tests|benchmarks|docs)/[\w./-]*)`", text)
    keys = {key for section, owners in SETTINGS.items() for owner in owners for key in keys_of(owner, section)}
    settings = re.findall(rf"`(?:--set )?((?:{'|'.join(SETTINGS)})\.[a-z_.]+)[`=]", text)
    makes = re.findall(r"`make ([a-z]+)`", text)

    assert [target for target in targets if not (page.parent / target).exists()] == []
    assert [name for name in named if "<" not in name and not (PROJECT / name).exists()] == []
    assert set(settings) <= keys
    assert all(re.search(rf"^{name}:", code("Makefile"), re.MULTILINE) for name in makes)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page; the second heading of one name gets -1."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        found.add(next(name for name in (plain, *(f"{plain}-{n}" for n in range(1, 100))) if name not in found))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_headings_that_a_page_links_to_exist(page: Path) -> None:
    links = [
        link.partition("#") for link in re.findall(r"\]\(([^)\s]+#[^)\s]+)\)", page.read_text()) if "://" not in link
    ]

    assert [link for link in links if link[2] not in anchors(page.parent / link[0] if link[0] else page)] == []


def test_every_entry_of_the_log_stands_in_its_table_of_decisions_and_lines_are_wrapped() -> None:
    decisions, *entries = re.split(r"^## (?=\d{4})", code("docs/log.md"), flags=re.MULTILINE)
    titles = [(day[:10], title) for day in entries for title in re.findall(r"^### (.+)$", day, re.MULTILINE)]

    assert re.findall(r"^\| (\d{4}-\d\d-\d\d) \|.*? \[(.+?)\]\(#", decisions, re.MULTILINE) == titles
    assert [line for line in code("docs/log.md").splitlines() if len(line) > 120 and not line.startswith("|")] == []


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_no_folder_of_somebodys_machine(page: Path) -> None:
    assert re.findall(r"(?<![\w.:/])/(?:tmp|home|root|work|Users|mnt|var|opt)/\S*", page.read_text()) == []


def test_the_changelog_and_the_contributors_page_are_complete() -> None:
    version = tomllib.loads(code("pyproject.toml"))["project"]["version"]
    targets = set(re.findall(r"^([a-z]+):", code("Makefile"), re.MULTILINE))

    assert f"## {version}\n" in code("CHANGELOG.md")
    assert {f"make {target}" for target in targets} - {"make nightly"} <= first_cells(CONTRIBUTING)
    assert f"now {SCHEMA_VERSION}," in SOURCES


def test_every_picture_is_shown_and_small() -> None:
    photos, drawings = ([*(PROJECT / "docs").glob(kind)] for kind in ("*.png", "*.svg"))

    assert photos
    assert drawings
    assert all(f"docs/{picture.name}" in README and picture.stat().st_size < 200_000 for picture in photos)
    assert all(f"]({picture.name})" in ARCHITECTURE and picture.stat().st_size < 60_000 for picture in drawings)


def test_a_picture_that_was_rendered_from_another_source_is_out_of_date(tmp_path: Path) -> None:
    source = tmp_path / "small.dot"
    source.write_text("digraph { a -> b }")
    (tmp_path / "small.svg").write_text(f"{generate.mark_of(source)}<svg></svg>")
    assert generate.is_rendered(source)

    source.write_text("digraph { a -> c }")
    assert not generate.is_rendered(source)


def test_the_picture_of_the_architecture_names_every_folder_chapter_and_flow() -> None:
    drawn = code("docs/architecture.dot")
    labels = "\n".join(re.findall(r"label=<(.*?)>\]", drawn, re.DOTALL))
    chapters = {file.parent.name for folder in FOLDERS[1:] for file in (PROJECT / folder).glob("*/__init__.py")}

    assert {"data", "cdl", "ensemble", "sources"} <= chapters
    assert all(f"{folder}/</font>" in labels for folder in FOLDERS)
    assert all(re.search(rf"<b>{chapter}\b", labels) for chapter in chapters)
    assert all(re.search(rf"\b{node.name}\b", labels) for node in decorated("flows", {"flow"}))
