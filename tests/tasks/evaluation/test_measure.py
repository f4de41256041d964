"""A comparison's stages on the tiny world: what a community is read as, what is measured, what is tried."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from models.evaluation import metrics, protocols
from models.evaluation.protocols import ProtocolConfig
from models.evaluation.splits import SplitConfig
from models.systems.base import SYSTEMS, InnerProduct, Vectors, vectors_of
from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.sources.directory import IngestConfig
from storage.tables.community import FAVORITES
from storage.tables.splits import CONCEALED
from tasks.data.community import CommunityTables, read_community
from tasks.data.ingest import ingest
from tasks.evaluation.leaderboard import against_the_best, gather
from tasks.evaluation.measure import score_system
from tasks.evaluation.records import EvaluationSplit
from tasks.evaluation.splits import draw_split, take_pairs
from tasks.evaluation.tune import tune_system
from tests import world

SMALL = ProtocolConfig(min_favorites=10, num_concealed=5, num_others=20, max_k=5, min_users=1)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(str(tmp_path / "root"))


@pytest.fixture
def table(root: Root, tmp_path: Path) -> dict[str, Ref]:
    source = world.write_source(tmp_path / "source")
    (source / "images.parquet").unlink()
    pl.DataFrame(
        {
            "image_id": [f"image{number:02d}" for number in range(world.NUM_IMAGES)],
            "title": [f"{'A red' if number < 30 else 'Blue'} ({1979 + number % 2})" for number in range(60)],
            "owner_id": [f"user{number % 24:02d}" if number else None for number in range(60)],
        }
    ).write_parquet(source / "images.parquet")
    return ingest.fn(Root(str(source)), "1", IngestConfig(), root).tables


def final(table: dict[str, Ref], root: Root, protocol: Any = "full", test: Ref | None = None) -> EvaluationSplit:
    return draw_split.fn(table, protocol, test, None, SplitConfig(), SMALL, root).final


def figures(
    name: str, table: dict[str, Ref], round_: EvaluationSplit, root: Root
) -> dict[tuple[str, str, str, int], float]:
    scored = score_system.fn(name, "1", {}, 0, CommunityTables(table, round_.training), round_, root)
    return {
        (row["protocol"], row["slice"], row["metric"], row["k"]): row["value"]
        for row in parquet.read(scored.figures, root).to_pylist()
    }


@dataclass(frozen=True, kw_only=True)
class TasteConfig:
    """What the system below is told."""

    wrong: int = 3  # columns of taste that it gets wrong
    noise: float = 0.5


@pytest.fixture
def taste() -> Iterator[type]:
    """A system that knows each user's and each image's half; the fewer wrong and the less noise, the better."""

    class Taste(InnerProduct[TasteConfig]):
        name = "taste"
        source = "this test"
        grid = {"wrong": (3, 1, 0), "noise": (0.5, 0.1, 0.0)}
        Config = TasteConfig
        fitted_with: list[TasteConfig] = []

        def fit(self, community: Any) -> None:
            Taste.fitted_with.append(self.config)
            rng = np.random.default_rng(self.seed)
            images = np.where(np.arange(60) < 30, 1, -1) + self.config.noise * rng.normal(size=60)
            users = np.where((np.arange(24) < 12) ^ (np.arange(24) % 12 < self.config.wrong), 1, -1)
            self.fitted = vectors_of(users[:, None], images[:, None])

    yield Taste
    SYSTEMS.pop("taste")


@pytest.fixture
def popularity_without_vectors() -> Iterator[str]:
    class Plain(SYSTEMS["popularity"]):  # type: ignore[misc, name-defined]
        name = "plain"

        @property
        def vectors(self) -> Vectors | None:
            return None

    yield "plain"
    SYSTEMS.pop("plain")


def test_a_community_is_read_with_all_that_its_tables_tell(table, root):
    known = read_community(CommunityTables(table, table["favorites"]), root)
    community = known.community

    assert community.favorites_UI.shape == (world.NUM_USERS, world.NUM_IMAGES)
    assert community.favorites_UI.nnz == world.NUM_USERS * world.FAVORITES_EACH
    assert community.favorited_at_UI is None
    assert community.words_IW.shape[1] == 15  # a, red, blue, 1979, 1980, and near 1975 to near 1984
    assert np.array_equal(np.diff(community.words_IW.indptr), np.where(np.arange(60) < 30, 12, 11))
    assert community.owner_I.tolist()[:3] == [-1, 1, 2]
    assert {signal for signal in ("tags", "titles", "contacts", "groups", "owners") if community.has(signal)} == {
        "tags", "titles", "contacts", "groups", "owners",
    }  # fmt: skip
    assert not any(community.has(signal) for signal in ("pixels", "features", "times", "profiles"))


def test_full_ranking_masks_what_was_learned_and_counts_what_was_held_out(table, root):
    round_ = final(table, root)
    known = read_community(CommunityTables(table, round_.training), root)
    held = {row["user_id"]: row["image_id"] for row in parquet.read(round_.heldout, root).to_pylist()}
    users_Ud, images_Id = protocols.random_vectors(len(known.users), len(known.images), seed=0)
    scores = users_Ud @ images_Id.T - 100 * known.community.favorites_UI.toarray()
    order = np.argsort(-scores, axis=1, kind="stable")
    places = [int(np.flatnonzero(known.images[order[row]] == held[user])[0]) for row, user in enumerate(known.users)]

    measured = figures("random", table, round_, root)
    assert measured["full", "all", "hit_rate", 10] == pytest.approx(np.mean([place < 10 for place in places]))
    assert measured["full", "all", "ndcg", 20] == pytest.approx(
        np.mean([place < 20 and 1 / np.log2(place + 2) for place in places])
    )
    assert 0 < measured["full", "all", "coverage", 20] <= 1


@pytest.mark.parametrize("protocol", ["full", "cold", "cold_users", "auc", "paper"])
def test_a_system_without_vectors_is_measured_as_one_with_them(table, root, popularity_without_vectors, protocol):
    round_ = final(table, root, protocol)

    assert figures(popularity_without_vectors, table, round_, root) == figures("popularity", table, round_, root)


def test_held_out_images_that_nobody_can_list_stay_in_the_denominator(table, root, taste, tmp_path):
    favorites = parquet.read(table["favorites"], root).to_pylist()
    rows = [{key: favorites[0][key] for key in ("user_id", "image_id")}, {"user_id": "user00", "image_id": "elsewhere"}]
    file = tmp_path / "test.csv"
    pl.DataFrame([*rows, {"user_id": "nobody", "image_id": "image01"}]).write_csv(file)
    round_ = final(table, root, "full", take_pairs(str(file), root))
    measured = figures("taste", table, round_, root)

    assert parquet.read(round_.training, root).num_rows == len(favorites) - 1
    assert measured["full", "warm", "recall", 20] in (0.0, 1.0)
    assert measured["full", "all", "recall", 20] <= 0.5
    assert measured["full", "cold", "recall", 20] == 0


def test_cold_images_are_ranked_among_themselves(table, root):
    round_ = final(table, root, "cold")
    measured = figures("random", table, round_, root)

    assert round_.candidates.rows == 6
    assert measured["cold", "all", "recall", 10] == 1  # a list of ten holds all six
    assert ("cold", "warm", "recall", 10) not in measured


def test_the_favorite_left_out_is_ranked_against_all_unobserved_images(table, root, taste):
    round_ = final(table, root, "auc")
    known = read_community(CommunityTables(table, round_.training), root)
    system = taste(TasteConfig())
    system.fit(known.community)
    held = parquet.read(round_.heldout, root).to_pylist()
    rows = [np.flatnonzero(known.images == row["image_id"])[0] for row in held]
    observed = csr_array(known.community.favorites_UI)
    expected = metrics.auc(system.score(np.arange(24)), np.array(rows), observed)

    assert figures("taste", table, round_, root)["auc", "all", "auc", 0] == pytest.approx(expected.mean())


def test_both_versions_of_the_papers_protocol_are_measured_at_every_length(table, root, taste):
    measured = figures("taste", table, final(table, root, "paper"), root)

    assert {(protocol, k) for protocol, _, metric, k in measured if metric == "precision"} == {
        (protocol, k) for protocol in ("paper", "paper_matched", "paper_both") for k in range(1, 6)
    }
    assert measured["paper", "all", "precision", 5] > 0.2


def test_settings_are_chosen_by_both_versions_of_the_papers_protocol(table, root, taste):
    round_ = draw_split.fn(table, "paper", None, None, SplitConfig(), SMALL, root).tuning
    tuned = tune_system.fn("taste", "1", 1, 0, CommunityTables(table, round_.training), round_, root)
    measured = figures("taste", table, round_, root)
    versions = [measured[protocol, "all", tuned.metric, tuned.k] for protocol in ("paper", "paper_matched")]

    assert versions[0] != versions[1]
    assert tuned.value == pytest.approx(sum(versions) / 2)


def test_a_split_by_time_without_times_is_refused(table, root):
    with pytest.raises(ValueError, match="favorited_at"):
        final(table, root, "time")


def timed(table: dict[str, Ref], root: Root) -> dict[str, Ref]:
    """The community, each favorite a second after the one above it."""
    favorites = pl.DataFrame(parquet.read(table["favorites"], root))
    at = pl.Series("favorited_at", (1000 * np.arange(len(favorites))).astype("datetime64[ms]"))
    return table | {"favorites": parquet.write(FAVORITES, favorites.with_columns(at), root)}


@pytest.mark.parametrize("protocol", ["full", "cold", "cold_users", "auc", "paper", "time"])
def test_times_are_told_only_where_the_latest_favorites_are_held_out(table, root, protocol):
    known = timed(table, root)
    drawn = draw_split.fn(known, protocol, None, None, SplitConfig(), SMALL, root)

    for round_ in (drawn.tuning, drawn.final):
        told = parquet.read(round_.training, root)["favorited_at"]
        assert told.null_count == (0 if protocol == "time" else len(told)) < len(parquet.read(known["favorites"], root))


def test_times_are_told_where_a_given_test_holds_the_latest_favorites(table, root):
    known = timed(table, root)
    favorites = pl.DataFrame(parquet.read(known["favorites"], root))
    latest = favorites.sort("favorited_at").group_by("user_id").last().select("user_id", "image_id")
    test = parquet.write(CONCEALED, latest, root)

    told = parquet.read(final(known, root, "full", test).training, root)["favorited_at"]
    assert told.null_count == 0 < len(told) == len(favorites) - len(latest)


def test_all_of_a_small_grid_is_tried_and_the_best_is_chosen(table, root, taste):
    round_ = draw_split.fn(table, "full", None, None, SplitConfig(), SMALL, root).tuning
    given = CommunityTables(table, round_.training)
    tuned = tune_system.fn("taste", "1", 20, 0, given, round_, root)
    tried = parquet.read(tuned.trials, root).to_pylist()

    assert tried[0]["settings"] == '{"wrong": 3, "noise": 0.5}'
    assert len({row["settings"] for row in tried}) == tuned.num_trials == 9
    assert tuned.settings["wrong"] == 0
    assert tuned.value == max(row["value"] for row in tried) > tuned.default_value == tried[0]["value"]


def test_a_tuning_that_was_killed_goes_on_and_ends_as_one_that_was_not(table, root, taste, tmp_path, monkeypatch):
    round_ = draw_split.fn(table, "full", None, None, SplitConfig(), SMALL, root).tuning
    given = CommunityTables(table, round_.training)
    whole = tune_system.fn("taste", "1", 6, 0, given, round_, root)
    again = Root(str(tmp_path / "again"))
    for ref in {ref.path: ref for ref in (*table.values(), round_.training, round_.heldout)}.values():
        again.write(ref.path, root.read(ref.path))
    taste.fitted_with.clear()
    with monkeypatch.context() as broken:
        fit = taste.fit
        broken.setattr(taste, "fit", lambda *args: fit(*args) if len(taste.fitted_with) < 3 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tune_system.fn("taste", "1", 6, 0, given, round_, again)
    resumed = tune_system.fn("taste", "1", 6, 0, given, round_, again)

    assert len(taste.fitted_with) == len(set(taste.fitted_with)) == 6
    assert resumed.settings == whole.settings
    told = [parquet.read(ref, at).drop(["fit_s"]) for ref, at in ((resumed.trials, again), (whole.trials, root))]
    assert told[0] == told[1]


def test_a_system_that_lacks_a_signal_says_which(table, root, taste, monkeypatch):
    monkeypatch.setattr(taste, "needs", ("pixels", "titles"))
    round_ = final(table, root)
    given = CommunityTables(table, round_.training)

    assert score_system.fn("taste", "1", {}, 0, given, round_, root).lacking == ["pixels"]
    assert tune_system.fn("taste", "1", 3, 0, given, round_, root).lacking == ["pixels"]


def test_each_system_stands_against_the_best_of_the_others(table, root, taste):
    round_ = final(table, root)
    given = CommunityTables(table, round_.training)
    scored = [
        score_system.fn(name, "1", {}, seed, given, round_, root)
        for name in ("taste", "popularity", "random")
        for seed in (0, 1)
    ]
    standings = gather.fn(scored, round_, root)
    results = pl.from_arrow(parquet.read(standings.results, root))
    compared = [row for row in parquet.read(standings.comparisons, root).to_pylist() if row["metric"] == "ndcg"]
    value = {row["system"]: row["value"] for row in compared if row["slice"] == "all"}
    leader = max(value, key=value.__getitem__)

    assert standings.users.keys() == set(value)
    of_leader = pl.from_arrow(parquet.read(standings.users[leader], root)).filter(metric="ndcg", slice="all")
    assert of_leader["value"].mean() == pytest.approx(value[leader])
    assert set(results["seed"]) == {0, 1}
    assert results.filter(pl.col("slice") == "all").group_by("system").len()["len"].n_unique() == 1
    for row in compared:
        if row["slice"] == "all":
            assert (row["other"] == leader) == (row["system"] != leader)
            assert row["difference"] == pytest.approx(row["value"] - row["other_value"])
            assert 0 < row["p_value"] <= 1


def test_both_versions_of_the_papers_protocol_have_a_standing_together(table, root, taste):
    round_ = final(table, root, "paper")
    given = CommunityTables(table, round_.training)
    scored = [score_system.fn(name, "1", {}, 0, given, round_, root) for name in ("taste", "popularity")]
    standings = gather.fn(scored, round_, root)
    results = {
        (row["system"], row["protocol"], row["metric"], row["k"]): row
        for row in parquet.read(standings.results, root).to_pylist()
    }
    compared = {(row["system"], row["protocol"]): row for row in parquet.read(standings.comparisons, root).to_pylist()}

    for system in ("taste", "popularity"):
        versions = [results[system, name, "precision", 5]["value"] for name in ("paper", "paper_matched")]
        both = results[system, "paper_both", "precision", 5]
        assert both["value"] == compared[system, "paper_both"]["value"] == pytest.approx(sum(versions) / 2)
        assert both["low"] <= both["value"] <= both["high"]
        assert results[system, "paper_both", "recall", 1]["users"] == both["users"] == 24


def test_systems_that_were_not_asked_for_the_same_users_are_not_compared() -> None:
    figure = {"protocol": "full", "slice": "all", "metric": "ndcg", "k": 10}
    rows = [
        {**figure, "system": system, "user_id": user, "value": 0.5}
        for system, user in (("one", "a"), ("one", "b"), ("other", "a"))
    ]
    with pytest.raises(ValueError, match=r"other: without a figure of users .* among 2 users"):
        against_the_best(pl.DataFrame(rows))
