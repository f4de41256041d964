"""The base of every system."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.settings.floor import FloorConfig
from models.settings.names import configure, flatten
from models.settings.systems import FAMILY, OWN_SETTINGS
from models.systems import SYSTEMS
from models.systems.base import InnerProduct, pack_sparse, unpack_sparse, vectors_of
from tests.models.systems.contract import two_tastes


def test_a_packed_matrix_is_the_same_after_unpacking() -> None:
    matrix = csr_array(np.array([[0, 2, 0], [0, 0, 0]], np.float32))
    state = pack_sparse("tags", matrix) | pack_sparse("empty", csr_array((2, 5)))
    assert (unpack_sparse("tags", state) != matrix).nnz == 0
    assert unpack_sparse("empty", state).shape == (2, 5)


def test_images_that_are_not_usable_have_vectors_of_zeros() -> None:
    users, images, usable = vectors_of(np.ones((2, 3)), np.ones((2, 3)), np.array([True, False]))
    assert users.dtype == images.dtype == np.float32
    assert images.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert vectors_of(users, images).usable_I.tolist() == [True, True]
    assert usable.tolist() == [True, False]


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_the_settings_of_a_system_go_by_one_name_each_and_come_back_from_it(name: str) -> None:
    config = SYSTEMS[name].Config()
    assert configure(SYSTEMS[name].Config, flatten(config)) == config


def test_a_name_with_a_dot_sets_one_setting_of_a_section() -> None:
    of_cdl = SYSTEMS["cdl"].Config
    config = configure(of_cdl, {"training.epochs": 3, "training.momentum": 0.5, "model.size": "paper"})
    changed = {key: value for key, value in flatten(config).items() if value != flatten(of_cdl())[key]}
    assert changed == {"training.epochs": 3, "training.momentum": 0.5, "model.size": "paper"}
    for wrong in ({"training.epoch": 3}, {"epochs": 3}):
        with pytest.raises(TypeError, match="epoch"):
            configure(of_cdl, wrong)


def test_two_systems_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two systems are called 'random'"):

        class Other(InnerProduct[FloorConfig]):
            name = "random"


def test_a_system_says_which_signals_it_needs_and_the_community_lacks() -> None:
    system = SYSTEMS["vbpr"]()
    assert system.lacking(two_tastes()) == []
    assert system.lacking(two_tastes().without("features")) == ["features"]


def test_every_system_has_its_settings_where_commands_look_for_them() -> None:
    others = {name: system.Config for name, system in SYSTEMS.items() if name not in FAMILY}
    assert SYSTEMS.keys() == OWN_SETTINGS.keys()
    assert {name: OWN_SETTINGS[name] for name in others} == others
