"""What a report shows, kept as data: the page that is rendered from it again is the same."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tasks.pages.contents import ContentsError, Failures, from_json, to_json
from tasks.pages.night import render
from tests.tasks.pages.reports import JPEG, bare, full


def test_the_page_rendered_from_a_report_s_data_is_the_same_page():
    assert render(from_json(to_json(full()))) == render(full())
    assert render(from_json(to_json(bare()))) == render(bare())


def test_a_report_without_any_counts_or_figures_is_read_back():
    nobody = np.zeros(0, np.int64)
    report = full()
    assert report.distributions is not None
    report = replace(
        report,
        distributions=replace(report.distributions, tags_per_user=nobody),
        metrics=[replace(report.metrics[0], value=float("nan"), low=float("nan"), high=float("nan"))],
    )

    assert render(from_json(to_json(report))) == render(report)


def test_a_night_without_any_failure_is_read_back():
    report = replace(full(), failures=Failures(k=20, num_ranked=0, num_without=0))

    assert render(from_json(to_json(report))) == render(report)
    assert b'id="failures"' not in render(report)


def test_a_picture_that_several_people_got_stands_in_the_data_once():
    report = full()
    twice = replace(report, people=[*report.people, replace(report.people[0], user_id="u2")])
    data = json.loads(to_json(twice))

    assert [picture["image_id"] for picture in data["pictures"]] == ["8", "7", "9", "10", "11"]
    assert from_json(to_json(twice)).people[1].likes[0].jpeg == JPEG


def test_counts_are_kept_as_how_many_have_each_and_not_user_by_user():
    data = json.loads(to_json(full()))

    assert data["distributions"]["favorites_per_user"] == {"counts": [0, 1, 3, 400], "times": [1, 2, 1, 1]}


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"{}", b'{"version": 1}', b'{"version": 1, "pictures": 3}', b"\xff", b'{"version": 99}'],
)
def test_data_of_another_version_or_damaged_is_refused(data):
    with pytest.raises(ContentsError):
        from_json(data)


def test_data_with_a_field_too_many_or_too_few_is_refused():
    value = json.loads(to_json(full()))
    for changed in ({**value, "later": 1}, {key: item for key, item in value.items() if key != "verdict"}):
        with pytest.raises(ContentsError):
            from_json(json.dumps(changed).encode())
