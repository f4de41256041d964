"""A contributor who follows CONTRIBUTING.md to the letter ends with code that works and passes its tests."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

PROJECT = Path(__file__).parents[1]
FOLDERS = ("flows", "tasks", "models", "storage", "tests")
SYSTEM_WALK = SETTINGS, OWN_SETTINGS, SYSTEM, TEST, REGISTRY = (
    "models/settings/tag_cosine.py",
    "models/settings/systems.py",
    "models/systems/tag_cosine.py",
    "tests/models/systems/test_tag_cosine.py",
    "models/systems/__init__.py",
)
IMPORTER_WALK = IMPORTER, IMPORTER_TEST, IMPORTERS = (
    "storage/sources/importers/pinboard.py",
    "tests/storage/sources/importers/test_pinboard.py",
    "storage/sources/importers/__init__.py",
)
COLUMN, COLUMN_TEST = "models/retrieval/mutual.py", "tests/models/retrieval/test_mutual.py"
GATE, GATE_TEST = "tasks/night/contracts.py", "tests/tasks/night/test_gate.py"
PAGE, TEMPLATE, PAGE_TEST = (
    "tasks/pages/contents.py",
    "tasks/pages/templates/night.html.jinja",
    "tests/tasks/pages/test_night.py",
)
SNAPSHOT_TEST = "tests/storage/test_snapshots.py::test_the_pointer_says_what_is_current_and_where"  # writes its table


TRY = """
import json, sys
from types import SimpleNamespace as Some
import numpy as np
from flows.settings import load, systems_named
from storage import matrices, parquet
from storage.roots import Root
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.schema import SCHEMA_VERSION
from tasks.evaluation.tune import grid_of
from tasks.night.report import _coverage
from tasks.systems.appearance import describe_looks
from tasks.systems.lists import RecommendConfig
from tasks.systems.model import Embeddings, Model
from tasks.systems.similar import find_similar

root = Root(sys.argv[1])
vectors = np.array([[3, 0], [2.9, 0.1], [3, 1.2], [0, 3]], np.float32)  # a and b are near, c is near a, d near c
columns = {"embedding": matrices.lists_of(vectors), "model": ["x"] * 4}
users = parquet.write(USER_EMBEDDINGS.with_dimensions(2), {"user_id": list("abcd"), **columns}, root)
images = parquet.write(IMAGE_EMBEDDINGS.with_dimensions(2), {"image_id": list("abcd"), **columns}, root)
model = Model("ease", "ease-0", users, images, Embeddings(users, [images]), None)
similar = find_similar.fn(model, describe_looks.fn(model, root), RecommendConfig(num_similar=1), None, [], root, None)

rows = {"user_id": ["u", "u", "v"], "rank": [1, 2, 1], "image_id": ["i", "j", "i"], "score": [2, 1, 2]}
lists = parquet.write(RECOMMENDATIONS, {**rows, "model": ["x"] * 3}, root)
community = Some(tables={"images": Some(rows=5)})
print(json.dumps({
    "systems": systems_named("popularity, tag_cosine"),
    "grid": grid_of("tag_cosine"),
    "settings": load(assignments=["model.system=tag_cosine", "model.tags=300"]).model.own,
    "version": SCHEMA_VERSION,
    "is_mutual": parquet.read(similar, root)["is_mutual"].to_pylist(),
    "coverage": _coverage(Some(exports={"recommendations": [lists]}, community=community), root),
}))
"""  # what the code of the walks does in the copy, all in one process


class Block(NamedTuple):
    """A block of the page that says in its first line which file it belongs to."""

    language: str  # python: a file, or lines at the end of one; diff: changes of a file
    file: str
    text: str


def blocks(walk: str = "") -> list[Block]:
    """The blocks of the page, or of the walk with that heading, in their order."""
    page = (PROJECT / "CONTRIBUTING.md").read_text()
    if walk:
        page = page.split(f"\n## {walk}\n")[1].split("\n## ")[0]
    return [Block(*found) for found in re.findall(r"```(python|diff)\n# (\S+)\n(.*?)```", page, re.DOTALL)]


def followed_block(block: Block, before: str) -> str:
    """What a file holds once the block has been followed."""
    if block.language == "python":
        is_function = block.text.startswith("def ")
        return before + ("\n\n" if is_function and before else "") + block.text
    lines = before.splitlines()
    for part in block.text.split("@@\n"):
        old, new = ([line[1:] for line in part.splitlines() if line[:1] != sign] for sign in "+-")
        places = [row for row in range(len(lines)) if lines[row : row + len(old)] == old]
        assert len(places) == 1, f"{block.file}: {len(places)} places are, not one:\n" + "\n".join(old)
        lines[places[0] : places[0] + len(old)] = new
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which a contributor has followed all walks."""
    copy = tmp_path_factory.mktemp("contributor")
    for name in FOLDERS:
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "docs").mkdir()
    for name in ("pyproject.toml", "docs/generate.py"):
        shutil.copy(PROJECT / name, copy / name)
    for block in blocks():
        file = copy / block.file
        file.write_text(followed_block(block, file.read_text() if file.exists() else ""))
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


