"""CDL's training with checkpoints: a run that was killed goes on where it stopped.

With `training.processes` a gang of processes takes each step, started by torchrun (`python -m tasks.cdl.train JOB`).
"""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # public, but not in its __all__
from torch.distributed.rendezvous import rendezvous

from models.cdl import training
from models.cdl.network import CDL
from models.cdl.training import WHOLE, Share, TrainingData, TrainState
from models.devices import choose_device
from models.settings.network import CDLConfig
from models.settings.training import TrainingConfig
from storage import checkpoints, documents, matrices, parquet
from storage.refs import Ref
from storage.roots import DamagedError, Root
from storage.shards import Shards
from tasks.cdl.trained import Trained
from tasks.data.tastes import read_profiles
from tasks.runtime.caching import stage
from tasks.runtime.code_version import code_version
from tasks.runtime.digests import digest
from tasks.runtime.progress import Progress

log = logging.getLogger("tastegraph")

RESTARTS = 3  # of a gang that lost a process: a fault that comes back is none of the machine's
PATIENCE = timedelta(minutes=10)  # with the others of a gang; then it is started again
CONNECT_S = 20.0  # for the processes of a gang that are all there: where gloo waits to be connected it has no limit
PARENT_S = 1.0  # how often a process of a gang looks whether the run lives


@dataclass(frozen=True)
class TrainingTables:
    """The tables that CDL is trained on."""

    triplets: Ref
    profiles: Ref
    num_clusters: int  # width of a profile
    inputs: list[Ref]  # shards of the image tower's inputs


@stage
def train_cdl(
    tables: TrainingTables, model: CDLConfig, config: TrainingConfig, start: Ref | None, root: Root
) -> Trained:
    """CDL trained on the triplets, from a checkpoint's weights where there is a `start`.

    A state is saved every `checkpoint_steps` steps; a run that was killed goes on from the last one.
    """
    shards = Shards.open(tables.inputs, root)
    folder = f"checkpoints/{digest([code_version(__name__), tables, model, config, start])}"
    job = Job(tables, model, config, start, root.address, folder, os.getpid())
    if config.processes == 1:
        network, losses = _run(job, shards, root, WHOLE)
    else:
        _run_gang(job, root)
        state = _last_state(folder, root)
        assert state is not None
        network, losses = CDL(model, shards.shape, tables.num_clusters), state["losses"]
        network.load_state_dict(state["training"]["model"])
    final = checkpoints.store({"model": network.state_dict()}, "cdl", root)
    for saved in checkpoints.saved(folder, root)[:-1]:  # the last one outlives a kill right after this line
        root.delete(saved.path)
    return Trained(final, list(shards.shape), tables.num_clusters, losses, str(choose_device(config.device)))


@dataclass(frozen=True)
class Job:
    """A training, for the processes of a gang: they read what it names, and save its states in its folder."""

    tables: TrainingTables
    model: CDLConfig
    config: TrainingConfig
    start: Ref | None
    root: str
    folder: str  # of its states, below the root
    parent: int  # the run's process, with which the gang ends


def _run(job: Job, shards: Shards, root: Root, share: Share) -> tuple[CDL, list[tuple[int, float]]]:
    """The trained network and its losses; this process computes its share of each step."""
    data = _training_data(job.tables, shards, root)
    network = _first_network(job.model, shards.shape, job.tables.num_clusters, job.config.seed, job.start, root)
    return network, _train(network, data, job.config, job.folder, root, share)


def _run_gang(job: Job, root: Root) -> None:
    """Train by processes of this machine. Where one dies all are started again, and go on from the last state saved.

    Raises RuntimeError where that does not help.
    """
    project = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [project, os.environ.get("PYTHONPATH")]))
    found = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}  # no module of the folder where the command was given
    options = ["--standalone", f"--nproc-per-node={job.config.processes}", f"--max-restarts={RESTARTS}"]
    with root.workspace() as folder:
        file = folder / "job.json"
        file.write_bytes(documents.dump(job))
        gang = [sys.executable, "-m", "torch.distributed.run", *options, "-m", __name__, str(file)]
        ended = subprocess.run(gang, env={**_loopback(), **os.environ, **found}, check=False)
    if ended.returncode:
        raise RuntimeError(
            f"train-cdl: {job.config.processes} processes did not end the training, after {RESTARTS} new starts (exit "
            f"code {ended.returncode}); the log above has their errors. training.processes=1 trains without them"
        )


def _loopback() -> dict[str, str]:
    """The environment in which a gang talks over loopback: by the host's name gloo waited for itself without end."""
    names = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    return dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), names[0]) if names else {}


