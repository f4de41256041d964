"""Who works on a root, and who waits for whom."""

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


def test_a_lease_is_held_within_and_gone_afterwards(root):
    with leases.shared(root, "nightly"):
        assert [lease.kind for lease in leases.others(root)] == ["nightly"]
    assert leases.all_of(root) == []


def test_flows_share_a_root_and_are_seen_by_who_wants_it_alone(root):
    with leases.shared(root, "nightly"), leases.shared(root, "compare"), leases.alone(root, "gc") as holders:
        assert {lease.kind for lease in holders} == {"nightly", "compare"}


def test_of_two_that_want_the_root_alone_the_second_is_refused(root):
    with leases.alone(root, "gc"), pytest.raises(BusyError, match=r"gc .* is under way"), leases.alone(root, "forget"):
        pass
    assert leases.all_of(root) == []


def test_a_flow_that_begins_waits_for_who_has_the_root_alone(root, monkeypatch):
    monkeypatch.setattr(leases, "LOOK_S", 0.01)
    order = []

    def flow() -> None:
        with leases.shared(root, "nightly"):
            order.append("flow")

    with leases.alone(root, "gc"):
        thread = threading.Thread(target=flow)
        thread.start()
        while len(leases.all_of(root)) < 2:
            time.sleep(0.01)
        time.sleep(0.1)
        order.append("gc")
    thread.join()

    assert order == ["gc", "flow"]


def test_a_lease_is_kept_fresh_while_its_holder_works(root, monkeypatch):
    monkeypatch.setattr(leases, "BEAT_S", 0.01)
    with leases.shared(root, "nightly"):
        first = leases.others(root)[0].beat_s
        deadline = time.monotonic() + 30
        while leases.others(root)[0].beat_s == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_the_lease_of_a_process_that_was_killed_is_nobodys(root):
    code = (
        "import os, sys; from storage import leases; from storage.roots import Root\n"
        "with leases.shared(Root(sys.argv[1]), 'nightly'): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, root.address], check=False)

    assert len(leases.all_of(root)) == 1
    assert leases.others(root) == []


def test_the_lease_of_another_machine_counts_until_it_is_old(root):
    told = {"kind": "nightly", "is_alone": False, "since": "today", "machine": "elsewhere", "pid": 1}
    root.write("leases/fresh.json", json.dumps({**told, "beat_s": time.time() - 60}).encode())
    root.write("leases/lost.json", json.dumps({**told, "beat_s": time.time() - leases.LOST_S - 1}).encode())

    assert len(leases.others(root)) == 1


def test_leases_work_in_a_bucket(moto, monkeypatch, tmp_path):
    root = moto.root(monkeypatch, tmp_path / "scratch")
    with leases.shared(root, "nightly"), leases.alone(root, "gc") as holders:
        assert len(holders) == 1
    assert list(root.entries("leases")) == []
