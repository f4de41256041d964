"""The device that a setting means, and its lack of memory."""

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or numpy says that there is no memory left, on a GPU or a CPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def choose_device(device: str) -> torch.device:
    """The GPU for `auto` if there is one, else the CPU; for any other name the device that torch calls so."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
