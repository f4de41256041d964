"""A system with its settings: new, or restored from its saved state."""

from collections.abc import Mapping
from typing import Any

import torch

from models.settings.names import configure
from models.systems import SYSTEMS, System
from storage import checkpoints
from storage.checkpoints import FITTED_STATE
from storage.roots import Root
from tasks.systems.model import Fitted


def restore(fitted: Fitted, root: Root) -> System[Any]:
    """The fitted system, restored from its saved state."""
    system = make_system(fitted.system, fitted.settings)
    tensors: dict[str, torch.Tensor] = checkpoints.load(fitted.state, root)[FITTED_STATE]
    system.restore({name: tensor.numpy() for name, tensor in tensors.items()})
    return system


def make_system(name: str, settings: Mapping[str, Any], seed: int = 0) -> System[Any]:
    """The system with these settings, as `models.systems.base.configure` names them, and defaults for the others."""
    system = SYSTEMS[name]
    # A setting comes back from JSON as a list where it was a tuple.
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    return system(configure(system.Config, values), seed=seed)
