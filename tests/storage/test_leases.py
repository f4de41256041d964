"""Shared and exclusive leases on a root."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from storage import documents, leases, snapshots
from storage.leases import BusyError, LostError
from storage.manifests import Manifest
from storage.roots import ConflictError, Root


def nobody_to_fence(_root: Root) -> None:
    raise AssertionError("no lease was lost")


@contextmanager
def lost_lease(root: Root) -> Iterator[None]:
    """The shared lease is one of another machine, and for now such leases count as lost at once."""
    (found,) = leases.all_of(root)
    root.write(found.path, documents.dump(replace(found.lease, machine="elsewhere")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "LOST_S", -1.0)
        yield


@pytest.fixture(params=["local", "moto"])
def any_root(request, monkeypatch, tmp_path) -> Root:
    if request.param == "local":
        return Root(str(tmp_path / "root"))
    return request.getfixturevalue("moto").root(monkeypatch, tmp_path / "scratch")


def publish(root: Root, run_id: str) -> None:
    manifest = Manifest(run_id=run_id, generated_at="2026-11-28T02:00:00+00:00", metrics=[])
    snapshots.publish(root, manifest, {}, {"index.html": run_id.encode()}, current=True)


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def test_a_lease_is_held_within_its_block_and_deleted_afterwards(root):
    with leases.shared(root, "nightly"):
        assert [lease.kind for lease in leases.held_by_others(root)] == ["nightly"]
    assert leases.all_of(root) == []


def test_flows_share_a_root_and_an_exclusive_lease_lists_them(root):
    with (
        leases.shared(root, "nightly"),
        leases.shared(root, "compare"),
        leases.exclusive(root, "gc", nobody_to_fence) as holders,
    ):
        assert {lease.kind for lease in holders} == {"nightly", "compare"}


def test_a_second_exclusive_lease_is_refused(root):
    with (
        leases.exclusive(root, "gc", nobody_to_fence),
        pytest.raises(BusyError, match=r"gc .* is running"),
        leases.exclusive(root, "forget", nobody_to_fence),
    ):
        pass
    assert leases.all_of(root) == []


def test_a_flow_waits_for_the_end_of_an_exclusive_lease(root, monkeypatch):
    monkeypatch.setattr(leases, "LOOK_S", 0.01)
    order = []

    def flow() -> None:
        with leases.shared(root, "nightly"):
            order.append("flow")

    with leases.exclusive(root, "gc", nobody_to_fence):
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


def test_a_stopped_process_of_this_machine_holds_its_lease_however_long(root):
    with subprocess.Popen(["sleep", "60"]) as process:
        process.send_signal(signal.SIGSTOP)
        lease = leases.Lease(
            "nightly", False, "today", leases._machine(), process.pid, 0.0, leases._started(process.pid)
        )
        root.write("leases/stopped.json", documents.dump(lease))
        assert leases.held_by_others(root) == [lease]
        process.kill()
        while leases._started(process.pid):  # killed, and not yet waited for
            time.sleep(0.01)
        assert leases.held_by_others(root) == []


def test_another_process_that_got_the_pid_does_not_hold_the_lease(root):
    lease = leases.Lease("nightly", False, "today", leases._machine(), os.getpid(), time.time(), "12")
    root.write("leases/old.json", documents.dump(lease))

    assert leases.held_by_others(root) == []


def test_a_flow_within_itself_shares_its_lease(root):
    with leases.shared(root, "nightly"):
        with leases.shared(root, "nightly"):
            assert len(leases.all_of(root)) == 1
        assert len(leases.all_of(root)) == 1
    assert leases.all_of(root) == []


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": 2}'])
def test_a_damaged_lease_is_named_and_counts_until_it_is_old(root, content, caplog):
    root.write("leases/gc-1.json", content)
    with pytest.raises(BusyError, match=r"the damaged lease gc-1\.json"), leases.exclusive(root, "gc", nobody_to_fence):
        pass
    assert "leases/gc-1.json: " in caplog.text
    assert "delete it where nothing is at work" in caplog.text

    os.utime(root.local("leases/gc-1.json"), (0, 0))
    assert leases.held_by_others(root) == []


def test_a_holder_whose_lease_was_taken_neither_publishes_nor_deletes_nor_takes_it_back(any_root, monkeypatch):
    publish(any_root, "night-1")
    with leases.shared(any_root, "nightly"):
        with lost_lease(any_root), leases.exclusive(any_root, "gc", snapshots.raise_fence) as holders:
            assert holders == []
        with pytest.raises(LostError, match="start it again, and it resumes"):
            publish(any_root, "night-2")
        monkeypatch.setattr(leases, "LOST_S", -1.0)  # a beat is due
        with pytest.raises(LostError):
            leases.keep(any_root)
        assert leases.all_of(any_root) == []
    pointer = snapshots.current(any_root)
    assert pointer is not None
    assert (pointer.run_id, pointer.fence) == ("night-1", 1)
    publish(any_root, "night-2")
    pointer = snapshots.current(any_root)
    assert pointer is not None
    assert (pointer.run_id, pointer.fence) == ("night-2", 1)


@pytest.mark.parametrize("nights", [0, 1])
def test_nor_does_one_whose_lease_is_taken_after_it_looked(any_root, nights, monkeypatch):
    """The lease is taken between the look at it and the put of the pointer: the worst instant."""
    if nights:
        publish(any_root, "night-1")
    check, before = leases.check, snapshots.current(any_root)

    def then_taken(root: Root) -> None:
        check(root)
        monkeypatch.setattr(leases, "check", check)
        with lost_lease(root), leases.exclusive(root, "gc", snapshots.raise_fence):
            pass

    with leases.shared(any_root, "nightly"):
        monkeypatch.setattr(leases, "check", then_taken)
        with pytest.raises((ConflictError, LostError)):
            publish(any_root, "night-2")
    after = snapshots.current(any_root)
    assert (after and after.run_id) == (before and before.run_id)


def test_the_lease_of_another_machine_counts_until_the_store_has_not_seen_it_for_long(root):
    """Whatever the clock of that machine says, which may have jumped, and whatever ours does."""
    lease = leases.Lease("nightly", False, "today", "elsewhere", 1, 0.0)
    for name, beat_s, age_s in ("behind", 0.0, 60.0), ("ahead", time.time() + 7200, leases.LOST_S + 60):
        root.write(f"leases/{name}.json", documents.dump(replace(lease, kind=name, beat_s=beat_s)))
        set_back(root, f"leases/{name}.json", age_s)
    assert [lease.kind for lease in leases.held_by_others(root)] == ["behind"]

    with leases.shared(root, "compare"):
        for entry in list(root.entries("leases")):
            set_back(root, entry.path, 7200)  # as if the store's clock were two hours behind ours
        assert {lease.kind for lease in leases.held_by_others(root)} == {"behind", "compare"}


CLAIM = """
import sys, time
from storage import leases, snapshots
from storage.roots import Root
root = Root(sys.argv[1])
leases.note_stage("training")
with leases.shared(root, "nightly"), leases.claimed(root, "runs/one.claim", "nightly", snapshots.raise_fence) as waited:
    print(waited, flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holding_the_claim(root: Root, seconds: float) -> subprocess.Popen[str]:
    """A process that has the claim, and after so many seconds ends."""
    command = [sys.executable, "-c", CLAIM, root.address, str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "False\n"
    return process


def test_what_another_process_is_at_waits_for_its_end_and_says_who_it_is(any_root, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr(leases, "LOOK_S", 0.05)
    with holding_the_claim(any_root, 2) as process, leases.shared(any_root, "nightly"):
        with leases.claimed(any_root, "runs/other.claim", "nightly", nobody_to_fence) as waited:
            assert not waited
        with leases.claimed(any_root, "runs/one.claim", "nightly", nobody_to_fence) as waited:
            assert waited
            assert [found.lease.pid for found in leases.all_of(any_root)] == [os.getpid()]
    assert f"waiting for nightly (process {process.pid} on " in caplog.text
    assert ", in training) to end, which is at the same" in caplog.text
    assert list(any_root.entries("runs")) == []


def test_the_claim_of_a_killed_process_is_replaced_at_once_and_so_is_a_damaged_one(any_root, caplog):
    with holding_the_claim(any_root, 60) as process, leases.shared(any_root, "nightly"):
        process.kill()
        process.wait()
        with leases.claimed(any_root, "runs/one.claim", "nightly", nobody_to_fence) as waited:
            assert not waited
        any_root.write("runs/one.claim", b"")
        with leases.claimed(any_root, "runs/one.claim", "nightly", nobody_to_fence) as waited:
            assert not waited
    assert "runs/one.claim: empty; delete it" in caplog.text
    assert list(any_root.entries("runs")) == []


def test_on_a_store_without_conditional_puts_the_last_claim_of_an_instant_counts(rclone, monkeypatch, tmp_path):
    root = rclone.root(monkeypatch, tmp_path / "scratch")
    swap, rivals = Root.swap, [root]

    def swap_before_a_rival(self, path, data, expected):
        swap(self, path, data, expected)
        if path == "runs/other.claim" and rivals:
            rivals.pop().write(path, root.read("runs/one.claim"))

    monkeypatch.setattr(Root, "swap", swap_before_a_rival)
    with (
        holding_the_claim(root, 3),
        leases.shared(root, "nightly"),
        leases.claimed(root, "runs/other.claim", "nightly", nobody_to_fence) as waited,
    ):
        assert waited


def test_who_was_cut_off_for_long_on_another_machine_loses_its_claim_and_does_not_publish(any_root):
    publish(any_root, "night-1")
    with (
        leases.shared(any_root, "nightly"),
        leases.claimed(any_root, "runs/one.claim", "nightly", nobody_to_fence),
        lost_lease(any_root),
        leases.shared(any_root, "again"),
        leases.claimed(any_root, "runs/one.claim", "again", snapshots.raise_fence) as waited,
    ):
        assert not waited
        with pytest.raises(LostError):
            publish(any_root, "night-2")
    pointer = snapshots.current(any_root)
    assert pointer is not None
    assert (pointer.run_id, pointer.fence) == ("night-1", 1)


def set_back(root: Root, path: str, seconds: float) -> None:
    found = root.local(path).stat()
    os.utime(root.local(path), (found.st_atime, found.st_mtime - seconds))


def test_leases_work_in_a_bucket(moto, monkeypatch, tmp_path):
    root = moto.root(monkeypatch, tmp_path / "scratch")
    with leases.shared(root, "nightly"), leases.exclusive(root, "gc", nobody_to_fence) as holders:
        assert len(holders) == 1
    assert list(root.entries("leases")) == []
