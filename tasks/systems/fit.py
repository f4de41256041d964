"""Fit any system of `models.systems` on a community, and save its state."""

import time
from typing import Any

import numpy as np
import torch

from models.systems import System
from storage import checkpoints
from storage.checkpoints import FITTED_STATE
from storage.roots import Root
from tasks.data.community import CommunityTables, IndexedCommunity, read_community
from tasks.runtime.caching import stage
from tasks.runtime.progress import fitting
from tasks.systems.model import Fitted
from tasks.systems.restore import make_system, restore


@stage
def fit_system(
    name: str,
    version: str,
    settings: dict[str, Any],
    seed: int,
    tables: CommunityTables,
    root: Root,
    measured: Fitted | None = None,
) -> Fitted:
    """The fitted system's state. `version` stands for the system's code in the cache key, as nothing here imports it.

    Args:
        measured: the same system, fitted without the favorites that it was measured on; None: nothing is known of it.

    Raises ValueError where the community lacks a signal that the system needs.
    """
    indexed = read_community(tables, root)
    if lacking := make_system(name, settings).lacking(indexed.community):
        raise ValueError(
            f"{name} needs {', '.join(lacking)}, which the source does not have; choose another model.system"
        )
    if measured:
        system = make_system(name, settings, seed)
        with fitting():
            system.refit(indexed.community, restore(measured, root))
    else:
        system, _ = fit(name, settings, seed, indexed)
    state = {key: torch.from_numpy(np.require(value, None, ["C", "W"])) for key, value in system.state().items()}
    return Fitted(name, version, settings, checkpoints.store({FITTED_STATE: state}, name, root))


def fit(name: str, settings: dict[str, Any], seed: int, indexed: IndexedCommunity) -> tuple[System[Any], float]:
    """The fitted system, and the seconds that fitting took."""
    system = make_system(name, settings, seed)
    start = time.perf_counter()
    with fitting():
        system.fit(indexed.community)
    return system, time.perf_counter() - start
