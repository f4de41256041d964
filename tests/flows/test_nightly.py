"""The night from end to end on a world of two tastes."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter

from flows import settings
from flows.nightly import nightly
from flows.plan import NightPlan, plan_night
from models.settings.names import flatten
from models.systems.base import vectors_of
from models.systems.cdl import TwoTowers
from storage import snapshots
from storage.roots import Root
from tasks.evaluation.score_file import score_file
from tasks.night import publish
from tasks.night.publish import GALLERY_VARIABLE
from tasks.pages import contents
from tasks.runtime import keys, ledger, runs
from tasks.runtime.planning import Planned
from tasks.upkeep.rollback import publish_run, roll_back
from tests import world

pytestmark = pytest.mark.usefixtures("prefect_server")


def run(source: Path, root: Path, changes: dict | None = None, run_id: str | None = None):
    """One night, which learns twice as a night does by default; returns how it ended, and the stages that ran."""
    merged = {name: dict(section) for name, section in world.SETTINGS.items()}
    merged["model"]["refit"] = True
    for name, section in (changes or {}).items():
        merged.setdefault(name, {}).update(section)
    state = nightly(str(source), str(root), settings.validate(merged), run_id, return_state=True)
    lines = ledger.of_run(str(state.state_details.flow_run_id)).lines.values()
    return state.result(), {line.stage for line in lines if line.ran}


@pytest.fixture(scope="module")
def first_night(source, tmp_path_factory, prefect_server):
    root = tmp_path_factory.mktemp("root")
    published, ran = run(source, root)
    return root, published, ran


def exported(root: Path, table: str) -> pl.DataFrame:
    place = Root(str(root))
    return pl.read_parquet(snapshots.dataset(place, snapshots.current(place), table))


def test_everybody_gets_a_list_of_their_own_taste_without_their_favorites(first_night, source):
    root, published, _ = first_night
    lists = exported(root, "recommendations")

    assert published.is_current
    took = {row["stage"]: row for row in runs.stages_of(published.run_id, Root(str(root)))}
    assert {"ingest", "decode-images", "train-cdl", "recommend", "publish"} <= took.keys()
    assert took["recommend"]["rows"] >= len(lists)  # the reserve included
    assert all(row["elapsed_s"] > 0 and row["peak_bytes"] > 0 for row in took.values())
    assert lists["user_id"].n_unique() == world.NUM_USERS
    favorites = pl.read_csv(source / "favorites.csv")
    assert lists.join(favorites, on=["user_id", "image_id"], how="semi").is_empty()
    first = lists.filter(pl.col("rank") <= 5)
    red_user, red_image = (
        pl.col(name).str.tail(2).cast(int) < half for name, half in (("user_id", 12), ("image_id", 30))
    )
    assert (first.select((red_user == red_image).mean()).item()) > 0.9


def test_the_report_shows_the_exported_lists_with_their_pictures(first_night):
    root, published, _ = first_night
    lists = exported(root, "recommendations")
    report = contents.from_json(Path(published.folder, "report", "report.json").read_bytes())

    assert report.people
    for person in report.people:
        own = lists.filter(pl.col("user_id") == person.user_id).sort("rank").head(len(person.got))
        assert [item.picture.image_id for item in person.got] == own["image_id"].to_list() != []
        assert all(item.picture.jpeg for item in person.got)
        assert person.found
    assert any(item.concealed for person in report.people for item in person.found)


def test_scores_are_inner_products_of_the_exported_embeddings(first_night):
    root, _, _ = first_night
    users, images = (
        exported(root, f"{name}_embeddings").select(f"{name}_id", pl.col("embedding").alias(name))
        for name in ("user", "image")
    )
    rows = exported(root, "recommendations").join(users, on="user_id").join(images, on="image_id")
    products = (rows["user"].to_numpy() * rows["image"].to_numpy()).sum(axis=1)

    assert abs(products - rows["score"].to_numpy()).max() < 1e-3


@pytest.fixture
def night_of(first_night, source, tmp_path):
    """A night with another system where CDL's was; returns the root, how it ended, what ran, and the manifest."""
    root = tmp_path / "root"
    shutil.copytree(first_night[0], root)

    def night(**model):
        published, ran = run(source, root, {"model": model, "recommend": {"candidates": "all"}})
        return root, published, ran, snapshots.manifest(Root(str(root)), published.run_id)

    return night


