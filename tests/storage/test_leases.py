"""Shared and exclusive leases on a root."""

import json
import subprocess
import sys
import threading
import time

import pytest

from storage import leases
from storage.leases import BusyError
from storage.roots import Root


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def test_a_lease_is_held_within_its_block_and_deleted_afterwards(root):
    with leases.shared(root, "nightly"):
        assert [lease.kind for lease in leases.held_by_others(root)] == ["nightly"]
    assert leases.all_of(root) == []


def test_flows_share_a_root_and_an_exclusive_lease_lists_them(root):
    with leases.shared(root, "nightly"), leases.shared(root, "compare"), leases.exclusive(root, "gc") as holders:
        assert {lease.kind for lease in holders} == {"nightly", "compare"}


def test_a_second_exclusive_lease_is_refused(root):
    with (
        leases.exclusive(root, "gc"),
        pytest.raises(BusyError, match=r"gc .* is running"),
        leases.exclusive(root, "forget"),
    ):
        pass
    assert leases.all_of(root) == []


def test_a_flow_waits_for_the_end_of_an_exclusive_lease(root, monkeypatch):
    monkeypatch.setattr(leases, "LOOK_S", 0.01)
    order = []

    def flow() -> None:
        with leases.shared(root, "nightly"):
            order.append("flow")

    with leases.exclusive(root, "gc"):
        thread = threading.Thread(target=flow)
        thread.start()
        while len(leases.all_of(root)) < 2:
            time.sleep(0.01)
        time.sleep(0.1)
        order.append("gc")
    thread.join()

    assert order == ["gc", "flow"]


def test_a_lease_is_rewritten_while_its_holder_works(root, monkeypatch):
    monkeypatch.setattr(leases, "BEAT_S", 0.01)
    with leases.shared(root, "nightly"):
        first = leases.held_by_others(root)[0].beat_s
        deadline = time.monotonic() + 30
        while leases.held_by_others(root)[0].beat_s == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_the_lease_of_a_killed_process_is_not_held(root):
    code = (
        "import os, sys; from storage import leases; from storage.roots import Root\n"
        "with leases.shared(Root(sys.argv[1]), 'nightly'): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, root.address], check=False)

    assert len(leases.all_of(root)) == 1
    assert leases.held_by_others(root) == []


def test_the_lease_of_another_machine_counts_until_it_is_old(root):
    lease = {"kind": "nightly", "is_alone": False, "since": "today", "machine": "elsewhere", "pid": 1}
    root.write("leases/fresh.json", json.dumps({**lease, "beat_s": time.time() - 60}).encode())
    root.write("leases/lost.json", json.dumps({**lease, "beat_s": time.time() - leases.LOST_S - 1}).encode())

    assert len(leases.held_by_others(root)) == 1


def test_leases_work_in_a_bucket(moto, monkeypatch, tmp_path):
    root = moto.root(monkeypatch, tmp_path / "scratch")
    with leases.shared(root, "nightly"), leases.exclusive(root, "gc") as holders:
        assert len(holders) == 1
    assert list(root.entries("leases")) == []
