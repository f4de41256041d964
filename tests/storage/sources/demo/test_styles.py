"""Tags of the demo's styles."""

import numpy as np

from storage.sources.demo.styles import vocabulary


def test_the_tags_of_a_style_are_distinct_and_mostly_its_own():
    tags, weights = vocabulary()
    assert len(set(tags)) == len(tags) > 1400
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    likeness = np.minimum(weights[:, None], weights[None]).sum(axis=2)  # the share of draws that two styles have alike
    assert np.triu(likeness, 1).max() < 0.5
