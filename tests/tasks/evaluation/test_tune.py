"""Settings chosen on validation."""

import json

import pytest

from storage import parquet
from storage.roots import Root
from tasks.data.community import CommunityTables
from tasks.evaluation.measure import score_system
from tasks.evaluation.tune import tune_system
from tests.tasks.evaluation.comparison import figures_of, split_of


def test_settings_are_chosen_by_both_versions_of_the_papers_protocol(table, root, taste):
    split = split_of(table, root, "paper").tuning
    tuned = tune_system.fn("taste", "1", {}, 1, 0, CommunityTables(table, split.training), split, root)
    measured = figures_of("taste", table, split, root)
    versions = [measured[protocol, "all", tuned.metric, tuned.k] for protocol in ("paper", "paper_matched")]

    assert versions[0] != versions[1]
    assert tuned.value == pytest.approx(sum(versions) / 2)


def test_all_of_a_small_grid_is_tried_and_the_best_is_chosen(table, root, taste):
    split = split_of(table, root, "full").tuning
    tables = CommunityTables(table, split.training)
    tuned = tune_system.fn("taste", "1", {}, 20, 0, tables, split, root)
    tried = parquet.read(tuned.trials, root).to_pylist()

    assert tried[0]["settings"] == '{"wrong": 3, "noise": 0.5}'
    assert len({row["settings"] for row in tried}) == tuned.num_trials == 9
    assert tuned.settings["wrong"] == 0
    assert tuned.value == max(row["value"] for row in tried) > tuned.default_value == tried[0]["value"]


def test_a_given_setting_is_tried_first_in_the_defaults_place_and_one_without_a_grid_stays(table, root, taste):
    taste.grid = {"wrong": taste.grid["wrong"]}
    split = split_of(table, root, "full").tuning
    tables = CommunityTables(table, split.training)
    tuned = tune_system.fn("taste", "1", {"wrong": 7, "noise": 0.25}, 20, 0, tables, split, root)
    tried = [json.loads(row["settings"]) for row in parquet.read(tuned.trials, root).to_pylist()]

    assert tried[0] == {"wrong": 7, "noise": 0.25}
    assert {settings["noise"] for settings in tried} == {tuned.settings["noise"]} == {0.25}
    assert {3, 7} < {settings["wrong"] for settings in tried}


def test_a_tuning_that_was_killed_resumes_and_ends_as_one_that_was_not(table, root, taste, tmp_path, monkeypatch):
    split = split_of(table, root, "full").tuning
    tables = CommunityTables(table, split.training)
    whole = tune_system.fn("taste", "1", {}, 6, 0, tables, split, root)
    again = Root(str(tmp_path / "again"))
    for ref in {ref.path: ref for ref in (*table.values(), split.training, split.heldout)}.values():
        again.write(ref.path, root.read(ref.path))
    taste.fitted_with.clear()
    with monkeypatch.context() as broken:
        fit = taste.fit
        broken.setattr(taste, "fit", lambda *args: fit(*args) if len(taste.fitted_with) < 3 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tune_system.fn("taste", "1", {}, 6, 0, tables, split, again)
    resumed = tune_system.fn("taste", "1", {}, 6, 0, tables, split, again)

    assert len(taste.fitted_with) == len(set(taste.fitted_with)) == 6
    assert resumed.settings == whole.settings
    trials = [parquet.read(ref, at).drop(["fit_s"]) for ref, at in ((resumed.trials, again), (whole.trials, root))]
    assert trials[0] == trials[1]


def test_a_system_that_lacks_a_signal_says_which(table, root, taste, monkeypatch):
    monkeypatch.setattr(taste, "needs", ("pixels", "titles"))
    split = split_of(table, root).final
    tables = CommunityTables(table, split.training)

    assert score_system.fn("taste", "1", {}, 0, tables, split, root).lacking == ["pixels"]
    assert tune_system.fn("taste", "1", {}, 3, 0, tables, split, root).lacking == ["pixels"]