def run_rank(file: Path) -> None:
    """One process of a gang, which torchrun starts with the environment that `torch.distributed` reads."""
    job = documents.parse(file.read_bytes(), Job, str(file), "start the run again: it writes another")
    threading.Thread(target=_end_with, args=(job.parent,), daemon=True).start()
    share = Share(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    device = choose_device(job.config.device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    connect("nccl" if device.type == "cuda" else "gloo")
    try:
        root = Root(job.root)
        job = replace(job, config=replace(job.config, device=str(device)))
        _run(job, Shards.open(job.tables.inputs, root), root, share)
    finally:
        distributed.destroy_process_group()


def _end_with(process: int) -> None:
    """End this process when that one has ended."""
    with suppress(ProcessLookupError):
        while True:
            os.kill(process, 0)
            time.sleep(PARENT_S)
    os._exit(1)


def connect(backend: str) -> None:
    """Join the process group of the gang. Ends this process where they do not connect, so that all start again."""
    server, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    # torchrun keeps the server over new starts: without a prefix it tells the addresses of processes that have ended.
    store = PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", server)
    store.set(f"here/{rank}", "")
    store.wait([f"here/{other}" for other in range(size)], PATIENCE)
    is_connected = threading.Event()
    threading.Thread(target=_end_unless, args=(is_connected,), daemon=True).start()
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    is_connected.set()


def _end_unless(is_connected: threading.Event) -> None:
    if not is_connected.wait(CONNECT_S):
        log.error("%-18s the processes did not connect within %.0f s, and start again", "train-cdl", CONNECT_S)
        os._exit(1)


def _training_data(tables: TrainingTables, shards: Shards, root: Root) -> TrainingData:
    """The triplets as row numbers of users and of the shards' images."""
    users, profiles_UC = read_profiles(tables.profiles, tables.num_clusters, root)
    rows = parquet.read(tables.triplets, root)
    if not len(rows):
        raise ValueError(
            "there is no triplet to train on: no user has both a favorite with an input and an assigned negative; "
            "look at the table negatives for the reasons, or lower training_users.min_clusters"
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
    return TrainingData(triplets_N3, rows["pool"].to_numpy(), profiles_UC, shards.gather)


def _first_network(
    model: CDLConfig, image_shape: tuple[int, ...], num_clusters: int, seed: int, start: Ref | None, root: Root
) -> CDL:
    """The network before training: random weights by the seed, or those of an earlier checkpoint."""
    torch.manual_seed(seed)
    network = CDL(model, image_shape, num_clusters)
    if start:
        network.load_state_dict(checkpoints.load(start, root)["model"])
    return network


def _train(
    network: CDL, data: TrainingData, config: TrainingConfig, folder: str, root: Root, share: Share
) -> list[tuple[int, float]]:
    """Train the network in place, with checkpoints in a folder; returns its losses: (step, mean of ten steps).

    Of a gang the first process saves and shows what all have reached.
    """
    state = _last_state(folder, root)
    losses: list[tuple[int, float]] = state["losses"] if state else []
    progress: Progress | None = None
    parts = 1
    for reached in training.train(network, data, config, state and state["training"], share):
        progress = progress or Progress("train-cdl", reached.num_steps, "steps")
        if reached.parts != parts:
            parts = reached.parts
            log.warning("%-18s too little memory for a step: each is taken in %d parts", "train-cdl", parts)
        losses += _by_tens(reached)
        if share.rank:
            continue
        progress.advance(reached.step - progress.done, f", loss {losses[-1][1]:.3f}")
        checkpoints.save({"training": reached.state, "losses": losses}, root, f"{folder}/step-{reached.step:09d}")
    return losses


def _last_state(folder: str, root: Root) -> dict[str, Any] | None:
    """The last whole state in a folder, to go on from; damaged ones are deleted, their steps are trained again."""
    for saved in reversed(checkpoints.saved(folder, root)):
        try:
            return checkpoints.load(saved, root)
        except DamagedError as error:
            log.warning("%s; the training goes on from the state before it", error)
            root.delete(saved.path)
    return None


def _by_tens(reached: TrainState) -> list[tuple[int, float]]:
    """The means of the losses, ten steps at a time, each with its last step."""
    first = reached.step - len(reached.losses)
    parts = [reached.losses[start : start + 10] for start in range(0, len(reached.losses), 10)]
    return [(first + 10 * row + len(part), float(np.mean(part))) for row, part in enumerate(parts)]


if __name__ == "__main__":
    run_rank(Path(sys.argv[1]))
