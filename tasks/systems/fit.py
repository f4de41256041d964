"""Any system of `models.systems`, fitted on a community and kept as a file."""

import time
from typing import Any

import numpy as np
import torch

from models.systems import System
from storage import checkpoints
from storage.roots import Root
from tasks.data.community import CommunityTables, IndexedCommunity, read_community
from tasks.runtime.caching import stage
from tasks.systems.model import Fitted
from tasks.systems.restore import make_system


@stage
def fit_system(
    name: str, version: str, settings: dict[str, Any], seed: int, given: CommunityTables, root: Root
) -> Fitted:
    """The fitted system's state. `version` stands for the code of the system, which no import here tells.

    Raises ValueError where the community lacks a signal that the system needs.
    """
    known = read_community(given, root)
    if lacking := make_system(name, settings).lacking(known.community):
        raise ValueError(
            f"{name} needs {', '.join(lacking)}, which the source does not tell; choose another model.system"
        )
    system, _ = fit(name, settings, seed, known)
    state = {key: torch.from_numpy(np.require(value, None, ["C", "W"])) for key, value in system.state().items()}
    return Fitted(name, version, settings, checkpoints.store({"state": state}, name, root))


def fit(name: str, settings: dict[str, Any], seed: int, known: IndexedCommunity) -> tuple[System[Any], float]:
    """The fitted system, and the seconds that it took."""
    system = make_system(name, settings, seed)
    start = time.perf_counter()
    system.fit(known.community)
    return system, time.perf_counter() - start
