"""What CDL and its family start from in a comparison."""

from dataclasses import replace

import pytest

from models.settings.cdl import CDLSettings, ComparedSettings
from models.settings.names import configure, flatten
from models.systems.base import SYSTEMS

OBJECTIVES = {"cdl": "cross_entropy", "cdl_hinge": "hinge", "twonets": "doublets"}


def test_a_comparison_starts_from_the_nightlys_settings_but_for_epochs_and_learning_rate():
    nightly, compared = flatten(CDLSettings()), flatten(ComparedSettings())

    assert {key: (nightly[key], compared[key]) for key in nightly if nightly[key] != compared[key]} == {
        "training.epochs": (30, 20),
        "training.learning_rate": (0.002, 0.001),
    }


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_systems_defaults_are_those_of_the_comparison_with_its_objective_and_seed(name):
    settings = SYSTEMS[name](seed=3).settings

    assert settings.model.loss == OBJECTIVES[name]
    assert replace(settings, model=ComparedSettings().model) == ComparedSettings().seeded(3)


@pytest.mark.parametrize("name", ["cdl_hinge", "twonets"])
def test_the_objective_of_a_system_that_is_named_after_it_cannot_be_set(name):
    assert SYSTEMS[name](configure(ComparedSettings, {"model.loss": "softmax"})).settings.model.loss == OBJECTIVES[name]
