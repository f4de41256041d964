"""The device that a setting means."""

import torch

from models.devices import choose_device


def test_auto_is_the_gpu_where_there_is_one_and_a_name_is_torchs_own() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("cuda:1") == torch.device("cuda", 1)