def assert_tastes_are_told_apart(root: Path) -> None:
    """By the published lists, and by favorites held out from them."""
    lists = exported(root, "recommendations").filter(pl.col("rank") <= 5)
    red_user, red_image = (
        pl.col(name).str.tail(2).cast(int) < half for name, half in (("user_id", 12), ("image_id", 30))
    )
    assert lists["user_id"].n_unique() == world.NUM_USERS
    assert lists.select((red_user == red_image).mean()).item() > 0.9
    heldout = root / "heldout.csv"
    lists.filter(pl.col("rank") == 1).select("user_id", "image_id").write_csv(heldout)
    scored = score_file(heldout, Root(str(root)))
    assert scored["users"] == world.NUM_USERS
    assert all(
        row["value"] == 1.0 for row in scored["metrics"]
    )  # each one's first of the list, which is masked nowhere


def test_any_system_is_published_under_its_own_name_with_its_own_settings(night_of):
    root, published, ran, manifest = night_of(system="ease", ridge=20.0)

    assert published.is_current
    lists = {"price-policy", "recommend", "describe-looks", "find-similar"}
    assert ran == {"fit-system", "embed-system", "evaluate", *lists, "publish"}
    assert manifest.system == "ease"
    assert manifest.settings["model"]["ridge"] == 20.0
    assert {row["system"] for row in manifest.metrics} == {"ease", "popularity", "random"}
    assert all(
        set(exported(root, name)["model"]) == {manifest.model} for name in ("recommendations", "user_embeddings")
    )
    test_scores_are_inner_products_of_the_exported_embeddings((root, published, ran))
    assert_tastes_are_told_apart(root)
    assert night_of(system="ease", ridge=20.0)[2] == set()


def test_a_system_without_embeddings_is_published_and_says_so(night_of):
    root, published, _, manifest = night_of(system="itemknn")

    assert published.is_current
    empty = ("user_embeddings", "image_embeddings", "similar_images")
    assert [published.rows[name] for name in empty] == [0, 0, 0]
    assert all(exported(root, name).is_empty() for name in empty)
    page = Path(published.folder, "report", "index.html").read_text()
    assert "score is not an inner product" in manifest.score
    assert manifest.score in page
    assert_tastes_are_told_apart(root)


def test_popularity_is_published_as_any_system_and_measured_once(night_of):
    _, published, _, manifest = night_of(system="popularity")
    measured = [(row["protocol"], row["slice"], row["system"], row["metric"], row["k"]) for row in manifest.metrics]

    assert {row["system"] for row in manifest.metrics} == {"popularity", "random"}
    assert len(measured) == len(set(measured))
    assert published.rows["user_embeddings"] == world.NUM_USERS
    assert published.rows["similar_images"] == 0  # to popularity all images are alike


def test_a_system_that_is_fitted_again_publishes_what_learned_from_all_favorites(night_of):
    _, tested, _, before = night_of(system="itemknn", refit=False)
    _, refitted, ran, after = night_of(system="itemknn")

    assert ran == {"fit-system", "embed-system", "recommend", "find-similar", "publish"}
    assert (before.learned_from, after.learned_from) == ("favorites not concealed", "all favorites")
    assert after.metrics == before.metrics
    assert after.model != before.model
    assert refitted.run_id != tested.run_id


