"""Fourteen nights of a community that grows: what is new costs, what is old stays, and no night differs from a run
from nothing with the same model."""

import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import settings
from flows.nightly import nightly
from storage import snapshots
from storage.manifests import Manifest
from storage.roots import Root
from storage.settings.demo import DemoConfig
from storage.sources.demo.community import write_demo
from storage.sources.demo.growth import Growth, GrowthConfig
from tasks.night.records import FromScratch, InputFingerprint, NightStart
from tasks.night.start import choose, states_of
from tasks.runtime import ledger
from tasks.settings.start import IncrementalConfig
from tasks.settings.word2vec import Word2VecConfig
from tests import world

pytestmark = pytest.mark.usefixtures("prefect_server")

GROWTH = GrowthConfig(new_images=0.02, left_images=0.01, new_users=0.02, returning_users=0.02, left_users=0.01)
SETTINGS: dict[str, dict[str, Any]] = {
    "model": {"system": "cdl", "refit": False},
    "evaluation": {"min_favorites": 199, "lower_to_community": False},  # nobody is tested: of so few all is noise
    "images": {"size_px": 16, "shard_images": 16},
    "word2vec": {"dimensions": 8, "min_count": 1},
    "clusters": {"num_clusters": 16},
    "training": {"epochs": 1},
    "triplets": {"pool_images": 32},
    "recommend": {"num_recommendations": 5, "num_similar": 4, "block_users": 64},
    "incremental": {"start": "keep", "full_every": 0, "warm_every": 0, "tag_drift": 0.2},
}


def run(source: Path, root: Path, system: str = "cdl", **incremental: Any) -> tuple[Manifest, set[str]]:
    """One night, of CDL learned once, else twice; returns its manifest, and the stages that ran."""
    model = SETTINGS["model"] if system == "cdl" else {"system": system}
    changes = {"model": model, "incremental": SETTINGS["incremental"] | incremental}
    state = nightly(str(source), str(root), settings.validate(SETTINGS | changes), return_state=True)
    ran = {line.stage for line in ledger.of_run(str(state.state_details.flow_run_id)).lines.values() if line.ran}
    return snapshots.manifest(Root(str(root)), state.result().run_id), ran


def exported(manifest: Manifest) -> dict[str, str]:
    """The digest of each exported file, by its place in the run."""
    return {file.path.split("/", 3)[3]: file.sha256 for file in manifest.table_files()}


def add_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    pl.concat([pl.read_csv(file), pl.DataFrame(rows)], how="diagonal").write_csv(file)


def ids(source: Path, table: str) -> set[str]:
    name = f"{table[:-1]}_id"
    file = source / ("images.parquet" if table == "images" else "users.csv")
    return set((pl.read_parquet if file.suffix == ".parquet" else pl.read_csv)(file)[name])


@pytest.fixture(scope="module")
def growing(tmp_path_factory) -> tuple[Growth, Path, Path]:
    """A community that can be shown as of any night, the source directory to show it in, and a root with night 0."""
    folder = tmp_path_factory.mktemp("growing")
    write_demo(DemoConfig(users=100, images=150, picture_px=16), folder / "whole")
    growth = Growth(folder / "whole", GROWTH)
    growth.write(0, folder / "source")
    run(folder / "source", folder / "root")
    return growth, folder / "source", folder / "root"


def test_each_of_fourteen_nights_does_what_is_new_and_equals_a_run_from_nothing_with_the_same_model(growing, tmp_path):
    growth, source, first = growing
    root, recomputed = tmp_path / "root", tmp_path / "anew"
    shutil.copytree(first, root)
    shutil.copytree(first, recomputed, ignore=shutil.ignore_patterns("cache"))
    manifest = snapshots.runs(Root(str(root)))[0]
    base = manifest.run_id
    for night in range(1, GROWTH.nights + 1):
        before, images = manifest.rows, ids(source, "images")
        growth.write(night, source)
        manifest, ran = run(source, root)
        account, work = manifest.incremental, manifest.incremental["work"]
        num_new = len(ids(source, "images") - images)

        assert (account["how"], account["model"]) == ("keep", f"kept from run {base}"), account["why"]
        assert manifest.is_current
        assert {"train-cdl", "learn-vectors", "cluster-vectors", "sample-triplets"}.isdisjoint(ran)
        assert num_new == 3
        assert [work[f"images {done}"] for done in ("fetched", "decoded", "embedded")] == [num_new] * 3
        assert work["users embedded"] < before["user_embeddings"] / 4
        assert work["users recommended"] < before["user_embeddings"]
        assert work["images compared"] < before["image_embeddings"]
        assert exported(manifest) == exported(run(source, recomputed, take_over=False)[0])


def test_any_system_with_embeddings_is_kept_and_new_users_and_images_are_folded_in(growing, tmp_path):
    growth, source, _ = growing
    first, root = tmp_path / "first", tmp_path / "root"
    growth.write(0, source)
    label = run(source, first, "ease")[0].model
    shutil.copytree(first, root)
    growth.write(1, source)
    manifest, ran = run(source, root, "ease")

    assert manifest.incremental["how"] == "keep"
    assert "fit-system" not in ran
    assert manifest.model == label
    assert manifest.rows["user_embeddings"] == len(ids(source, "users"))
    assert 0 < manifest.incremental["work"]["images embedded"] <= 3  # of one, nothing may be known
    shutil.copytree(first, tmp_path / "anew", ignore=shutil.ignore_patterns("cache"))
    assert exported(manifest) == exported(run(source, tmp_path / "anew", "ease", take_over=False)[0])


