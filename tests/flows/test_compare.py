"""A comparison from end to end, as a flow and as a user types it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from flows import settings
from flows.compare import compare
from models.content.backbones import import_timm
from models.settings.names import flatten
from models.settings.systems import FAMILY, OWN_SETTINGS
from models.systems.base import SYSTEMS, InnerProduct, vectors_of
from models.systems.cdl import TwoTowers
from tasks.runtime import ledger
from tests import world
from tests.flows.processes import environment, tastegraph

CHOSEN = "popularity,random,ease"


def run(source: Path, root: Path, sections: dict[str, Any] | None = None, **options: Any):
    """One comparison; returns how it ended, and the stages that ran, with how often."""
    options = {"systems": CHOSEN, "budget": 2, **options}
    config = settings.validate_comparison(world.SETTINGS | (sections or {}))
    state = compare(str(source), str(root), config=config, return_state=True, **options)
    lines = ledger.of_run(str(state.state_details.flow_run_id)).lines.values()
    return state.result(), {line.stage: line.ran for line in lines if line.ran}


@pytest.fixture(scope="module")
def first(source, tmp_path_factory, prefect_server):
    root = tmp_path_factory.mktemp("root")
    compared, ran = run(source, root)
    return root, compared, ran


@dataclass(frozen=True, kw_only=True)
class NoConfig:
    """Nothing to set."""


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """A system that fails until it is mended."""

    class Broken(InnerProduct[NoConfig]):
        name = "broken"
        source = "this test"
        Config = NoConfig

        def fit(self, community: Any) -> None:
            raise RuntimeError("out of paint")

    monkeypatch.setitem(OWN_SETTINGS, "broken", NoConfig)
    yield Broken
    SYSTEMS.pop("broken")


def read(compared: Any, name: str) -> pl.DataFrame:
    return pl.read_parquet(f"{compared.folder}/{name}.parquet")


def test_a_comparison_leaves_one_row_a_figure_and_a_page(first):
    _, compared, _ = first
    results = read(compared, "results")

    assert set(results["system"]) == set(CHOSEN.split(","))
    assert set(results["slice"]) <= {"all", "warm", "cold"}
    assert results.select("system", "protocol", "slice", "metric", "k", "seed").is_unique().all()
    assert set(read(compared, "comparisons")["metric"]) == {"ndcg", "recall"}
    page = Path(compared.folder, "index.html").read_text()
    assert all(name in page for name in CHOSEN.split(","))
    assert f"Holm-corrected over {len(CHOSEN.split(',')) - 1} systems" in page
    assert {file.stem for file in Path(compared.folder, "users").iterdir()} == set(CHOSEN.split(","))
    report = json.loads(Path(compared.folder, "comparison.json").read_text())
    assert "CPU cores" in report["machine"]
    assert [item["trials"] for item in report["systems"] if item["system"] == "ease"] == [2]
    assert (report["test"], report["validation"], report["config"]["splits"]["seed"]) == (None, None, 0)


def test_a_second_comparison_runs_nothing_and_is_the_same(first, source):
    root, compared, _ = first
    again, ran = run(source, root)

    assert ran == {}
    assert again.id == compared.id


def test_another_system_is_measured_alone(first, source, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(first[0], root)
    _, ran = run(source, root, systems=f"{CHOSEN},itemknn")

    assert ran == {"tune-system": 1, "score-system": 1, "gather": 1}


def test_a_system_that_fails_is_told_and_the_others_go_on(first, source, tmp_path, mended, monkeypatch):
    root = tmp_path / "root"
    shutil.copytree(first[0], root)
    failed, ran = run(source, root, systems=f"broken,{CHOSEN}")
    report = {entry.system: entry.error for entry in failed.entries}

    assert "out of paint" in report.pop("broken")
    assert set(report.values()) == {None}
    assert [entry.system for entry in failed.failed] == ["broken"]
    assert set(read(failed, "results")["system"]) == set(CHOSEN.split(","))
    assert "score-system" not in ran

    monkeypatch.setattr(
        mended, "fit", lambda self, known: setattr(self, "fitted", vectors_of(*[[[1.0]] * n for n in (24, 60)]))
    )
    healed, ran = run(source, root, systems=f"broken,{CHOSEN}")
    assert not healed.failed
    assert ran == {"tune-system": 1, "score-system": 1, "gather": 1}


def test_a_system_whose_signals_the_source_lacks_is_left_out(source, tmp_path, mended, monkeypatch, prefect_server):
    monkeypatch.setattr(mended, "needs", ("times",))
    compared, _ = run(source, tmp_path, systems="broken,popularity", budget=0)
    (entry,) = [entry for entry in compared.entries if entry.system == "broken"]

    assert entry.lacking == ["times"]
    assert "it needs times" in entry.line
    assert not compared.failed


def test_a_comparison_by_a_frozen_network_says_so_and_sees_no_packed_pixels(source, tmp_path, prefect_server):
    with torch.random.fork_rng():
        torch.save(import_timm().create_model("test_resnet").state_dict(), tmp_path / "weights.pth")
    features = {"backbone": "test_resnet", "weights": str(tmp_path / "weights.pth")}
    options = {"systems": "visrank,popularity", "budget": 0}
    compared, ran = run(source, tmp_path / "root", {"features": features}, **options)

    assert ran["apply-backbone"] == 4
    assert compared.features.startswith("test_resnet, frozen, weights of a file, sha256 ")
    assert compared.features in Path(compared.folder, "index.html").read_text()
    assert json.loads(Path(compared.folder, "comparison.json").read_text())["features"] == compared.features

    larger = {"features": features, "images": {**world.SETTINGS["images"], "size_px": 24}}
    _, ran = run(source, tmp_path / "root", larger, **options)
    assert ran["decode-images"] == 4
    assert not {"apply-backbone", "score-system"} & ran.keys()


def test_pixels_and_profiles_are_made_where_a_system_asks(source, tmp_path, mended, monkeypatch, prefect_server):
    found: list[Any] = []

    def fit(self: Any, known: Any) -> None:
        found.append(known)
        self.fitted = vectors_of(*[[[1.0]] * n for n in (24, 60)])

    monkeypatch.setattr(mended, "needs", ("pixels", "profiles"))
    monkeypatch.setattr(mended, "fit", fit)
    _, ran = run(source, tmp_path, systems="broken,popularity", budget=0)
    (known,) = found

    assert ran["decode-images"] == 4  # sixty pictures in shards of about twenty, cut by their ids' digests
    assert ran["build-profiles"] == 1  # of what is learned from; with a budget, also of what is tuned on
    assert known.pixels.gather(known.pixels.has_I.nonzero()[0]).shape == (60, 16, 16, 3)
    red = known.profiles_UC[:12].sum(axis=0) > 0
    assert not (known.profiles_UC[12:].sum(axis=0) > 0)[red].any()
    assert known.interests_UT.shape[1] == known.image_labels_IT.shape[1] > 0


def test_the_papers_settings_are_what_each_of_the_family_is_fitted_with(source, tmp_path, monkeypatch, prefect_server):
    fitted: dict[str, Any] = {}

    def fit(self: Any, known: Any) -> None:
        fitted[self.name] = self.settings, known.pixels.size_px
        self.fitted = vectors_of(*[[[1.0]] * n for n in (24, 60)])

    monkeypatch.setattr(TwoTowers, "fit", fit)
    small = ["images.size_px=64", "evaluation.min_favorites=10", "evaluation.num_concealed=5", "evaluation.max_k=5"]
    config = settings.load_comparison("paper", [*small, "evaluation.num_others=20"], FAMILY, "paper")
    compared = compare(str(source), str(tmp_path), ",".join(FAMILY), "paper", config=config)
    paper = settings.cdl_settings(settings.load("paper"))

    assert not compared.failed
    for name, objective in {"cdl": "cross_entropy", "cdl_hinge": "hinge", "twonets": "doublets"}.items():
        of_system, size_px = fitted[name]
        assert size_px == 64
        assert of_system.model == replace(paper.model, loss=objective)
        for section in ("inputs", "negatives", "training_users", "triplets", "training"):
            assert flatten(getattr(of_system, section)) == flatten(getattr(paper, section))
    report = json.loads(Path(compared.folder, "comparison.json").read_text())
    assert {item["system"]: item["settings"]["training.optimizer"] for item in report["systems"]} == dict.fromkeys(
        FAMILY, "sgd"
    )
    page = Path(compared.folder, "index.html").read_text()
    assert page.count("training.weight_decay 0.0005") == 1 + 3  # of the comparison, and of each system
    assert page.count("images.size_px 64") == 0  # the default


def test_the_command_line_tells_the_figures_and_where_they_lie(first, source, settings_file, prefect_server):
    root, compared, _ = first
    env = environment(root / "prefect", PREFECT_API_URL=prefect_server)
    options = ["--source", source, "--root", root, "--config", settings_file, "--budget", 2]
    shown = tastegraph("compare", *options, "--systems", CHOSEN, env=env)
    answer = json.loads(tastegraph("compare", *options, "--systems", CHOSEN, "--json", env=env).stdout)
    tuned = json.loads(tastegraph("tune", *options, "--system", "ease", "--json", env=env).stdout)

    assert shown.returncode == 0, shown.stderr[-3000:]
    assert " ran in " not in shown.stderr
    assert all(word in shown.stdout for word in (*CHOSEN.split(","), "ndcg@10", f"{compared.folder}/index.html"))
    assert f"p is Holm-corrected over {len(CHOSEN.split(',')) - 1} systems" in shown.stdout
    assert answer["id"] == compared.id
    assert len(answer["results"]) == read(compared, "results").height
    assert tuned["settings"] == answer["settings"]["ease"]
    assert tuned["value"] == max(trial["value"] for trial in tuned["trials"])

    refused = tastegraph("compare", *options, "--systems", "ease,magic", env=env)
    assert refused.returncode == 1
    assert "no system magic; there are " in refused.stderr
