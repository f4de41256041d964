"""The headline metrics of a run."""

from models.evaluation.headlines import headline_of

ROW = {"protocol": "full", "slice": "all", "metric": "ndcg", "system": "ease"}


def test_a_headline_is_of_the_longest_list_over_all_images_of_that_protocol_metric_and_system():
    longest = {**ROW, "k": 20}
    others = [{**ROW, key: "other", "k": 50} for key in ROW]
    assert headline_of([{**ROW, "k": 10}, longest, {**ROW, "k": 5}, *others], "ease", "full", "ndcg") == longest


def test_there_is_no_headline_of_what_was_not_measured():
    assert headline_of([{**ROW, "k": 20}], "ease", "paper", "precision") is None
