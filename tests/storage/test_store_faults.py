"""What a root on S3 does when requests go wrong: tried again, or one line that names what to do."""

import re
import time
import uuid
from collections.abc import Iterator

import pytest

from storage import leases, parquet, snapshots
from storage.manifests import Manifest
from storage.roots import Root, StoreError, UnavailableError, s3_client
from storage.tables.community import USERS
from tests.storage.faulty import Fault, FaultyServer, always, faulty, first


@pytest.fixture(scope="module")
def proxy(moto) -> Iterator[FaultyServer]:
    with faulty(moto) as server:
        yield server


@pytest.fixture(scope="module")
def bucket(proxy, tmp_path_factory) -> Iterator[Root]:
    """A root whose client gives up soon: it tries twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_client, "ATTEMPTS", 2)
        patch.setattr(s3_client, "READ_S", 0.5)
        patch.setattr(s3_client, "OUTAGE_S", 0.0)
        root = proxy.root(patch, tmp_path_factory.mktemp("scratch"))
        root.honours_conditions()
        yield root
    s3_client.client.cache_clear()


@pytest.fixture
def server(proxy) -> FaultyServer:
    proxy.plan = lambda _method, _path: None
    return proxy


@pytest.fixture
def root(server, bucket) -> Root:
    """A root with one file."""
    for entry in list(bucket.entries()):
        bucket.delete(entry.path)
    bucket.write("a", uuid.uuid4().hex.encode() * 30)  # never fetched before
    server.seen.clear()
    return bucket


def put(root: Root, path: str) -> None:
    with root.workspace() as folder:
        (folder / "file").write_bytes(b"4")
        root.put(folder / "file", path)


CALLS = {
    "read": lambda root: root.read("a"),
    "local": lambda root: root.local("a"),
    "digest": lambda root: root.digest("a"),
    "entry": lambda root: root.entry("a"),
    "entries": lambda root: list(root.entries()),
    "write": lambda root: root.write("b", b"2"),
    "copy": lambda root: root.copy("a", "b"),
    "put": lambda root: put(root, "d"),
    "swap": lambda root: root.swap(f"c/{uuid.uuid4().hex}", b"3", None),
    "delete": lambda root: root.delete("a"),
}


@pytest.mark.parametrize("fault", ["503", "500", "reset", "silence"])
def test_a_request_that_goes_wrong_is_sent_again(fault, server, root):
    for name, call in CALLS.items():
        server.plan = first(1, fault)
        call(root)
        assert server.plan("any", "") is None, f"{name}: it sent no request that could go wrong"


@pytest.mark.parametrize("fault", ["cut", "short"])
@pytest.mark.parametrize("call", ["read", "local", "digest"])
def test_a_body_that_breaks_off_is_asked_for_again(call, fault, server, root):
    server.plan = first(1, fault, "GET")
    assert CALLS[call](root)
    assert server.count("GET", "/a") == 2


@pytest.mark.parametrize("operation", ["GET", "LIST"])
def test_a_body_that_comes_slowly_is_read_to_its_end(operation, server, root):
    server.drip_s = 1.0  # longer than a read may wait, but in pieces
    server.plan = first(1, "drip", operation)
    assert len(root.read("a")) == 960
    assert [entry.path for entry in root.entries()] == ["a"]


@pytest.mark.parametrize(
    ("fault", "operation"),
    [(fault, f"multipart {step}") for fault in ("reset", "lost answer") for step in ("begin", "PUT", "end")]
    + [("no upload", "multipart end"), ("error in 200", "multipart end"), ("error in 200", "COPY")],
)
def test_a_file_in_parts_or_copied_is_whole_after_an_error(fault, operation, server, root, monkeypatch):
    monkeypatch.setattr(s3_client, "PARTS_FROM", 1)
    server.plan = first(1, fault, operation)
    put(root, "d")
    root.copy("d", "e")
    assert server.plan(operation, "") is None
    assert (root.read("d"), root.read("e")) == (b"4", b"4")


def test_a_file_that_is_overwritten_while_its_parts_are_fetched_is_one_line(server, root, monkeypatch):
    monkeypatch.setattr(s3_client, "PARTS_FROM", 1)
    server.plan = first(1, "412", "GET")
    with pytest.raises(UnavailableError, match=r"/a: overwritten while it was read; run again$"):
        root.local("a")


@pytest.mark.parametrize(("fault", "advice"), [("503", "start again later"), ("400", "check AWS_ENDPOINT_URL")])
def test_an_error_that_stays_is_one_line_that_names_the_file_and_what_to_do(fault, advice, server, root):
    server.plan = always(fault)
    for name in ("read", "entries", "put", "swap", "delete"):
        with pytest.raises(StoreError) as caught:
            CALLS[name](root)
        assert re.fullmatch(f"s3://.*{advice}.*", str(caught.value)), name
        assert isinstance(caught.value, UnavailableError) == (fault == "503")


@pytest.mark.parametrize(
    ("fault", "call"), [("reset", "write"), ("silence", "entry"), ("cut", "read"), ("cut", "local")]
)
def test_so_is_a_network_that_stays_broken(fault, call, server, root):
    server.plan = always(fault)
    with pytest.raises(UnavailableError, match=r"^s3://.*; check the network, .* start again"):
        CALLS[call](root)


@pytest.mark.parametrize("fault", ["reset", "500"])
def test_a_store_that_goes_away_for_a_while_is_waited_for(fault, server, root, monkeypatch):
    monkeypatch.setattr(s3_client, "OUTAGE_S", 20.0)
    end = time.monotonic() + 2.0
    server.plan = lambda _operation, _path: fault if time.monotonic() < end else None
    assert root.entry("a")
    assert time.monotonic() > end


def test_a_store_that_never_answered_is_given_up_soon(server, root, monkeypatch):
    monkeypatch.setattr(s3_client, "OUTAGE_S", 600.0)
    server.plan, start = always("reset"), time.monotonic()
    s3_client.client.cache_clear()
    with pytest.raises(UnavailableError):
        root.entry("a")
    assert time.monotonic() - start < 300


def test_a_swap_whose_answer_is_lost_has_won(server, root):
    server.plan = first(1, "lost answer", "conditional PUT")
    root.swap("c", b"3", None)
    assert root.read("c") == b"3"


@pytest.mark.parametrize("fault", ["lost answer", "500"])
def test_a_run_whose_every_request_fails_once_is_published_once(fault, server, root):
    asked = set[tuple[str, str]]()

    def plan(operation: str, path: str) -> Fault | None:
        is_first = (operation, path) not in asked
        asked.add((operation, path))
        return fault if is_first else None

    ref = parquet.write(USERS, {"user_id": ["anna"], "name": ["Anna"]}, root)
    for number in (1, 2):
        asked.clear()
        server.plan = plan
        manifest = Manifest(run_id=f"night-{number}", generated_at=f"2026-11-0{number}T02:00:00+00:00", metrics=[])
        with leases.shared(root, "nightly"):
            snapshots.publish(root, manifest, {"users": [ref]}, {"index.html": b"1"}, current=True)
        assert server.count("conditional PUT", snapshots.POINTER) == 2 * number
    server.plan = lambda _operation, _path: None
    assert [(change.number, change.run_id) for change in snapshots.changes(root)] == [(1, "night-1"), (2, "night-2")]
    assert [found.run_id for found in snapshots.runs(root)] == ["night-2", "night-1"]
    assert list(root.entries("leases")) == []


@pytest.mark.parametrize("fault", ["409", "412"])
@pytest.mark.parametrize("is_new", [True, False])
def test_a_swap_that_is_refused_although_nobody_else_wrote_is_tried_again(fault, is_new, server, root):
    path, before = ("c", None) if is_new else ("a", root.entry("a").version)
    server.plan = first(1, fault, "conditional PUT")
    root.swap(path, b"3", before)
    assert root.read(path) == b"3"
    server.plan = always(fault, "conditional PUT")
    with pytest.raises(UnavailableError, match=rf"/{path}: the store refused 2 times .* start again later"):
        root.swap(path, b"4", root.entry(path).version)


def test_a_lease_outlives_a_burst_of_errors(server, root, monkeypatch):
    monkeypatch.setattr(leases, "BEAT_S", 0.05)
    with leases.shared(root, "nightly"):
        (before,) = leases.held_by_others(root)
        server.plan = first(4, "503", "PUT", "leases/")
        while sum(fault == "503" for *_, fault in server.seen) < 4:
            time.sleep(0.05)
        until = server.count("PUT", "leases/") + 2  # of which one at least has been answered
        while server.count("PUT", "leases/") < until:
            time.sleep(0.05)
        (after,) = leases.held_by_others(root)
        assert after.beat_s > before.beat_s
        leases.check(root)


def test_a_lease_that_cannot_be_deleted_does_not_undo_what_was_done(server, root, caplog):
    with leases.shared(root, "nightly"):
        server.plan = always("503", "DELETE")
    assert "the lease stays until it expires in 10 minutes" in caplog.text
