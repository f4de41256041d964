"""Which input the image tower takes."""

import numpy as np
import pytest

from models.cdl.inputs import choose, unit_vectors
from models.settings.inputs import InputConfig

NONE = {"pixels": 0, "features": 0, "tags": 0, "favorites": 0}


@pytest.mark.parametrize(
    ("coverage", "chosen"),
    [
        ({"pixels": 50, "features": 100, "tags": 100}, "pixels"),
        ({"pixels": 49, "features": 50, "tags": 100}, "features"),
        ({"pixels": 10, "tags": 90, "favorites": 100}, "tags"),
        ({"favorites": 60}, "favorites"),
        ({"pixels": 10, "tags": 30, "favorites": 20}, "tags"),  # none has half: the one that most images have
        ({"pixels": 10, "tags": 10}, "pixels"),
    ],
)
def test_the_first_input_that_half_the_images_have_is_taken_else_the_most_common(coverage, chosen):
    assert choose(NONE | coverage, 100, InputConfig()) == chosen


def test_an_input_that_is_asked_for_is_taken_however_few_have_it():
    assert choose(NONE | {"pixels": 100, "tags": 1}, 100, InputConfig(kind="tags")) == "tags"


def test_an_input_that_no_image_has_is_refused_and_the_others_are_named():
    with pytest.raises(ValueError, match=r"'features'.*'pixels': 7"):
        choose(NONE | {"pixels": 7}, 10, InputConfig(kind="features"))


def test_a_tower_that_is_to_see_features_takes_them_before_pixels_where_there_are_any():
    features_first = InputConfig(sees="features")

    assert choose(NONE | {"pixels": 100, "features": 100}, 100, features_first) == "features"
    assert choose(NONE | {"pixels": 100, "features": 60, "tags": 100}, 100, features_first) == "features"
    assert choose(NONE | {"pixels": 100, "tags": 100}, 100, features_first) == "pixels"


def test_features_are_needed_where_they_may_be_chosen():
    needing = [InputConfig(kind="features"), InputConfig(sees="features")]
    others = [InputConfig(), InputConfig(kind="pixels", sees="features")]

    assert all(config.needs_features for config in needing)
    assert not any(config.needs_features for config in others)


def test_vectors_are_scaled_to_unit_length_and_zeros_stay():
    np.testing.assert_allclose(unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])