def test_a_system_that_needs_what_the_source_lacks_is_refused_by_name(source, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    pl.read_parquet(source / "images.parquet").select("image_id").write_parquet(bare / "images.parquet")
    shutil.copy(source / "favorites.csv", bare)

    with pytest.raises(ValueError, match="visrank needs features, which the source does not have"):
        run(bare, tmp_path / "root", {"model": {"system": "visrank"}})


def test_a_second_night_on_unchanged_input_runs_no_stage_and_publishes_nothing(first_night, source):
    root, published, _ = first_night
    again, ran = run(source, root)

    assert ran == set()
    assert (again.run_id, again.is_new) == (published.run_id, False)


def test_a_changed_setting_runs_its_stage_and_what_hangs_on_it_and_nothing_else(first_night, source, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(first_night[0], root)
    _, ran = run(source, root, {"recommend": {"num_similar": 4}})
    assert ran == {"recommend", "find-similar", "publish"}

    _, ran = run(source, root, {"recommend": {"num_similar": 4}, "negatives": {"min_negatives": 1}})
    assert "train-cdl" not in ran or "sample-triplets" in ran
    assert {"ingest", "decode-images", "learn-vectors", "cluster-vectors", "build-profiles"}.isdisjoint(ran)


def test_a_changed_stage_runs_again_and_what_hangs_on_it_and_nothing_else(first_night, source, tmp_path, monkeypatch):
    root = tmp_path / "root"
    shutil.copytree(first_night[0], root)
    version = keys.code_version
    monkeypatch.setattr(
        keys, "code_version", lambda module: version(module) + "x" * (module == "tasks.evaluation.evaluate")
    )
    _, ran = run(source, root)

    assert ran == {"evaluate"}  # its result is what it was, so what depends on it has nothing to do


def test_a_lost_file_is_made_again_and_nothing_else_is(first_night, source, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(first_night[0], root)
    shard = sorted((root / "shards" / "pixels").iterdir())[0]
    content = shard.read_bytes()
    shard.unlink()
    _, ran = run(source, root)

    assert ran == {"decode-images"}
    assert shard.read_bytes() == content


def test_new_favorites_are_learned_without_decoding_or_clustering_again(first_night, source, tmp_path):
    root, grown = tmp_path / "root", tmp_path / "source"
    shutil.copytree(first_night[0], root)
    shutil.copytree(source, grown)  # copytree keeps the pictures' times
    with (grown / "favorites.csv").open("a") as file:
        file.write("user00,image59\n")
    published, ran = run(grown, root)

    assert {"decode-images", "learn-vectors", "cluster-vectors"}.isdisjoint(ran)
    assert {"ingest", "train-cdl", "recommend"} <= ran
    assert published.is_new


def test_a_night_below_the_last_one_is_kept_but_not_made_current(first_night, source, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(first_night[0], root)
    below = settings.validate(world.SETTINGS | {"training": {"epochs": 1, "learning_rate": 1e-9}})
    ended = nightly(str(source), str(root), below, "worse", return_state=True)
    worse, place = ended.result(), Root(str(root))

    assert not worse.is_current
    assert worse.reasons
    assert (ended.name, ended.message) == ("Held", "; ".join(worse.reasons))
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(ended.state_details.flow_run_id).name.endswith(" worse")
        kept = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id={"any_": [ended.state_details.flow_run_id]})
        )
    shown = {artifact.key: artifact.data for artifact in kept if artifact.key}
    gate = json.loads(shown["gate"])
    assert [row["why"] for row in gate if row["outcome"] == "holds"] == worse.reasons
    figures = json.loads(shown["metrics"])
    assert all({"protocol", "metric", "cdl", "popularity", "random"} <= row.keys() for row in figures)
    assert snapshots.current(place).run_id == first_night[1].run_id
    assert snapshots.manifest(place, "worse").is_current is False


def test_the_page_of_a_night_in_prefect_links_to_the_gallery_where_it_runs(monkeypatch, tmp_path):
    root = Root(str(tmp_path))
    monkeypatch.setenv(GALLERY_VARIABLE, "https://pictures.example")
    created = []
    monkeypatch.setattr(publish, "create_link_artifact", lambda **link: created.append((link["key"], link["link"])))
    for kind in ("table", "markdown"):
        monkeypatch.setattr(publish, f"create_{kind}_artifact", lambda **_: None)

    publish._show(publish.Published("night-1", True, True, [], [], root.url("exports/runs/x"), {}), [], root)

    assert created == [("gallery", "https://pictures.example")]


def test_a_night_does_not_undo_a_rollback_but_a_person_does(first_night, source, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(first_night[0], root)
    place, shorter = Root(str(root)), {"recommend": {"num_recommendations": 3}}
    run(source, root, shorter, run_id="shorter")
    assert roll_back(place, why="too short").previous == "shorter"
    again, _ = run(source, root, shorter)

    assert not again.is_current
    assert any("they are those of run shorter, which" in reason for reason in again.reasons)
    assert snapshots.current(place).run_id == first_night[1].run_id
    publish_run(place, "shorter")
    at_last, _ = run(source, root, shorter)
    assert (at_last.run_id, at_last.is_current, at_last.is_new) == ("shorter", True, False)


def test_a_source_of_images_and_favorites_alone_is_enough(source, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("images.parquet", "favorites.csv"):
        shutil.copy(source / name, bare / name)
    rows = pl.read_parquet(bare / "images.parquet").select("image_id")
    rows.write_parquet(bare / "images.parquet")
    published, _ = run(bare, tmp_path / "root")

    assert published.is_current
    assert published.rows["recommendations"] > 0


def test_a_community_of_fewer_images_than_a_list_has_places_has_its_report(tmp_path):
    source, images = tmp_path / "source", [f"i{row:02d}" for row in range(18)]
    source.mkdir()
    pl.DataFrame({"image_id": images}).write_csv(source / "images.csv")
    favorites = [(f"u{user}", images[(user + row) % 18]) for user in range(6) for row in range(12)]
    pl.DataFrame(favorites, ["user_id", "image_id"], orient="row").write_csv(source / "favorites.csv")

    published, _ = run(source, tmp_path / "root", {"model": {"system": "popularity"}})

    report = contents.from_json(Path(published.folder, "report", "report.json").read_bytes())
    assert [miss.num_missed for miss in report.failures.misses]


def test_a_run_that_broke_off_goes_on_under_its_own_id(source, tmp_path, monkeypatch):
    from models.retrieval import incremental_topk

    root = tmp_path / "root"
    with monkeypatch.context() as broken:
        broken.setattr(
            incremental_topk,
            "unit",
            lambda *_, **__: (nothing for nothing in ()).throw(RuntimeError("the disk is full")),
        )
        with pytest.raises(RuntimeError, match="the disk is full"):
            run(source, root)
    (started,) = (note.id for note in runs.notes(Root(str(root))))
    assert runs.stages_of(started, Root(str(root)))[-1]["failed"] == 1
    published, ran = run(source, root)

    assert published.run_id == started
    assert ran == {"find-similar", "publish"}
    took = {row["stage"]: row for row in runs.stages_of(started, Root(str(root)))}
    assert (took["ingest"]["reused"], took["find-similar"]["ran"], took["publish"]["ran"]) == (1, 1, 1)


def test_the_papers_settings_are_what_a_night_of_twonets_is_fitted_with(source, tmp_path, monkeypatch):
    fitted = []

    def fit(self, known):
        fitted.append((self.name, flatten(self.settings), known.pixels.size_px))
        self.fitted = vectors_of(*[np.ones((n, 1)) for n in (known.num_users, known.num_images)])

    monkeypatch.setattr(TwoTowers, "fit", fit)
    small = ["images.size_px=64", "evaluation.min_favorites=10", "evaluation.num_concealed=5", "evaluation.max_k=5"]
    small += ["evaluation.num_others=20", "word2vec.dimensions=8"]
    nightly(str(source), str(tmp_path), settings.load("paper", ["model.system=twonets", *small]))
    paper = settings.cdl_settings(settings.load("paper"))

    assert fitted == [("twonets", {**flatten(paper), "model.loss": "doublets"}, 64)]


def test_what_a_source_blocks_is_in_no_list_and_another_block_makes_lists_and_nothing_else(source, tmp_path):
    governed, root, quick = tmp_path / "governed", tmp_path / "root", {"model": {"system": "ease"}}
    shutil.copytree(source, governed)
    owners = [f"user{row % world.NUM_USERS:02d}" for row in range(world.NUM_IMAGES)]
    pl.read_parquet(source / "images.parquet").with_columns(owner_id=pl.Series(owners)).write_parquet(
        governed / "images.parquet"
    )
    (governed / "blocked_images.csv").write_text("image_id\nimage01\n")
    (governed / "user_blocks.jsonl").write_text('{"user_id": "user00", "blocked_id": "user05"}\n')
    first, _ = run(governed, root, quick)
    gate = {item.name: item for item in snapshots.manifest(Root(str(root)), first.run_id).gate}
    owned = exported(root, "recommendations").join(
        pl.DataFrame({"image_id": pl.read_parquet(governed / "images.parquet")["image_id"], "owner_id": owners}),
        on="image_id",
    )

    assert first.is_current
    assert owned.filter(pl.col("owner_id") == pl.col("user_id")).is_empty()
    assert owned.filter((pl.col("user_id") == "user00") & (pl.col("owner_id") == "user05")).is_empty()
    assert not owned["image_id"].is_in(["image01"]).any()
    assert not exported(root, "similar_images")["similar_image_id"].is_in(["image01"]).any()
    assert set(owned.group_by("user_id").len()["len"]) == {10}
    assert all(
        gate[f"policy: {rule}"].passed and "NDCG@20" in gate[f"policy: {rule}"].message
        for rule in ("own uploads", "blocked images", "user blocks", "all rules")
    )
    (governed / "blocked_images.csv").write_text("image_id\nimage02\n")
    second, ran = run(governed, root, quick)

    assert ran == {"ingest", "price-policy", "recommend", "find-similar", "publish"}
    assert second.is_current
    listed = set(exported(root, "recommendations")["image_id"])
    assert ("image01" in listed, "image02" in listed) == (True, False)


def planned(source: Path, root: Path, changes: dict | None = None) -> tuple[NightPlan, dict[str, Planned]]:
    merged = {name: dict(section) for name, section in world.SETTINGS.items()}
    merged["model"]["refit"] = True
    for name, section in (changes or {}).items():
        merged.setdefault(name, {}).update(section)
    found = plan_night(str(source), str(root), settings.validate(merged))
    return found, {stage.stage: stage for stage in found.stages}


def test_the_plan_of_a_night_whose_results_are_all_there_says_so_and_changes_nothing(source, first_night):
    root, published, _ = first_night
    before = {entry.path: entry.version for entry in Root(str(root)).entries()}

    plan, stages = planned(source, root)

    assert plan.is_all_there
    assert plan.compared_with == published.run_id
    assert {stages[name].outcome for name in ("ingest", "decode-images", "recommend", "evaluate")} == {"reused"}
    assert {entry.path: entry.version for entry in Root(str(root)).entries()} == before


def test_the_plan_says_which_setting_makes_a_stage_run_and_what_waits_for_it(source, first_night):
    root, *_ = first_night

    plan, stages = planned(source, root, {"recommend": {"num_similar": 3}})

    assert not plan.is_all_there
    assert stages["recommend"].why == ["config.num_similar is 3, was 5"]
    assert stages["publish"].outcome == "waits"
    assert {name for name, stage in stages.items() if stage.outcome == "runs"} == {"recommend", "find-similar"}


def test_the_plan_ends_where_a_stage_has_to_run_before_more_is_known(source, first_night, tmp_path):
    root, *_ = first_night
    changed = Path(shutil.copytree(source, tmp_path / "changed"))
    favorites = pl.read_csv(changed / "favorites.csv", infer_schema=False)
    favorites.head(len(favorites) - 1).write_csv(changed / "favorites.csv")

    plan, stages = planned(changed, root)

    assert stages["ingest"].why == ["its source digest changed"]
    assert plan.decided_by == "ingest"
    assert "recommend" in plan.following


@pytest.mark.parametrize(
    "damaged", ["runs/{}.stages.parquet", "runs/{}.records", "runs/{}.json", "exports/current.json"]
)
def test_the_plan_goes_on_without_what_is_damaged_and_names_it(damaged, source, first_night, tmp_path, caplog):
    root, published, _ = first_night
    copied = Path(shutil.copytree(root, tmp_path / "root"))
    path = copied / damaged.format(published.run_id)
    path.write_bytes(b"\xff")
    (file,) = (copied / "cache" / "ingest").iterdir()
    file.write_bytes(b"")

    plan, _ = planned(source, copied)

    assert plan.decided_by == "ingest"
    assert f"{path}: " in caplog.text


def test_the_plan_of_a_first_night_makes_no_folder(source, tmp_path):
    plan, stages = planned(source, tmp_path / "new")

    assert list(stages) == ["ingest"]
    assert plan.compared_with is None
    assert not (tmp_path / "new").exists()
