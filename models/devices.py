"""The device that a setting means."""

import torch


def choose_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; anything else is torch's own name of a device."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
