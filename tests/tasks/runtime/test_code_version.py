"""What the version of a stage's code covers."""

import importlib
import sys
from pathlib import Path

import pytest

from tasks.runtime import code_version

STAGE = "import numpy\nfrom painting import model\n\n\ndef run():\n    return model.one()\n"
TYPING = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from painting import other\n\n"


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package that counts as ours: a stage, the model it calls, and a module that nobody imports."""
    folder = tmp_path / "painting"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "stage.py").write_text(STAGE)
    (folder / "model.py").write_text('def one():\n    """One."""\n    return 1\n')
    (folder / "other.py").write_text("TWO = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(code_version, "OURS", ("painting",))
    yield folder
    code_version.clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "painting"]:
        del sys.modules[name]


def version_of_stage() -> str:
    """The version as the next process sees it."""
    importlib.invalidate_caches()
    code_version.clear()
    return code_version.code_version("painting.stage")


def test_comments_docstrings_layout_and_other_modules_are_not_part_of_the_version(package):
    before = version_of_stage()
    (package / "model.py").write_text('def one():\n    """The first number."""\n\n    return 1  # and not 2\n')
    (package / "other.py").write_text("TWO = 3\n")

    assert version_of_stage() == before


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("stage", STAGE.replace("model.one()", "-model.one()")),
        ("model", "def one():\n    return 2\n"),
        ("stage", STAGE.replace("numpy", "scipy")),
    ],
)
def test_the_code_of_the_stage_and_of_what_it_imports_is_part_of_the_version(package, module, code):
    before = version_of_stage()
    (package / f"{module}.py").write_text(code)

    assert version_of_stage() != before


def test_an_import_for_types_alone_is_no_part_of_the_version(package):
    (package / "stage.py").write_text("from typing import TYPE_CHECKING\n\n" + STAGE)
    before = version_of_stage()
    (package / "stage.py").write_text(TYPING + STAGE)

    assert version_of_stage() == before
    assert "painting.other" not in code_version.coverage("painting.stage").modules


def test_a_registry_is_no_part_of_the_version(package, monkeypatch):
    monkeypatch.setattr(code_version, "REGISTRIES", {"painting.model"})
    before = version_of_stage()
    (package / "model.py").write_text("def one():\n    return 2\n")

    assert version_of_stage() == before


def test_plumbing_is_no_part_of_the_version_with_all_below_it(package, monkeypatch):
    monkeypatch.setattr(code_version, "PLUMBING", ("painting.model",))
    version_of_stage()

    assert code_version.coverage("painting.stage").modules == ("painting", "painting.stage")


def test_the_versions_of_the_libraries_are_part_of_the_version(package, monkeypatch):
    before = version_of_stage()
    monkeypatch.setattr(code_version, "version", lambda distribution: "99.0")

    assert version_of_stage() != before


def test_a_module_without_a_source_file_is_refused_and_named(package):
    with pytest.raises(ModuleNotFoundError, match="nothing: no source file"):
        code_version.code_version("painting.nothing")
