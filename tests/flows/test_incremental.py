"""Fourteen nights of a community that grows: what is new costs, what is old stays, and no night can be told from a run
from nothing with the same model."""

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import settings
from flows.nightly import nightly
from storage import snapshots
from storage.roots import Root
from storage.sources import demo
from storage.sources.demo import DemoConfig
from storage.sources.demo_growth import Growth, GrowthConfig
from tasks import ledger

pytestmark = pytest.mark.usefixtures("prefect_server")

GROWTH = GrowthConfig(new_images=0.02, left_images=0.01, new_users=0.02, returning_users=0.02, left_users=0.01)
SETTINGS: dict[str, dict[str, Any]] = {
    "model": {"system": "cdl"},
    "evaluation": {"min_users": 5},
    "images": {"size_px": 16, "shard_images": 16},
    "word2vec": {"dimensions": 8, "min_count": 1},
    "clusters": {"num_clusters": 16},
    "training": {"epochs": 8},
    "triplets": {"pool_images": 32},
    "recommend": {"num_recommendations": 5, "num_similar": 4, "block_users": 64},
    "gate": {"tolerance": 1.0},  # of so few users every figure is noise
    "incremental": {"start": "keep", "full_every": 0, "tag_drift": 0.2, "quality_drift": 1.0},
}


def run(source: Path, root: Path, **incremental: Any) -> tuple[dict[str, Any], set[str]]:
    """One night; returns its manifest, and the stages that ran."""
    merged = SETTINGS | {"incremental": SETTINGS["incremental"] | incremental}
    state = nightly(str(source), str(root), settings.validate(merged), return_state=True)
    ran = {line.stage for line in ledger.lines_of(str(state.state_details.flow_run_id)) if line.ran}
    return snapshots.manifest(Root(str(root)), state.result().run_id), ran


def exported(manifest: dict[str, Any]) -> dict[str, str]:
    """The digest of each exported file, by its place in the run."""
    return {file["path"].split("/", 3)[3]: file["sha256"] for file in manifest["files"] if file["table"]}


def ids(source: Path, table: str) -> set[str]:
    name = f"{table[:-1]}_id"
    file = source / ("images.parquet" if table == "images" else "users.csv")
    return set((pl.read_parquet if file.suffix == ".parquet" else pl.read_csv)(file)[name])


@pytest.fixture(scope="module")
def growing(tmp_path_factory) -> tuple[Growth, Path, Path]:
    """A community that can be shown as of any night, the source directory to show it in, and a root with night 0."""
    folder = tmp_path_factory.mktemp("growing")
    demo.write(DemoConfig(users=100, images=150, picture_px=16), folder / "whole")
    growth = Growth(folder / "whole", GROWTH)
    growth.write(0, folder / "source")
    run(folder / "source", folder / "root")
    return growth, folder / "source", folder / "root"


def test_fourteen_nights_do_what_is_new_and_end_as_runs_from_nothing_with_the_same_model(growing, tmp_path):
    growth, source, first = growing
    root = tmp_path / "root"
    shutil.copytree(first, root)
    manifest = snapshots.runs(Root(str(root)))[0]
    base = manifest["run_id"]
    for night in range(1, GROWTH.nights + 1):
        before, images = manifest["rows"], ids(source, "images")
        growth.write(night, source)
        manifest, ran = run(source, root)
        told, work = manifest["incremental"], manifest["incremental"]["work"]
        num_new = len(ids(source, "images") - images)

        assert (told["how"], told["model"]) == ("keep", f"kept from run {base}"), told["why"]
        assert manifest["is_current"]
        assert {"train-cdl", "learn-vectors", "cluster-vectors", "sample-triplets"}.isdisjoint(ran)
        assert num_new == 3
        assert [work[f"images {done}"] for done in ("fetched", "decoded", "embedded")] == [num_new] * 3
        assert work["users embedded"] < before["user_embeddings"] / 4
        assert work["users recommended"] < before["user_embeddings"]
        assert work["images compared"] < before["image_embeddings"]
        if night in (7, 14):
            assert exported(manifest) == exported(from_nothing(source, first, tmp_path / f"fresh{night}"))


def from_nothing(source: Path, first: Path, root: Path) -> dict[str, Any]:
    """The manifest of a night that has the first night's model, and computes all the rest anew."""
    shutil.copytree(first, root, ignore=shutil.ignore_patterns("cache"))
    return run(source, root, take_over=False)[0]


def test_a_night_whose_last_one_lost_a_file_learns_from_nothing_and_says_so(growing, tmp_path):
    growth, source, first = growing
    root = tmp_path / "root"
    shutil.copytree(first, root)
    lost = next((root / "tables" / "user_embeddings").iterdir())
    lost.unlink()
    growth.write(1, source)
    told = run(source, root)[0]["incremental"]

    assert told["how"] == "full"
    assert f"tables/user_embeddings/{lost.name}" in told["why"]


def test_a_warm_night_trains_on_from_the_published_weights_and_decodes_nothing_again(growing, tmp_path):
    growth, source, first = growing
    root = tmp_path / "root"
    shutil.copytree(first, root)
    growth.write(1, source)
    manifest, ran = run(source, root, start="warm", warm_epochs=1)
    told = manifest["incremental"]
    losses = manifest["memory"]["last"]["tested"]["cdl"]["trained"]["losses"]

    assert (told["how"], told["model"].startswith("from the weights of run")) == ("warm", True)
    assert "train-cdl" in ran
    assert {"learn-vectors", "cluster-vectors"}.isdisjoint(ran)
    assert told["work"]["images decoded"] == 3
    assert losses
