"""What a stage's key covers, and when its record counts."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from models.evaluation.protocols import ProtocolConfig
from storage import refs
from storage.refs import Ref
from storage.roots import Root
from tasks.data.concealment import ConcealmentConfig, conceal_favorites
from tasks.runtime import caching
from tasks.runtime.caching import Records, StageKey

STAGE = "import numpy\nfrom painting import model\n\n\ndef run():\n    return model.one()\n"
FAVORITES = Ref("favorites", "tables/favorites/1.parquet", "1" * 64, 10, 100)


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A package that counts as ours: a stage, the model it calls, and a module that nobody imports."""
    folder = tmp_path / "painting"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    stage = "import numpy\nfrom painting import model\n\n\ndef run():\n    return model.one()\n"
    (folder / "stage.py").write_text(stage)
    (folder / "model.py").write_text('def one():\n    """One."""\n    return 1\n')
    (folder / "other.py").write_text("TWO = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(caching, "OURS", ("painting",))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "painting"]:
        del sys.modules[name]


def version_of_stage() -> str:
    """The version as the next process sees it."""
    importlib.invalidate_caches()
    caching.code_version.cache_clear()
    caching._content.cache_clear()
    caching._is_module.cache_clear()
    return caching.code_version("painting.stage")


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


def test_a_registry_is_no_part_of_the_version(package, monkeypatch):
    monkeypatch.setattr(caching, "REGISTRIES", {"painting.model"})
    before = version_of_stage()
    (package / "model.py").write_text("def one():\n    return 2\n")

    assert version_of_stage() == before


def test_the_versions_of_the_libraries_are_part_of_the_version(package, monkeypatch):
    before = version_of_stage()
    monkeypatch.setattr(caching, "version", lambda distribution: "99.0")

    assert version_of_stage() != before


def key(favorites: Ref = FAVORITES, seed: int = 0, root: str = "here") -> str:
    given = {"favorites_table": favorites, "config": ProtocolConfig(seed=seed), "root": Root(root)}
    return StageKey().compute_key(SimpleNamespace(task=conceal_favorites), given, {})


def test_content_and_settings_are_part_of_the_key_and_the_root_is_not():
    assert key() == key(root="elsewhere")
    assert key() != key(favorites=replace(FAVORITES, sha256="2" * 64))
    assert key() != key(seed=1)


def test_an_input_without_stable_content_is_refused_and_named():
    with pytest.raises(TypeError, match=r"conceal_favorites\(favorites_table\): ndarray"):
        conceal_favorites.fn(np.zeros(3), ProtocolConfig(), ConcealmentConfig(), Root("here"))


def test_a_record_counts_only_while_its_files_are_there_and_whole(tmp_path):
    root, records = Root(str(tmp_path)), Records(address=str(tmp_path))
    file = tmp_path / "made.bin"
    file.write_bytes(b"12345")
    made = refs.store(file, "tables", "made", 1, root)
    fields = {"name": made.name, "path": made.path, "sha256": made.sha256, "rows": 1, "bytes": made.bytes}
    content = json.dumps({"metadata": {}, "result": json.dumps({"parts": [fields]})}).encode()
    records.write_path("/cache/stage/key", content)
    assert records.read_path("/cache/stage/key") == content

    (tmp_path / made.path).write_bytes(b"123")
    with pytest.raises(FileNotFoundError, match="gone or cut off"):
        records.read_path("/cache/stage/key")
    root.delete(made.path)
    with pytest.raises(FileNotFoundError, match="gone or cut off"):
        records.read_path("/cache/stage/key")
