"""Who imports whom: the floors of pyproject.toml, which `make lint` checks too; and no file left half merged."""

import ast
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import grimp

PROJECT = Path(__file__).parents[1]
FOLDERS = ("flows", "tasks", "models", "storage")
TEXT = {".py", ".jinja", ".css", ".js", ".md", ".yaml", ".toml", ".json", ".jsonl", ".txt"}


def test_no_import_points_upward_and_none_goes_in_a_circle() -> None:
    # In a process of its own: it sets logging up anew, and silences every logger that other tests listen to.
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    linted = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True, timeout=120)

    assert linted.returncode == 0, linted.stdout


def test_the_contracts_see_every_module_of_the_four_folders() -> None:
    graph = grimp.build_graph(*FOLDERS, cache_dir=None)
    files = [file.relative_to(PROJECT) for folder in FOLDERS for file in (PROJECT / folder).rglob("*.py")]
    modules = {".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files}

    assert modules == graph.modules


def test_what_scripts_import_from_the_project_is_there() -> None:
    # mypy reads none of these, and what a function imports is missed only when it is called.
    missing = []
    for file in (file for folder in ("benchmarks", "docs") for file in (PROJECT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in FOLDERS:
                module = importlib.import_module(node.module)
                missing += [
                    f"{file.relative_to(PROJECT)}: {node.module}.{name.name}"
                    for name in node.names
                    if not hasattr(module, name.name)
                    and not (hasattr(module, "__path__") and importlib.util.find_spec(f"{node.module}.{name.name}"))
                ]

    assert missing == []


def test_no_file_holds_both_sides_of_a_merge() -> None:
    folders = (*FOLDERS, "tests", "benchmarks", "docs")
    files = [*PROJECT.glob("*"), *(file for folder in folders for file in (PROJECT / folder).rglob("*"))]
    texts = [file for file in files if file.suffix in TEXT and file.is_file()]
    starts = ("<" * 7 + " ", ">" * 7 + " ")
    unmerged = [file for file in texts if any(line.startswith(starts) for line in file.read_text().splitlines())]

    assert PROJECT / "tasks/pages/templates/comparison.html.jinja" in texts
    assert unmerged == []
