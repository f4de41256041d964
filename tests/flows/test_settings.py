"""Settings from a file, the environment and `--set`: what wins, and what is wrong is named, with the choices."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.compare import compare
from flows.errors import SettingsError
from flows.nightly import nightly
from flows.settings import (
    MODELS,
    ComparisonConfig,
    NightlyConfig,
    assignments_of,
    cdl_settings,
    load,
    load_as,
    load_comparison,
    over_environment,
    settings_of,
)
from flows.tune import tune
from models.settings.names import configure, flatten
from models.settings.systems import FAMILY
from models.systems import SYSTEMS
from storage import snapshots
from storage.manifests import Manifest
from storage.roots import Root
from storage.settings.flickr import FlickrConfig
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
        ("gate.metric_fall=[0.1, .nan]", ["gate.metric_fall", "finite"]),
        ("gate.metric_fall=[0.2, 0.1]", ["gate", "metric_fall is [0.2, 0.1]"]),
        ("ingest.max_quarantined_share=.nan", ["ingest.max_quarantined_share", "finite"]),
        ("training.learning_rate=.inf", ["training.learning_rate", "finite"]),
        ("training.epochs=" + "[" * 5000 + "]" * 5000, ["training.epochs", "YAML"]),
        ("training.epochs=" + "[" * 200 + "]" * 200, ["training.epochs", "..."]),
        ("training.epochs=2026-99-99", ["training.epochs", "YAML"]),
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
    config = load(str(file), ["training.epochs=3", "gate.lead_over_popularity=[null, 0]"])

    assert (config.training.epochs, config.training.seed) == (3, 5)
    assert config.gate.lead_over_popularity == (None, 0.0)


@pytest.fixture
def settings(monkeypatch, tmp_path) -> str:
    """A TOML file, and an environment that sets two settings of the night, one of the crawl and one of comparisons."""
    for name, value in {
        "TASTEGRAPH_TRAINING__EPOCHS": "5",
        "TASTEGRAPH_FEATURES__LEARNING__EPOCHS": "4",
        "TASTEGRAPH_API__MAX_BYTES": "1000",
        "TASTEGRAPH_SPLITS__SEED": "7",
        "TASTEGRAPH_INPUTS__KIND": "",
        "TASTEGRAPH_DATA": "/data",
    }.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "settings.toml"
    file.write_text(
        "[training]\nepochs = 7\nseed = 5\n[features]\nlearning = {channels = [8, 8]}\n[lists]\npasses = 3\n"
    )
    return str(file)


def test_the_environment_overrides_the_file_and_an_assignment_the_environment(settings):
    loaded = load_as(NightlyConfig, settings, ["recommend.reserve=9"])

    assert (loaded.config.training.epochs, loaded.config.training.seed) == (5, 5)
    assert (loaded.config.features.learning.epochs, loaded.config.features.learning.channels) == (4, (8, 8))
    assert load(settings, ["training.epochs=3"]).training.epochs == 3
    assert {name: origin for name, origin in loaded.origins.items() if origin != "default"} == {
        "training.epochs": "TASTEGRAPH_TRAINING__EPOCHS",
        "training.seed": settings,
        "features.learning.epochs": "TASTEGRAPH_FEATURES__LEARNING__EPOCHS",
        "features.learning.channels": settings,
        "recommend.reserve": "--set",
    }
    assert set(loaded.origins) == set(flatten(loaded.config))


def test_one_file_and_one_environment_serve_nights_comparisons_and_crawls(settings):
    compared, crawl = load_comparison(settings, None, ["ease"]), load_as(FlickrConfig, settings).config

    assert (compared.training.epochs, compared.splits.seed) == (5, 7)
    assert (crawl.lists.passes, crawl.api.max_bytes) == (3, 1000)


def test_a_deployments_parameter_overrides_the_environment(settings):
    config = over_environment(NightlyConfig, {"features": {"learning": {"epochs": 2}}})

    assert (config.features.learning.epochs, config.training.epochs) == (2, 5)


def test_a_system_named_in_the_environment_takes_none_of_the_files_systems_settings(tmp_path, monkeypatch):
    file = tmp_path / "ease.yaml"
    file.write_text("model: {system: ease, ridge: 60}\n")
    monkeypatch.setenv("TASTEGRAPH_MODEL__SYSTEM", "als")
    loaded = load_as(NightlyConfig, str(file))

    assert loaded.config.model.system == "als"
    assert loaded.origins["model.system"] == "TASTEGRAPH_MODEL__SYSTEM"
    assert load(str(file), ["model.system=ease"]).model.own["ridge"] != 60


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "TASTEGRAPH_TRAINING__EPOCH",
            "3",
            "TASTEGRAPH_TRAINING__EPOCH: training.epoch: .*did you mean training.epochs?",
        ),
        ("TASTEGRAPH_TRAINNG__EPOCHS", "3", "TASTEGRAPH_TRAINNG__EPOCHS: trainng: .*did you mean training?"),
        ("TASTEGRAPH_TRAINING_EPOCHS", "3", "did you mean TASTEGRAPH_TRAINING__EPOCHS?"),
        ("TASTEGRAPH_TRAINING__EPOCHS", "[", "TASTEGRAPH_TRAINING__EPOCHS: the value cannot be read as YAML"),
        ("TASTEGRAPH_TRAINING__EPOCHS", "many", "TASTEGRAPH_TRAINING__EPOCHS: training.epochs: .*'many'"),
    ],
)
def test_a_wrong_variable_is_named_with_the_nearest_right_name(monkeypatch, variable, value, said):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=said.replace("?", r"\?")):
        load()


@pytest.mark.parametrize(
    ("assignment", "meant"),
    [
        ("features.learning.epoch=3", "features.learning.epochs"),
        ("model.redge=3", "model.ridge"),
        ("training.per_user=3", "triplets.per_user"),  # of another section
        ("trainig.epochs=3", "training"),
        ("model.system=eaze", "ease"),
    ],
)
def test_a_misspelled_name_is_answered_with_the_nearest_right_one(assignment, meant):
    system = [] if "system" in assignment else ["model.system=ease"]
    with pytest.raises(SettingsError, match=rf"did you mean {meant}\?"):
        load(None, [*system, assignment])


def test_secrets_are_never_shown(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("training: [hunter2\n- hunter2")
    for of_file, assignment in (
        (None, "api.key=hunter2"),
        (None, "api_key:hunter2"),
        (None, "training.epochs=https://me:hunter2@host/"),
        (None, "api.secret_key=[hunter2"),
        (str(file), "training.epochs=3"),
    ):
        with pytest.raises(SettingsError) as refused:
            load(of_file, [assignment])
        assert "hunter2" not in str(refused.value)

    shown = CliRunner().invoke(app, ["config", "--set", "pretrained.file=s3://me:hunter2@host/words", "--json"])
    assert json.loads(shown.stdout)["settings"]["pretrained.file"]["value"] == "s3://(hidden)@host/words"
    assert "hunter2" not in shown.output


def test_config_prints_each_setting_where_it_came_from_and_where_the_current_run_had_another(settings, tmp_path):
    root = Root(str(tmp_path / "root"))
    settings_then = {"training": {"epochs": 30, "seed": 5}, "features": {"learning": {"channels": [8, 8]}}}
    manifest = Manifest(run_id="night", generated_at="2026-11-01T02:00:00+00:00", metrics=[], settings=settings_then)
    snapshots.publish(root, manifest, {}, {"index.html": b"<html>"}, current=True)
    command = ["config", "--root", root.address, "--config", settings, "--changed"]
    shown, answer = CliRunner().invoke(app, command), CliRunner().invoke(app, [*command, "--json"])

    assert shown.exit_code == 0
    (row,) = (line for line in shown.stdout.splitlines() if "training.epochs" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][1] == "5"
    rows = json.loads(answer.stdout)["settings"]
    assert rows["training.epochs"] == {"value": 5, "from": "TASTEGRAPH_TRAINING__EPOCHS", "current_run": 30}
    assert rows["training.seed"] == {"value": 5, "from": settings}
    assert rows["features.learning.channels"] == {"value": [8, 8], "from": settings}
    of_comparisons = CliRunner().invoke(app, ["config", "--of", "compare", "--json"])
    assert json.loads(of_comparisons.stdout)["settings"]["splits.seed"]["from"] == "TASTEGRAPH_SPLITS__SEED"


@pytest.mark.parametrize(
    "content", ["training: [", "- training", "training: 3", "training:\n", "training: " + "[" * 5000 + "]" * 5000]
)
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
            assert settings_of(name, config).get(key, flatten(SYSTEMS[name].Config())[key]) == value


def test_what_tune_finds_for_cdl_sets_the_nights_chain_as_the_system():
    grid = grid_of("cdl")
    for choice in ({key: values[place % len(values)] for key, values in grid.items()} for place in range(4)):
        tuned = SYSTEMS["cdl"](configure(SYSTEMS["cdl"].Config, choice)).settings
        assert flatten(cdl_settings(load(None, assignments_of("cdl", choice)))) == flatten(tuned)


# What the paper sets, by the names of CDL's own settings, where it differs from a comparison's defaults.
PAPER = {
    "negatives.min_negatives": 0,
    "training_users.min_clusters": 80,
    "training_users.max_clusters": 280,
    "triplets.pool_images": 0,
    "model.size": "paper",
    "training.optimizer": "sgd",
    "training.weight_decay": 0.0005,
    "training.schedule": "constant",
    "training.precision": "float32",
}


@pytest.mark.parametrize("name", FAMILY)
def test_the_papers_settings_reach_each_system_of_the_family_in_comparisons_and_in_nights(name):
    compared = load_comparison("paper", names=["popularity", name], protocol="paper")
    nightly = load("paper", [f"model.system={name}"])

    assert settings_of(name, compared) == settings_of(name, nightly) == PAPER
    assert compared.images.size_px == nightly.images.size_px == 256
    assert settings_of(name, load_comparison("paper", ["training.epochs=3"], [name])) == {**PAPER, "training.epochs": 3}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_any_system_can_be_named_over_the_papers_file(name):
    config = load("paper", [f"model.system={name}"])

    assert (config.model.system, config.model.refit) == (name, False)


def test_a_comparison_has_its_own_defaults_and_what_is_set_wins_also_where_it_is_the_nightlys_default():
    assert all(settings_of(name, load_comparison()) == {} for name in SYSTEMS)
    assert cdl_settings(load_comparison()) == cdl_settings(ComparisonConfig())
    assert settings_of("cdl", load_comparison(None, ["training.epochs=3"])) == {"training.epochs": 3}  # still at .001
    given = compare.validate_parameters({"config": {"training": {"epochs": 3}}})["config"]
    assert settings_of("cdl", given) == {"training.epochs": 3}
    of_the_night = load_comparison(None, ["training.epochs=30", "training.learning_rate=0.002"])
    assert settings_of("cdl", of_the_night) == {"training.epochs": 30, "training.learning_rate": 0.002}
    assert settings_of("cdl", NightlyConfig()) == settings_of("cdl", of_the_night)


def test_a_night_publishes_fewer_dimensions_than_a_comparison_has_unless_these_are_set():
    assert load().model.own["dimensions"] == 512
    assert load_comparison().model.own["dimensions"] == 0
    assert settings_of("tastegraph", load_comparison(None, ["model.dimensions=512"])) == {"dimensions": 512}


def test_the_own_settings_of_the_named_system_are_those_it_starts_from_and_no_others():
    config = load_comparison(None, ["model.system=ease", "model.ridge=60"], ["ease", "als"])

    assert settings_of("ease", config) == {"ridge": 60}
    assert settings_of("als", config) == {}


def test_a_margin_is_set_where_the_hinge_is_named_and_its_loss_cannot_be():
    config = load_comparison(None, ["model.system=cdl_hinge", "model.margin=3"], ["cdl_hinge"])

    assert settings_of("cdl_hinge", config) == {"model.margin": 3}
    with pytest.raises(SettingsError, match=r"model\.loss: there is no such setting of cdl_hinge"):
        load_comparison(None, ["model.system=cdl_hinge", "model.loss=softmax"])


@pytest.mark.parametrize(
    ("assignment", "systems", "protocol"),
    [
        ("gate.overlap=[0.3, 0.1]", ["cdl"], "full"),
        ("policy.own_uploads=true", ["cdl"], "full"),
        ("recommend.num_similar=3", ["cdl"], "full"),
        ("incremental.start=keep", ["cdl"], "full"),
        ("concealment.order=random", ["cdl"], "paper"),
        ("model.refit=false", ["tastegraph"], "full"),
        ("model.ridge=60", ["als"], "full"),
        ("model.dimensions=64", ["als"], "full"),
        ("training.epochs=3", ["ease", "als"], "full"),
        ("negatives.min_negatives=0", ["ease"], "full"),
        ("clusters.num_clusters=9", ["ease"], "full"),
        ("images.size_px=32", ["ease"], "full"),
        ("evaluation.min_favorites=30", ["cdl"], "full"),
        ("splits.seed=1", ["cdl"], "paper"),
    ],
)
def test_an_assignment_that_nothing_in_a_comparison_reads_is_refused(assignment, systems, protocol):
    with pytest.raises(SettingsError) as refused:
        load_comparison(None, [assignment], systems, protocol)

    assert assignment.partition("=")[0] in str(refused.value) or assignment.partition(".")[0] in str(refused.value)


def test_a_file_may_be_for_nights_and_comparisons_and_what_is_left_out_is_named(tmp_path, caplog):
    file = tmp_path / "both.yaml"
    file.write_text(
        "gate: {lead_over_popularity: [null, 0]}\nsplits: {seed: 3}\nmodel: {refit: false}\ntraining: {epochs: 3}\n"
    )
    with caplog.at_level("INFO", "tastegraph"):
        compared, nightly = load_comparison(str(file), None, ["ease"]), load(str(file))

    assert (compared.splits.seed, nightly.gate.lead_over_popularity, nightly.model.refit) == (3, (None, 0.0), False)
    said = [record.getMessage() for record in caplog.records]
    assert any("gate, model.refit: of the nightly alone" in line for line in said)
    assert any("training: nothing reads it" in line for line in said)
    assert any("splits: of compare and tune alone" in line for line in said)


def test_a_setting_of_comparisons_alone_is_no_setting_of_a_night():
    with pytest.raises(SettingsError, match="splits: there is no such setting here, it is of compare and tune alone"):
        load(None, ["splits.seed=1"])


def test_another_system_than_the_files_takes_none_of_its_settings(tmp_path, caplog):
    file = tmp_path / "ease.yaml"
    file.write_text("model: {system: ease, ridge: 60, refit: false}\n")
    with caplog.at_level("INFO", "tastegraph"):
        config = load(str(file), ["model.system=als"])

    assert config.model.refit is False
    assert "model.ridge: of ease" in caplog.text


@pytest.mark.parametrize("setting", ["training.seed=1", "triplets.seed=1"])
@pytest.mark.parametrize("flow", [compare, tune])
def test_a_seed_of_cdl_alone_is_refused_where_every_system_has_the_same_seeds(setting, flow):
    with pytest.raises(SettingsError, match=setting.partition("=")[0]):
        flow.fn(config=load_comparison(None, [setting], ["cdl"]))


@pytest.mark.parametrize(("data", "why"), [(b"a: \x00", "special characters"), (b"a: [", "expected the node content")])
def test_a_settings_file_that_cannot_be_read_is_one_line_with_its_name(tmp_path, data, why):
    file = tmp_path / "settings.yaml"
    file.write_bytes(data)
    with pytest.raises(SettingsError, match=why) as error:
        load(str(file))

    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_a_section_that_is_no_text_is_refused_as_one_that_does_not_exist():
    with pytest.raises(SettingsError, match=r"^'\\udc80training': there is no such section; there are .*demo"):
        load(None, ["\udc80training.epochs=3"])
