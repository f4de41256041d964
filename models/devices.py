"""The device that a setting means."""

import torch


def choose_device(device: str) -> torch.device:
    """The GPU for `auto` if there is one, else the CPU; for any other name the device that torch calls so."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
