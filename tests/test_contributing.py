"""Whoever follows CONTRIBUTING.md to the letter ends with a system, or an importer, that keeps its contract."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
FOLDERS = ("flows", "tasks", "models", "storage", "tests")
SYSTEM, TEST, REGISTRY = SYSTEM_WALK = (
    "models/systems/tag_cosine.py",
    "tests/models/systems/test_tag_cosine.py",
    "models/systems/__init__.py",
)
IMPORTER, IMPORTER_TEST, IMPORTERS = IMPORTER_WALK = (
    "storage/sources/importers/pinboard.py",
    "tests/storage/sources/importers/test_pinboard.py",
    "storage/sources/importers/__init__.py",
)


def blocks() -> dict[str, str]:
    """The code of the page that says which file it belongs to, by file."""
    page = (PROJECT / "CONTRIBUTING.md").read_text()
    return dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", page, re.DOTALL))


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which somebody has followed both walks."""
    copy = tmp_path_factory.mktemp("contributor")
    for name in FOLDERS:
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", copy)
    for code, test, registry in (SYSTEM_WALK, IMPORTER_WALK):
        for name in (code, test):
            (copy / name).write_text(blocks()[name])
        with (copy / registry).open("a") as file:
            file.write(blocks()[registry])
    return copy


def run(copy: Path, *words: str) -> str:
    """What Python says in the copy, whose folders come before the installed ones."""
    ended = subprocess.run(
        [sys.executable, *words],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_each_walk_is_one_file_one_short_test_file_and_one_import():
    assert list(blocks()) == [*SYSTEM_WALK, *IMPORTER_WALK]
    assert len([line for line in blocks()[TEST].splitlines() if line]) <= 12
    assert len([line for line in blocks()[IMPORTER_TEST].splitlines() if line]) <= 20
    assert all(len(blocks()[registry].splitlines()) == 1 for registry in (REGISTRY, IMPORTERS))


def test_the_system_of_the_walk_keeps_the_contract(followed):
    passed = re.search(r"(\d+) passed", run(followed, "-m", "pytest", "-q", "-p", "no:cacheprovider", TEST))

    assert passed
    assert int(passed[1]) >= 9  # the eight of the contract, and its own


def test_the_commands_know_the_system_of_the_walk_with_its_settings_and_grid(followed):
    said = run(
        followed,
        "-c",
        "from flows.compare import systems_named\n"
        "from flows.settings import load\n"
        "from tasks.evaluation.tune import grid_of\n"
        "print(systems_named('popularity, tag_cosine'), grid_of('tag_cosine'))\n"
        "print(load(assignments=['model.system=tag_cosine', 'model.tags=300']).model.own)",
    )

    assert said.splitlines() == [
        "['popularity', 'tag_cosine'] {'tags': (1000, 300, 3000)}",
        "{'tags': 300}",
    ]


def test_the_importer_of_the_walk_keeps_the_contract_and_the_command_knows_it(followed, tmp_path):
    passed = re.search(r"(\d+) passed", run(followed, "-m", "pytest", "-q", "-p", "no:cacheprovider", IMPORTER_TEST))
    assert passed
    assert int(passed[1]) >= 7

    (tmp_path / "pictures").mkdir()
    (tmp_path / "likes.csv").write_text("who,picture,when\nann,7,1600000000\n")
    words = ["import", "pinboard", str(tmp_path), "--out", str(tmp_path / "out"), "--json"]
    said = run(followed, "-c", "from flows.cli import main; main()", *words)
    assert json.loads(said)["tables"]["favorites"]["kept"] == 1


def test_the_code_of_the_walks_passes_the_linter(followed):
    files = (SYSTEM, TEST, IMPORTER, IMPORTER_TEST)
    run(followed, "-m", "ruff", "check", *files)
    run(followed, "-m", "ruff", "format", "--check", *files)
