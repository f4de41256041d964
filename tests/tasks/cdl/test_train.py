"""CDL's training as a stage: checkpoints, and what a killed run goes on from."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta

import psutil
import pytest
import torch
from torch import distributed

from models.cdl import training
from models.settings.network import CDLConfig
from models.settings.training import TrainingConfig
from models.settings.triplets import TrainingUsersConfig
from storage import checkpoints
from storage.roots import Root
from tasks.cdl import train
from tasks.cdl.train import train_cdl
from tasks.cdl.trained import Trained
from tests.storage.damage import flip

NETWORK, CONFIG = CDLConfig(), TrainingConfig(epochs=6, checkpoint_steps=2)


def weights(chain, trained) -> dict[str, torch.Tensor]:
    return checkpoints.load(trained.checkpoint, chain.root)["model"]


def killed_and_unbroken(chain, tables, monkeypatch, tmp_path_factory) -> Trained:
    """Kill a training below the chain's root at its third state; an unbroken one, below a copy of the root."""
    run = training.train
    other_root = Root(str(shutil.copytree(chain.root.address, tmp_path_factory.mktemp("other") / "root")))
    unbroken = train_cdl.fn(tables, NETWORK, CONFIG, None, other_root)

    def killed(*args):
        for number, reached in enumerate(run(*args)):
            if number == 2:
                raise KeyboardInterrupt
            yield reached

    monkeypatch.setattr(training, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        train_cdl.fn(tables, NETWORK, CONFIG, None, chain.root)
    return unbroken


def test_a_killed_training_ends_in_the_weights_of_an_unbroken_one(chain, monkeypatch, tmp_path_factory):
    tables, run = chain.training_tables(), training.train
    unbroken = killed_and_unbroken(chain, tables, monkeypatch, tmp_path_factory)
    first_steps = []
    monkeypatch.setattr(training, "train", lambda *args: first_steps.append(args[3]["step"]) or run(*args))
    resumed = train_cdl.fn(tables, NETWORK, CONFIG, None, chain.root)

    assert first_steps == [4]
    assert resumed.losses == unbroken.losses
    assert resumed.checkpoint == unbroken.checkpoint
    assert len([entry for entry in chain.root.entries("checkpoints") if "step-" in entry.path]) == 1


def test_a_training_whose_last_state_is_damaged_goes_on_from_the_one_before(chain, monkeypatch, tmp_path_factory):
    tables, run = chain.training_tables(), training.train
    unbroken = killed_and_unbroken(chain, tables, monkeypatch, tmp_path_factory)
    flip(chain.root, max(entry.path for entry in chain.root.entries("checkpoints") if "step-" in entry.path))
    first_steps = []
    monkeypatch.setattr(training, "train", lambda *args: first_steps.append(args[3]["step"]) or run(*args))
    resumed = train_cdl.fn(tables, NETWORK, CONFIG, None, chain.root)

    assert first_steps == [2]
    assert resumed.checkpoint == unbroken.checkpoint


def test_training_starts_from_the_weights_of_an_earlier_checkpoint(chain):
    tables, still = chain.training_tables(), replace(CONFIG, epochs=1, learning_rate=0.0)
    first = train_cdl.fn(tables, NETWORK, CONFIG, None, chain.root)
    warm = train_cdl.fn(tables, NETWORK, still, first.checkpoint, chain.root)

    assert all(torch.equal(value, weights(chain, first)[name]) for name, value in weights(chain, warm).items())


def test_without_any_triplet_the_error_names_the_table_and_the_setting(chain):
    tables = chain.training_tables()
    nobody = chain.sample(users=TrainingUsersConfig(min_clusters=9))
    with pytest.raises(ValueError, match=r"table negatives.*training_users\.min_clusters"):
        train_cdl.fn(replace(tables, triplets=nobody), NETWORK, CONFIG, None, chain.root)


GANG = replace(CONFIG, processes=2, epochs=30)


def ranks_of_gangs() -> list[psutil.Process]:
    """The processes of gangs that this process has started."""
    here = psutil.Process().children(recursive=True)
    return [
        process for process in here if "torch.distributed.run" not in process.cmdline() and "RANK" in environ(process)
    ]


def environ(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def test_a_gang_that_loses_a_process_goes_on_from_the_last_state_to_the_weights_of_one_that_lost_none(
    chain, tmp_path_factory
):
    tables = chain.training_tables()
    other_root = Root(str(shutil.copytree(chain.root.address, tmp_path_factory.mktemp("other") / "root")))
    undisturbed = train_cdl.fn(tables, NETWORK, GANG, None, other_root)
    killed: list[str] = []
    ended = threading.Event()

    def kill_one() -> None:
        while not killed and not ended.wait(0.01):
            states = [entry.path for entry in chain.root.entries("checkpoints") if "step-" in entry.path]
            victims = [process for process in ranks_of_gangs() if environ(process).get("RANK") == "1"]
            if len(states) > 1 and victims:
                victims[0].kill()
                killed.append(max(states))

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        trained = train_cdl.fn(tables, NETWORK, GANG, None, chain.root)
    finally:
        ended.set()
        killer.join()

    assert killed
    assert trained == undisturbed


def test_after_a_new_start_no_process_waits_for_one_of_the_start_before():
    server = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    env = os.environ | {
        **{"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.port)},
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # as torchrun, whose server outlives the processes
    }
    code = "from tasks.cdl import train; train.connect('gloo'); train.distributed.barrier()"

    def started(rank: int, start: int) -> subprocess.Popen[bytes]:
        of_rank = {"RANK": str(rank), "TORCHELASTIC_RESTART_COUNT": str(start)}
        return subprocess.Popen([sys.executable, "-c", code], env=env | train._loopback() | of_rank)

    for start in (0, 1):
        first = started(0, start)
        server.wait([f"start {start}/here/0"], timedelta(seconds=120))
        second = started(1, start)
        assert [process.wait(120) for process in (first, second)] == [0, 0]


def test_a_process_that_its_gang_does_not_connect_to_ends_so_that_all_start_again():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = os.environ | {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    # The other process is there, and never connects.
    code = f"""
import threading
from datetime import timedelta
from torch import distributed
from tasks.cdl import train
train.CONNECT_S = 1.0
def other():
    distributed.TCPStore("127.0.0.1", {port}, 2, False, timedelta(seconds=60)).set("start 0/here/1", "")
threading.Thread(target=other, daemon=True).start()
train.connect("gloo")
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, timeout=120
    )

    assert ended.returncode == 1, ended.stderr
    assert "did not connect within 1 s" in ended.stderr
