"""A night on a real Ray cluster of several raylets on this machine, bucket to bucket, that loses a machine midway."""

import importlib.util
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flows import settings
from flows.nightly import nightly
from storage import snapshots
from storage.roots import Root
from tests import world
from tests.storage.servers import moto_server

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or importlib.util.find_spec("prefect_ray") is None,
    reason="Ray is not installed: pip install 'tastegraph[ray]'",
)
MANY_SHARDS = {"images": {"size_px": 16, "shard_images": 5}}


def checksums(source: str, root: Root, kind: str) -> dict[str, str]:
    """The sha256 of each file that a night exports."""
    nightly(source, root.address, settings.validate(world.SETTINGS | MANY_SHARDS | {"runner": {"kind": kind}}))
    found = snapshots.current(root)
    assert found is not None
    return {path.partition(found.run_id)[2]: digest for path, digest in found.checksums.items()}


@pytest.fixture
def cluster(monkeypatch):
    """Starts raylets with one worker each, on request: they take the environment of that moment."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    )
    started: list[Any] = []

    def start(num_machines: int) -> Any:
        small = {"object_store_memory": 80 * 2**20}
        # The head computes nothing: what is lost is never the flow's own machine.
        begun = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
        started.append(begun)
        machines = [begun.add_node(num_cpus=1, **small) for _ in range(num_machines)]
        monkeypatch.setenv("RAY_ADDRESS", begun.address)
        return begun, machines

    yield start
    ray.shutdown()
    for begun in started:
        begun.shutdown()


def lose_one_midway(cluster: Any, machines: list[Any], root: Root, lost: list[int], ended: threading.Event) -> None:
    """Kill the raylet and the workers of a machine once the first shard of pictures is there, and more are to come."""
    while not ended.is_set():
        if sum(1 for _ in root.entries("cache/decode-images")):
            cluster.remove_node(machines[0], allow_graceful=False)
            lost.append(sum(1 for _ in root.entries("cache/decode-images")))
            return
        time.sleep(0.05)


@pytest.mark.timeout(600)
def test_a_night_on_a_cluster_that_loses_a_machine_exports_the_bytes_of_one_on_one_machine(
    source, cluster, prefect_server, tmp_path, monkeypatch
):
    with moto_server() as server:
        there, alone, clustered = (server.root(monkeypatch, tmp_path / "scratch") for _ in range(3))
        for file in filter(Path.is_file, source.rglob("*")):
            there.write(file.relative_to(source).as_posix(), file.read_bytes())
        expected = checksums(there.address, alone, "threads")
        begun, machines = cluster(2)
        lost: list[int] = []
        ended = threading.Event()
        killer = threading.Thread(target=lose_one_midway, args=(begun, machines, clustered, lost, ended))
        killer.start()
        try:
            found = checksums(there.address, clustered, "ray")
        finally:
            ended.set()
            killer.join()

    assert lost
    assert lost[0] < world.NUM_IMAGES / MANY_SHARDS["images"]["shard_images"]  # more shards were to come
    assert found == expected
