"""Random draws of the demo."""

import numpy as np

from storage.sources.demo.sampling import Choices, long_tail, stream


def test_draws_follow_the_weights_of_their_row_and_never_give_an_item_of_weight_zero():
    choices = Choices(np.array([[0.0, 3.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]))
    items = choices.draw(np.repeat([0, 1], 20_000), np.random.default_rng(0))
    shares = [np.bincount(half, minlength=4) / 20_000 for half in (items[:20_000], items[20_000:])]

    np.testing.assert_allclose(shares, [[0, 0.75, 0.25, 0], [1, 0, 0, 0]], atol=0.02)


def test_counts_have_the_median_and_never_exceed_the_most():
    counts = long_tail(np.random.default_rng(0).normal(size=20_000), median=10.0, spread=1.5, most=50)

    assert 7 <= np.median(counts) <= 10  # the tail folded back lowers it
    assert counts.min() == 0
    assert counts.max() <= 50


def test_streams_of_one_seed_differ_by_purpose_and_repeat():
    first, again, other = (stream(3, purpose).random(4) for purpose in ("favorites", "favorites", "tags"))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
