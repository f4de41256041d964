"""Training, its state saved every so many steps, going on where a killed run stopped."""

import numpy as np
import torch

from models.cdl import training
from models.cdl.network import CDL, CDLConfig
from models.cdl.training import TrainingConfig, TrainState
from models.devices import choose_device
from storage import checkpoints, matrices, parquet
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from tasks.cdl.trained import Trained
from tasks.data.tastes import read_profiles
from tasks.runtime.caching import stage
from tasks.runtime.code_version import code_version
from tasks.runtime.digests import digest
from tasks.runtime.progress import Progress


@stage
def train_cdl(
    triplets: Ref,
    profiles: Ref,
    num_clusters: int,
    inputs: list[Ref],
    model: CDLConfig,
    config: TrainingConfig,
    start: Ref | None,
    root: Root,
) -> Trained:
    """Train CDL on the triplets, from a checkpoint's weights where there is a `start`."""
    shards = Shards.open(inputs, root)
    users, profiles_UC = read_profiles(profiles, num_clusters, root)
    rows = parquet.read(triplets, root)
    if not len(rows):
        raise ValueError(
            "there is no triplet to train on: no user has both a favorite with an input and an assigned negative; "
            "look at the table negatives for the reasons, or lower triplets.min_clusters"
        )
    by_id = np.argsort(shards.ids.astype(str))
    image_ids = shards.ids[by_id]
    triplets_N3 = np.column_stack(
        [
            matrices.rows_of(rows["user_id"], users),
            by_id[matrices.rows_of(rows["positive_id"], image_ids)],
            by_id[matrices.rows_of(rows["negative_id"], image_ids)],
        ]
    )
    pools = rows["pool"].to_numpy()
    torch.manual_seed(config.seed)
    network = CDL(model, shards.shape, num_clusters)
    if start:
        network.load_state_dict(checkpoints.load(root, start.path)["model"])
    work = f"checkpoints/{digest([code_version(__name__), triplets, profiles, inputs, model, config, start])}"
    saved = sorted(entry.path for entry in root.entries(work))
    state = checkpoints.load(root, saved[-1]) if saved else None
    losses: list[tuple[int, float]] = state["losses"] if state else []
    progress: Progress | None = None
    for reached in training.train(
        network,
        triplets_N3,
        pools if pools.any() else None,
        profiles_UC,
        shards.gather,
        config,
        state and state["training"],
    ):
        progress = progress or Progress("train-cdl", reached.num_steps, "steps")
        losses += _by_tens(reached)
        progress.advance(reached.step - progress.done, f", loss {losses[-1][1]:.3f}")
        checkpoints.save(
            {"training": reached.state, "losses": losses}, root, f"{work}/step-{reached.step:09d}.safetensors"
        )
    final = checkpoints.store({"model": network.state_dict()}, "cdl", root)
    states = sorted(entry.path for entry in root.entries(work))
    for path in states[:-1]:  # the last one outlives a kill right here
        root.delete(path)
    return Trained(final, list(shards.shape), num_clusters, losses, str(choose_device(config.device)))


def _by_tens(reached: TrainState) -> list[tuple[int, float]]:
    first = reached.step - len(reached.losses)
    parts = [reached.losses[start : start + 10] for start in range(0, len(reached.losses), 10)]
    return [(first + 10 * row + len(part), float(np.mean(part))) for row, part in enumerate(parts)]
