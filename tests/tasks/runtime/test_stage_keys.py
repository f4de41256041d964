"""What the key of each stage covers, and what a change therefore runs again."""

import difflib
from collections.abc import Callable
from dataclasses import replace

import pytest

from docs import generate
from flows.lineage import lineage, modules_of
from flows.settings import validate
from models.systems import SYSTEMS
from tasks.runtime import code_version

MODULES = generate.stage_modules()
LEARNERS = ("cdl", "ease", "tastegraph", "vbpr")


@pytest.fixture
def changed_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], set[str]]:
    """The modules whose stages run again when the code of a module changes; lineages count as `lineage of ...`."""

    def changed(module: str) -> set[str]:
        read, before = code_version._read, versions()
        with monkeypatch.context() as patched:
            more = replace(read(module), code="changed")
            patched.setattr(code_version, "_read", lambda name: more if name == module else read(name))
            code_version.code_version.cache_clear()
            after = versions()
        code_version.code_version.cache_clear()
        return {name for name in before if before[name] != after[name]}

    return changed


def versions() -> dict[str, str]:
    """The code version of every module with stages, and the lineage of some systems."""
    lineages = {f"lineage of {name}": lineage(validate({"model": {"system": name}})) for name in LEARNERS}
    return {module: code_version.code_version(module) for module in MODULES} | lineages


def test_every_key_covers_the_modules_and_libraries_that_the_page_says():
    page, now = (generate.DOCS / "stages.md").read_text(), generate.stages_page()
    difference = "\n".join(difflib.unified_diff(page.splitlines(), now.splitlines(), "docs/stages.md", "the code", n=0))

    assert page == now, (
        f"what a stage's key covers has changed, so other changes than before run it again:\n{difference}\n"
        f"Where this is wanted, run `make docs` and commit docs/stages.md; else import less in the stage's module."
    )


@pytest.mark.parametrize(
    ("module", "again"),
    [
        ("storage.tables.recommendations", {"tasks.systems.recommend"}),
        ("storage.tables.similar", {"tasks.systems.similar"}),
        ("storage.tables.embeddings", {"tasks.cdl.embed", "tasks.systems.embed", "tasks.systems.fold_in"}),
        ("storage.tables.exports", set()),
    ],
)
def test_a_column_of_an_export_runs_only_the_stages_that_write_it_again(changed_by, module, again):
    assert changed_by(module) == again


@pytest.mark.parametrize(
    "module",
    [
        "tasks.night.gate",
        "tasks.night.report",
        "tasks.night.publish",
        "tasks.night.records",
        "tasks.pages.night",
        "tasks.pages.charts",
        "tasks.upkeep.forget",
        "flows.learn",
        "flows.nightly",
        "storage.snapshots",
        "storage.leases",
    ],
)
def test_the_gate_the_report_and_the_order_of_the_night_run_no_stage_again_and_every_model_is_kept(changed_by, module):
    assert changed_by(module) == set()


def test_the_painter_of_the_demo_runs_the_demo_alone_again(changed_by):
    assert changed_by("storage.sources.demo.pictures") == {"tasks.data.demo"}


def test_ranking_is_no_part_of_what_learns(changed_by):
    changed = changed_by("models.retrieval.ranking")

    assert "tasks.systems.recommend" in changed
    assert changed.isdisjoint({"tasks.systems.fit", "tasks.cdl.train", *(f"lineage of {name}" for name in LEARNERS)})


@pytest.mark.parametrize(
    ("module", "learners"),
    [
        ("models.cdl.training", {"cdl"}),
        ("storage.images", {"cdl", "tastegraph", "vbpr"}),
        ("models.content.features", {"tastegraph", "vbpr"}),
        ("models.content.backbones", {"tastegraph", "vbpr"}),
        (SYSTEMS["ease"].__module__, {"ease"}),
        ("tasks.data.word2vec", set(LEARNERS)),
        ("models.content.clusters", set(LEARNERS)),
    ],
)
def test_no_model_is_kept_whose_own_code_has_changed(changed_by, module, learners):
    changed = changed_by(module)

    assert {name for name in LEARNERS if f"lineage of {name}" in changed} == learners


def test_the_lineage_covers_every_stage_that_learns():
    called = {*code_version._read("flows.learn").imports, *code_version._read("tasks.cdl.inputs").imports}
    covered = {module for system in SYSTEMS for module in modules_of(system, needs_features=True)}

    # These write a kept model's vectors again, by their own keys. Add a new stage here or to flows/lineage.py.
    assert (called & MODULES.keys()) - covered == {"tasks.cdl.embed", "tasks.systems.embed", "tasks.systems.fold_in"}


@pytest.mark.parametrize(
    ("library", "users"),
    [
        ("gensim", {"tasks.data.vectors"}),
        ("optuna", {"tasks.evaluation.tune"}),
        ("PIL", {"tasks.data.backbone", "tasks.data.demo", "tasks.data.pixels"}),
        ("timm", {"tasks.data.backbone"}),
        *((name, set()) for name in ("duckdb", "matplotlib", "jinja2", "boto3", "pydantic", "httpx")),
    ],
)
def test_a_library_is_part_of_the_keys_of_the_stages_that_use_it(library, users):
    covered = {module for module in MODULES if library in code_version.coverage(module).libraries}

    assert covered == users
