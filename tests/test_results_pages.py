"""docs/results.md and docs/leaderboard.md: what the record of measured figures and the published ones give."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
sys.path.append(str(PROJECT / "benchmarks"))  # benchmarks are scripts, and no package of the project

import results  # noqa: E402
from comparisons.board import board_of  # noqa: E402
from comparisons.page import page_of  # noqa: E402
from comparisons.plan import COMPARISONS, OTHER_DRAW, SAME_FILES, Comparison, Reference  # noqa: E402
from comparisons.runs import Row, Run, runs_of  # noqa: E402

DOCS = PROJECT / "docs"


def measured(values: dict[str, float]) -> Run:
    """A run of a set `sea` with its official test, whose systems have these values."""
    order = sorted(values, key=lambda name: -values[name])
    rows: list[Row] = []
    for metric in ("ndcg", "recall"):
        for name in order:
            other = order[1] if name == order[0] else order[0]
            figures = {"value": values[name], "low": values[name] - 0.01, "high": values[name] + 0.01, "users": 50}
            difference = dict.fromkeys(("difference", "difference_low"), values[name] - values[other])
            tests = {**difference, "difference_high": difference["difference"], "p_value": 0.004, "p_holm": 0.008}
            place = {"protocol": "full", "slice": "all", "metric": metric, "k": 20, "system": name}
            rows.append({**place, **figures, "other": other, "other_value": values[other], **tests})
    results = [
        {**row, "seed": 0, "fit_s": 1.0, "score_s": 2.0, "machine": "a machine"}
        for row in rows
    ]  # fmt: skip
    entry = {"settings": {"ridge": 60.0}, "trials": 2, "lacking": [], "error": None}
    final = {"training": {"rows": 9}, "heldout": {"rows": 3}, "protocol": "full", "metric": "ndcg", "k": 20}
    report = {
        "protocol": "full",
        "seeds": 1,
        "budget": 2,
        "source": "sea",
        "config": {"splits": {}, "evaluation": {}},
        "split": {"final": {**final, "thresholds": None}},
        "systems": [{"system": name, **entry} for name in order],
    }
    return Run(0.0, {}, report, results, rows)


def comparison(*references: Reference) -> Comparison:
    return Comparison("sea", "full", "the official test", test="official_test", references=references)


def cells(page: str, system: str) -> list[str]:
    """The cells of a system's row in the set's own table, the last of the page."""
    table = page.rpartition("| system |")[2]
    return next([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if system in line)


def test_both_pages_are_what_the_record_gives() -> None:
    """After a change of the record, the plan or the pages' text: `python benchmarks/results.py --only-write`."""
    recorded = [Run.recorded(line) for line in (DOCS / "results.jsonl").read_text().splitlines()]
    shown = [(planned, runs_of(planned, [], recorded)) for planned in COMPARISONS]

    assert (DOCS / "results.md").read_text() == page_of(shown)
    board = [(planned, runs) for planned, runs in shown if planned.on_leaderboard]
    assert (DOCS / "leaderboard.md").read_text() == board_of(board)
    assert {planned.set for planned, _ in board} >= {"tiktok-visual", "ciao-trust", "gowalla-scale", "flickr-social"}


def test_a_run_comes_back_from_its_line_of_the_record() -> None:
    run = measured({"tastegraph": 0.3, "ease": 0.2, "popularity": 0.1})
    again = Run.recorded(run.record)

    assert page_of([(comparison(), [again])]) == page_of([(comparison(), [run])])
    assert board_of([(comparison(), [again])]) == board_of([(comparison(), [run])])


@pytest.mark.parametrize("is_anew", [False, True])
def test_a_table_that_is_made_anew_drops_recorded_runs_and_no_other_does(is_anew: bool) -> None:
    """A recorded run with a larger budget is shown first, whatever was wrong with it."""
    old, new = (replace(measured({"tastegraph": value, "ease": 0.2}), made_at=value) for value in (0.9, 0.3))
    for run, budget in ((old, 6), (new, 2)):
        run.report.update(budget=budget, source="ciao-trust")
    other = measured({"tastegraph": 0.5, "ease": 0.4})
    other.report["source"] = "tiktok-visual"
    shown = results.shown_runs([new], [old, other], lambda planned: is_anew and planned.set != "gowalla-scale")
    runs = {planned.set: found for planned, found in shown if planned.protocol == "full" and found}

    assert runs["ciao-trust"] == ([new] if is_anew else [old])
    assert runs["tiktok-visual"] == [other]
    assert set(runs) == {"ciao-trust", "tiktok-visual"}


def test_published_and_measured_figures_stand_in_one_order_with_their_splits() -> None:
    ahead = Reference("Net", 0.4, 0.25, "Sea et al., 2024", SAME_FILES, published=True)
    behind = Reference("Old", 0.2, 0.05, "Sea et al., 2014", OTHER_DRAW, published=True)
    run = measured({"tastegraph": 0.2, "ease": 0.15, "als": 0.12, "popularity": 0.1})
    page = board_of([(comparison(behind, ahead), [run])])

    table = page.rpartition("| system |")[2]
    order = ["Net", "tastegraph", "ease", "popularity", "Old"]
    assert sorted(order, key=table.index) == order
    assert cells(page, "Net")[1:] == [".2500", ".4000", "Sea et al., 2024"]
    assert cells(page, "Old")[3] == f"Sea et al., 2014; {OTHER_DRAW}"
    assert cells(page, "ease")[1::2] == [".1500 [.1400, .1600]", "here"]
    assert "als" not in table  # neither ours, nor the best other, nor the floor
    assert "Net .2500, −20.0% (recall −50.0%)" in page
    assert "ease .1500, +33.3%" in page
    assert "| 2 of 6 |" in page


@pytest.mark.parametrize("references", [(), (Reference("Net", 0.4, 0.25, "Sea et al., 2024", SAME_FILES, True),)])
def test_a_set_that_was_not_measured_shows_its_command(references: tuple[Reference, ...]) -> None:
    page = board_of([(comparison(*references), [])])

    assert "Not measured here yet" in page
    assert "--source $TASTEGRAPH_DATA/sea " in page
    assert "--test $TASTEGRAPH_DATA/sea/official_test.parquet" in page
    assert ("not measured yet | Net .2500" in page) == bool(references)
