"""What a stage's key covers."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from models.settings.protocols import ProtocolConfig
from storage.refs import Ref
from storage.roots import Root
from tasks.data.concealment import conceal_favorites
from tasks.runtime.task_runs import StageKey
from tasks.settings.concealment import ConcealmentConfig

FAVORITES = Ref("favorites", "tables/favorites/1.parquet", "1" * 64, 10, 100)


def key(favorites: Ref = FAVORITES, seed: int = 0, root: str = "data") -> str:
    given = {"favorites_table": favorites, "config": ProtocolConfig(seed=seed), "root": Root(root)}
    return StageKey().compute_key(SimpleNamespace(task=conceal_favorites.runs.task), given, {})


def test_content_and_settings_are_part_of_the_key_and_the_root_is_not():
    assert key() == key(root="elsewhere")
    assert key() != key(favorites=replace(FAVORITES, sha256="2" * 64))
    assert key() != key(seed=1)


def test_an_input_without_stable_content_is_refused_and_named():
    with pytest.raises(TypeError, match=r"conceal_favorites\(favorites_table\): ndarray"):
        conceal_favorites.fn(np.zeros(3), ProtocolConfig(), ConcealmentConfig(), Root("data"))
