"""Systems side by side, each against the best of the others."""

import numpy as np
import polars as pl
import pytest

from storage import parquet
from tasks.data.community import CommunityTables
from tasks.evaluation.leaderboard import against_the_best, gather
from tasks.evaluation.measure import score_system
from tasks.evaluation.records import Scored
from tests.tasks.evaluation.comparison import split_of


def test_each_system_is_compared_with_the_best_of_the_others(table, root, taste):
    split = split_of(table, root).final
    tables = CommunityTables(table, split.training)
    scored = [
        score_system.fn(name, "1", {}, seed, tables, split, root)
        for name in ("taste", "popularity", "random")
        for seed in (0, 1)
    ]
    leaderboard = gather.fn(scored, split, root)
    results = pl.from_arrow(parquet.read(leaderboard.results, root))
    compared = [row for row in parquet.read(leaderboard.comparisons, root).to_pylist() if row["metric"] == "ndcg"]
    value = {row["system"]: row["value"] for row in compared if row["slice"] == "all"}
    leader = max(value, key=value.__getitem__)

    assert leaderboard.users.keys() == set(value)
    of_leader = pl.from_arrow(parquet.read(leaderboard.users[leader], root)).filter(metric="ndcg", slice="all")
    assert of_leader["value"].mean() == pytest.approx(value[leader])
    assert set(results["seed"]) == {0, 1}
    assert results.filter(pl.col("slice") == "all").group_by("system").len()["len"].n_unique() == 1
    for row in compared:
        if row["slice"] == "all":
            assert (row["other"] == leader) == (row["system"] != leader)
            assert row["difference"] == pytest.approx(row["value"] - row["other_value"])
            assert 0 < row["p_value"] <= 1


def test_both_versions_of_the_papers_protocol_are_compared_by_their_mean(table, root, taste):
    split = split_of(table, root, "paper").final
    tables = CommunityTables(table, split.training)
    scored = [score_system.fn(name, "1", {}, 0, tables, split, root) for name in ("taste", "popularity")]
    leaderboard = gather.fn(scored, split, root)
    results = {
        (row["system"], row["protocol"], row["metric"], row["k"]): row
        for row in parquet.read(leaderboard.results, root).to_pylist()
    }
    compared = {
        (row["system"], row["protocol"]): row for row in parquet.read(leaderboard.comparisons, root).to_pylist()
    }

    for system in ("taste", "popularity"):
        versions = [results[system, name, "precision", 5]["value"] for name in ("paper", "paper_matched")]
        both = results[system, "paper_both", "precision", 5]
        assert both["value"] == compared[system, "paper_both"]["value"] == pytest.approx(sum(versions) / 2)
        assert both["low"] <= both["value"] <= both["high"]
        assert results[system, "paper_both", "recall", 1]["users"] == both["users"] == 24


def test_p_values_are_corrected_for_the_number_of_systems_that_are_tested_against_the_first() -> None:
    figure = {"protocol": "full", "slice": "all", "metric": "ndcg", "k": 10}
    rng = np.random.default_rng(0)
    first = rng.random(60)
    values = {"first": first, **{f"other {n}": first - 0.01 * n + rng.normal(0, 0.1, 60) for n in range(1, 6)}}
    rows = [
        {**figure, "system": system, "user_id": str(user), "value": value}
        for system, column in values.items()
        for user, value in enumerate(column)
    ]
    ordered = against_the_best(pl.DataFrame(rows)).sort("value", descending=True)
    leader, *others = ordered.to_dicts()
    by_size = sorted(others, key=lambda row: row["p_value"])
    smallest = by_size[0]

    assert smallest["p_holm"] == pytest.approx(min(1, 5 * smallest["p_value"]))
    for place, row in enumerate(by_size):
        steps = [(5 - before) * by_size[before]["p_value"] for before in range(place + 1)]
        assert row["p_holm"] == pytest.approx(min(1, max(steps)))
    assert leader["p_holm"] == others[0]["p_holm"]
    assert leader["p_value"] == others[0]["p_value"]


def test_systems_that_were_measured_on_other_users_are_not_compared() -> None:
    figure = {"protocol": "full", "slice": "all", "metric": "ndcg", "k": 10}
    rows = [
        {**figure, "system": system, "user_id": user, "value": 0.5}
        for system, user in (("one", "a"), ("one", "b"), ("other", "a"))
    ]
    with pytest.raises(ValueError, match=r"other: no figure of some of 2 users"):
        against_the_best(pl.DataFrame(rows))


def test_one_system_alone_has_figures_and_no_paired_test(table, root):
    split = split_of(table, root).final
    scored = score_system.fn("popularity", "1", {}, 0, CommunityTables(table, split.training), split, root)
    leaderboard = gather.fn([scored], split, root)

    assert leaderboard.comparisons.rows == 0
    assert leaderboard.results.rows > 0


def test_where_no_system_could_be_measured_there_is_no_leaderboard(table, root):
    lacking = Scored("taste", 0, {}, ["pixels"], None, None, float("nan"))
    with pytest.raises(ValueError, match="no system could be measured"):
        gather.fn([lacking], split_of(table, root).final, root)
