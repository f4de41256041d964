"""One set of settings for CDL, by sections and by short names."""

import pytest

from models.cdl.inputs import InputConfig
from models.cdl.network import CDLConfig
from models.cdl.settings import COMPARED, SHORT_NAMES, CDLSettings, nightly_settings
from models.cdl.training import TrainingConfig
from models.systems.base import SYSTEMS

OBJECTIVES = {"cdl": "cross_entropy", "cdl_hinge": "hinge", "twonets": "doublets"}


def test_a_comparison_starts_from_the_nightlys_settings_but_for_epochs_and_learning_rate():
    differing = {name for name in SHORT_NAMES if COMPARED.get(name) != CDLSettings().get(name)}

    assert differing == {"epochs", "learning_rate"}
    assert COMPARED.changed({"epochs": 30, "learning_rate": 0.002}) == CDLSettings()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_systems_defaults_are_those_of_the_comparison_with_its_objective_and_seed(name):
    assert SYSTEMS[name](seed=3).settings == COMPARED.changed({"loss": OBJECTIVES[name]}).seeded(3)


def test_short_names_set_the_sections():
    settings = CDLSettings().changed({"sees": "features", "epochs": 80, "learning_rate": 0.001, "margin": 3.0})

    assert settings.inputs == InputConfig(sees="features")
    assert settings.training == TrainingConfig(epochs=80, learning_rate=0.001)
    assert settings.model == CDLConfig(margin=3.0)


def test_the_nightly_is_given_what_was_tuned_and_what_a_comparison_does_differently():
    assert nightly_settings({"sees": "pixels", "epochs": 30}) == {
        "inputs.sees": "pixels",
        "training.epochs": 30,
        "training.learning_rate": 0.001,
    }