@pytest.fixture(scope="module")
def passed(followed: Path) -> dict[str, int]:
    """How many tests passed in the copy, by file; all files in one process."""
    files = (TEST, IMPORTER_TEST, COLUMN_TEST, GATE_TEST, PAGE_TEST, SNAPSHOT_TEST)
    said = run(followed, "-m", "pytest", "-rA", "-q", "-p", "no:cacheprovider", *files)
    return dict(Counter(re.findall(r"^PASSED (\S+?)::", said, re.MULTILINE)))


@pytest.fixture(scope="module")
def tried(followed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the code of the walks does in the copy."""
    return dict(json.loads(run(followed, "-c", TRY, str(tmp_path_factory.mktemp("tried")))))


def test_adding_a_system_or_an_importer_is_a_few_lines_beside_its_own_files_and_a_short_test_file():
    of = {block.file: block.text for walk in ("Adding a system", "Adding an importer") for block in blocks(walk)}

    assert list(of) == [*SYSTEM_WALK, *IMPORTER_WALK]
    assert len([line for line in of[TEST].splitlines() if line]) <= 12
    assert len([line for line in of[IMPORTER_TEST].splitlines() if line]) <= 20
    assert all(len(of[registry].splitlines()) == 1 for registry in (REGISTRY, IMPORTERS))
    assert len(re.findall(r"(?m)^\+", of[OWN_SETTINGS])) == 2


def test_every_walk_is_short_and_ends_with_a_test():
    walks = ("a system", "an importer", "an export column", "a gate check", "a report section")
    written = {walk: blocks(f"Adding {walk}") for walk in walks}

    assert sum(map(len, written.values())) == len(blocks())
    assert all(any(block.file.startswith("tests/") for block in found) for found in written.values())
    assert all(sum(len(block.text.splitlines()) for block in found) <= 80 for found in written.values())


def test_a_change_that_fits_no_place_or_two_is_named():
    twice = Block("diff", "some.py", " a\n+b\n")

    assert followed_block(twice, "a\nc\n") == "a\nb\nc\n"
    for before in ("c\n", "a\na\n"):
        with pytest.raises(AssertionError, match=r"some\.py: . places"):
            followed_block(twice, before)


def test_the_system_of_the_walk_keeps_the_contract(passed):
    assert passed[TEST] >= 9  # the eight of the contract, and its own


def test_the_commands_know_the_system_of_the_walk_with_its_settings_and_grid(tried):
    assert tried["systems"] == ["popularity", "tag_cosine"]
    assert tried["grid"] == {"tags": [1000, 300, 3000]}
    assert tried["settings"] == {"tags": 300}


def test_the_importer_of_the_walk_keeps_the_contract_and_the_command_knows_it(followed, passed, tmp_path):
    assert passed[IMPORTER_TEST] >= 7

    (tmp_path / "pictures").mkdir()
    (tmp_path / "likes.csv").write_text("who,picture,when\nann,7,1600000000\n")
    words = ["import", "pinboard", str(tmp_path), "--out", str(tmp_path / "out"), "--json"]
    said = run(followed, "-c", "from flows.cli import main; main()", *words)
    assert json.loads(said)["tables"]["favorites"]["kept"] == 1


def test_the_column_of_the_walk_is_computed_and_its_stage_writes_it(passed, tried):
    assert passed[COLUMN_TEST] == 1
    assert passed[SNAPSHOT_TEST.partition("::")[0]] == 1
    assert tried["is_mutual"] == [True, True, False, False]
    assert tried["version"] == "2"


def test_the_gate_check_of_the_walk_stops_a_run_and_the_other_checks_still_hold(passed):
    own = len(re.findall("^def test_", (PROJECT / GATE_TEST).read_text(), re.MULTILINE))

    assert passed[GATE_TEST] > own


def test_the_report_section_of_the_walk_shows_and_its_data_are_counted(passed, tried):
    own = len(re.findall("^def test_", (PROJECT / PAGE_TEST).read_text(), re.MULTILINE))

    assert passed[PAGE_TEST] > own
    assert tried["coverage"] == [2, 5]


def test_the_code_of_the_walks_imports_nothing_from_above(followed):
    run(followed, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))")


def test_the_code_of_the_walks_passes_the_linter(followed):
    files = sorted({block.file for block in blocks() if block.file.endswith(".py")} - {REGISTRY, IMPORTERS})
    run(followed, "-m", "ruff", "check", *files)
    run(followed, "-m", "ruff", "format", "--check", *files)
