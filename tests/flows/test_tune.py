"""What `tune` finds for a system is what the night trains it with."""

from dataclasses import replace
from typing import Any

import pytest

from flows import learn, settings
from flows.nightly import nightly
from flows.printing.systems import print_tuned
from flows.tune import tune
from storage.roots import Root
from tests import world


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The arguments of the stages that learn CDL, by name, as the night calls them."""
    seen: dict[str, dict[str, Any]] = {}

    def recorded(name: str) -> Any:
        stage = getattr(learn, name)
        names = stage.fn.__wrapped__.__code__.co_varnames

        def call(*args: Any, **kwargs: Any) -> Any:
            seen[name] = dict(zip(names, args, strict=False)) | kwargs
            return stage(*args, **kwargs)

        return call

    for name in ("sample_triplets", "train_cdl"):
        monkeypatch.setattr(learn, name, recorded(name))
    return seen


def test_a_night_trains_cdl_with_the_settings_that_tune_found(source, tmp_path, prefect_server, calls, capsys):
    small = {**world.SETTINGS, "model": {"system": "cdl", "refit": False}}
    file = tmp_path / "settings.yaml"
    file.write_text("\n".join(f"{name}: {section}" for name, section in small.items()))
    tuned = tune(str(source), str(tmp_path), system="cdl", budget=2, config=settings.load_comparison(str(file)))
    found = {"inputs.sees": "features", "triplets.per_user": 60, "training.epochs": 10}
    seen_by_features = replace(tuned, settings={**tuned.settings, **found})
    print_tuned(seen_by_features, Root(str(tmp_path)), as_json=False)
    line = capsys.readouterr().out.splitlines()[-1]
    assignments = line.replace("--set", "").split()

    grid = {"inputs.sees", "training.learning_rate", "triplets.per_user", "training.epochs"}
    assert set(tuned.settings) == grid | {"triplets.pool_images", "training.checkpoint_steps"}  # the file's too
    assert assignments == settings.assignments_of("cdl", seen_by_features.settings)
    published = nightly(str(source), str(tmp_path), settings.load(str(file), assignments))

    assert published.is_current
    triplets, training = calls["sample_triplets"], calls["train_cdl"]
    assert (triplets["config"].per_user, triplets["config"].pool_images) == (60, 16)
    assert training["config"].epochs == 10
    assert training["config"].learning_rate == tuned.settings["training.learning_rate"]
    assert {shard.path.split("/")[1] for shard in triplets["inputs"]} == {"vectors"}  # features; pictures are pixels
    assert training["tables"].inputs == triplets["inputs"]
