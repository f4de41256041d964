"""Whoever follows CONTRIBUTING.md to the letter ends with a system that keeps the contract and can be compared."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
FOLDERS = ("flows", "tasks", "models", "storage", "tests")
SYSTEM, TEST, REGISTRY = (
    "models/systems/tag_cosine.py",
    "tests/models/systems/test_tag_cosine.py",
    "models/systems/__init__.py",
)


def blocks() -> dict[str, str]:
    """The code of the page that says which file it belongs to, by file."""
    page = (PROJECT / "CONTRIBUTING.md").read_text()
    return dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", page, re.DOTALL))


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which somebody has followed the walk."""
    copy = tmp_path_factory.mktemp("contributor")
    for name in FOLDERS:
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", copy)
    for name in (SYSTEM, TEST):
        (copy / name).write_text(blocks()[name])
    with (copy / REGISTRY).open("a") as registry:
        registry.write(blocks()[REGISTRY])
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


def test_the_walk_is_one_file_one_test_file_of_a_dozen_lines_and_one_import():
    assert list(blocks()) == [SYSTEM, TEST, REGISTRY]
    assert len([line for line in blocks()[TEST].splitlines() if line]) <= 12
    assert len(blocks()[REGISTRY].splitlines()) == 1


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
        "from tasks.tune import grid_of\n"
        "print(systems_named('popularity, tag_cosine'), grid_of('tag_cosine'))\n"
        "print(load(assignments=['model.system=tag_cosine', 'model.tags=300']).model.own)",
    )

    assert said.splitlines() == [
        "['popularity', 'tag_cosine'] {'tags': (1000, 300, 3000)}",
        "{'tags': 300}",
    ]


def test_the_code_of_the_walk_passes_the_linter(followed):
    run(followed, "-m", "ruff", "check", SYSTEM, TEST)
    run(followed, "-m", "ruff", "format", "--check", SYSTEM, TEST)