def test_who_comes_to_a_kept_model_without_favorites_is_told_by_tags_contacts_and_groups(tmp_path):
    source, root = world.write_source(tmp_path / "source"), tmp_path / "root"
    users = [*(f"user{number:02d}" for number in range(world.NUM_USERS)), "quiet", "silent"]
    pl.DataFrame({"user_id": users}).write_csv(source / "users.csv")
    add_rows(
        source / "contacts.csv", [{"user_id": f"user{number}", "contact_id": "user20"} for number in range(12, 18)]
    )
    run(source, root, "ease")
    account = {
        "user_tags": {"tag": "sea", "count": 1},
        "contacts": {"contact_id": "user20"},
        "memberships": {"group_id": "blue"},
    }
    new = ["tagged", "following", "member"]
    pl.DataFrame({"user_id": [*users, *new]}).write_csv(source / "users.csv")
    for (name, row), user in zip(account.items(), new, strict=True):
        add_rows(source / f"{name}.csv", [row | {"user_id": user}])
    add_rows(source / "user_tags.csv", [account["user_tags"] | {"user_id": "quiet"}])
    manifest, _ = run(source, root, "ease")

    assert manifest.incremental["how"] == "keep"
    assert manifest.incremental["work"]["users embedded"] == 4  # those, and the quiet one
    lists = pl.read_parquet(root / "exports" / "runs" / f"run_id={manifest.run_id}" / "recommendations")
    shares = dict(lists.group_by("user_id").agg((pl.col("image_id") >= "image30").mean()).iter_rows())
    assert all(shares[user] == 1 for user in [*new, "quiet"])
    assert shares["silent"] < 1


def test_a_warm_night_trains_on_from_the_published_weights_and_decodes_nothing_again(growing, tmp_path):
    growth, source, first = growing
    root = tmp_path / "root"
    shutil.copytree(first, root)
    growth.write(1, source)
    manifest, ran = run(source, root, start="warm", warm_epochs=1)
    account = manifest.incremental

    assert (account["how"], account["model"].startswith("from the weights of run")) == ("warm", True)
    assert "train-cdl" in ran
    assert {"learn-vectors", "cluster-vectors"}.isdisjoint(ran)
    assert account["work"]["images decoded"] == 3


@pytest.fixture
def choice(growing, tmp_path):
    """What a night would start from that follows the first, with some of its circumstances or settings changed."""
    root = Root(str(tmp_path / "root"))
    shutil.copytree(growing[2], tmp_path / "root")
    _, last = states_of(snapshots.runs(root)[0])
    inputs = InputFingerprint(**{item.name: getattr(last, item.name) for item in fields(InputFingerprint)})

    def choose_with(config: IncrementalConfig | None = None, **changes: Any) -> NightStart:
        config = config or IncrementalConfig(start="keep")
        return choose(config, replace(inputs, **changes), "cdl", Word2VecConfig(min_count=1), root)

    choose_with.root = root
    return choose_with


def test_a_night_keeps_the_model_that_was_published_last(choice):
    start = choice()

    assert (start.how, start.keeps_tags, start.num_kept) == ("keep", True, 1)
    assert start.base == start.previous


def test_every_so_many_nights_a_kept_model_is_trained_on(choice):
    grown = {"pictures": "others"}
    often = IncrementalConfig(start="keep", warm_every=1)

    assert (choice(often, **grown).how, choice(often, **grown).why.endswith("learned")) == ("warm", True)
    assert choice(often).how == "keep"  # nothing has changed
    assert choice(**grown).how == choice(replace(often, warm_every=0), **grown).how == "keep"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"source": "elsewhere"}, "the source is another one"),
        ({"lineage": "other"}, "code or settings have changed"),
        ({"config": IncrementalConfig(start="keep", full_every=1)}, "1 nights since the last"),
        ({"config": IncrementalConfig()}, "asked for"),
    ],
)
def test_a_night_learns_from_nothing_and_says_why(choice, changes, why):
    start = choice(**changes)

    assert isinstance(start, FromScratch)
    assert why in start.why


def test_a_lost_file_of_the_last_night_makes_a_full_one(choice):
    lost = next(choice.root.entries("tables/user_embeddings")).path
    choice.root.delete(lost)

    assert (choice().how, choice().why.split(",")[0]) == ("full", lost)


def test_pixels_are_taken_over_even_where_a_model_is_not_kept_but_not_those_of_other_settings(choice):
    assert choice(lineage="other").shards
    assert not choice(decoding="other").shards


def test_tags_that_have_drifted_make_a_model_of_cdl_train_on(choice):
    start = choice(IncrementalConfig(start="keep", tag_drift=-1.0))

    assert (start.how, start.keeps_tags) == ("warm", False)
    assert "tags have drifted by 0.000" in start.why
