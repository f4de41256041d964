"""Settings from a file and from `--set`: what is wrong is named, with the choices."""

import pytest

from flows.errors import SettingsError
from flows.nightly import nightly
from flows.settings import assignments_of, cdl_settings, load
from models.systems import SYSTEMS
from tasks.evaluation.tune import grid_of


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("training.epoch=3", ["training.epoch", "epochs", "learning_rate"]),
        ("trainin.epochs=3", ["trainin", "training", "gate"]),
        ("training.epochs=many", ["training.epochs", "many"]),
        ("inputs.kind=smell", ["inputs.kind", "smell", "pixels"]),
        ("training.epochs=[", ["training.epochs=["]),
        ("model.system=eese", ["model.system", "eese", "ease", "cdl"]),
        ("training=3", ["section.key=value"]),
        ("epochs", ["section.key=value"]),
    ],
)
def test_a_wrong_assignment_is_named_with_the_choices(assignment, named):
    with pytest.raises(SettingsError) as refused:
        load(None, [assignment])

    assert all(word in str(refused.value) for word in named)


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("model.redge=3", ["model.redge", "of ease", "ridge", "system"]),
        ("model.size=small", ["model.size", "of ease", "ridge"]),  # another system's
        ("model.ridge=much", ["model.ridge", "much"]),
        ("model.ridge=-1", ["model", "ridge is -1.0"]),
    ],
)
def test_a_system_has_its_own_settings_and_refuses_those_of_others(assignment, named):
    assert load(None, ["model.system=ease", "model.ridge=60"]).model.own["ridge"] == 60.0
    with pytest.raises(SettingsError) as refused:
        load(None, ["model.system=ease", assignment])

    assert all(word in str(refused.value) for word in named)


def test_an_assignment_overrides_the_file_and_the_file_the_defaults(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("training:\n  epochs: 7\n  seed: 5\n")
    config = load(str(file), ["training.epochs=3", "gate.below_popularity_stops=true"])

    assert (config.training.epochs, config.training.seed) == (3, 5)
    assert config.gate.below_popularity_stops is True


@pytest.mark.parametrize("content", ["training: [", "- training", "training: 3", "training:\n"])
def test_a_file_that_holds_no_settings_is_refused(tmp_path, content):
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError):
        load(str(file), ["training.epochs=3"])


def test_the_papers_settings_are_all_settings():
    assert load("paper") != load()


def test_a_deployment_refuses_a_setting_that_does_not_exist():
    assert nightly.validate_parameters({"config": {"training": {"epochs": 3}}})["config"].training.epochs == 3
    schema = nightly.parameters.model_dump()["definitions"]
    assert schema["NightlyConfig"]["additionalProperties"] is False
    assert schema["TrainingConfig"]["additionalProperties"] is False
    assert schema["ease"]["additionalProperties"] is False
    chosen = nightly.validate_parameters({"config": {"model": {"system": "ease", "ridge": 60}}})["config"].model
    assert (chosen.system, chosen.own["ridge"]) == ("ease", 60.0)


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_every_setting_that_tune_tries_is_one_of_the_night(name):
    for key, values in grid_of(name).items():
        for value in values:
            config = load(None, assignments_of(name, {key: value}))
            assert config.model.system == name
            assert name == "cdl" or config.model.own[key] == value


def test_what_tune_finds_for_cdl_sets_the_nights_chain_as_the_system():
    grid = grid_of("cdl")
    for choice in ({key: values[place % len(values)] for key, values in grid.items()} for place in range(4)):
        tuned = SYSTEMS["cdl"](SYSTEMS["cdl"].Config(**choice)).settings
        assert cdl_settings(load(None, assignments_of("cdl", choice))) == tuned
