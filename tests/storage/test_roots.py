import errno
import hashlib
import multiprocessing
import os
import resource
import threading
from pathlib import Path

import pytest
import torch

from storage import checkpoints
from storage.roots import ConflictError, DiskError, Entry, Root, StoreError, s3_client
from tests.storage.servers import Server, use


def root_of(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Root:
    if kind == "local":
        return Root(str(folder / "root"))
    server: Server = request.getfixturevalue(kind)
    return server.root(monkeypatch, folder / "scratch")


@pytest.fixture(params=["local", "moto", "rclone"])
def root(request, monkeypatch, tmp_path) -> Root:
    return root_of(request.param, request, monkeypatch, tmp_path)


@pytest.fixture(params=["local", "moto"])
def exact_root(request, monkeypatch, tmp_path) -> Root:
    """A root where `swap` holds against a writer in the same instant."""
    return root_of(request.param, request, monkeypatch, tmp_path)


@pytest.fixture
def remote(moto, monkeypatch, tmp_path) -> Root:
    return moto.root(monkeypatch, tmp_path / "scratch")


def version(root: Root, path: str) -> str | None:
    entry = root.entry(path)
    return entry and entry.version


# -- the contract, on every kind of root -------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"hello", bytes(range(256))])
def test_a_written_file_is_read_back(root, data):
    root.write("a/b.bin", data)
    assert root.read("a/b.bin") == data
    assert root.local("a/b.bin").read_bytes() == data


def test_writing_again_replaces_and_changes_the_version(root):
    root.write("a", b"one")
    before = root.entry("a")
    root.write("a", b"three")
    assert root.read("a") == root.local("a").read_bytes() == b"three"
    assert root.entry("a") == Entry("a", 5, version(root, "a")) != before


def test_a_missing_file_has_no_entry_and_is_not_found(root):
    assert root.entry("no/such") is None
    assert not root.exists("no/such")
    for act in (root.read, root.local, lambda path: root.copy(path, "copy")):
        with pytest.raises(FileNotFoundError, match="no/such"):
            act("no/such")
    root.delete("no/such")


def test_a_folder_is_no_file(root):
    root.write("folder/file", b"1")
    assert root.entry("folder") is None
    assert root.entry("folder/file/below") is None


def test_a_deleted_file_is_gone(root):
    root.write("a", b"1")
    root.delete("a")
    assert not root.exists("a")


def test_a_large_file_from_the_workspace_is_moved_and_copied_whole(root):
    data = os.urandom(9 << 20)  # S3 clients send more than 8 MiB in parts
    with root.workspace() as folder:
        (folder / "finished").write_bytes(data)
        root.put(folder / "finished", "large/one")
        assert not (folder / "finished").exists()
    assert not folder.exists()
    root.write("large/two", b"to be replaced")
    root.copy("large/one", "large/two")
    for path in ("large/one", "large/two"):
        assert root.local(path, hashlib.sha256(data).hexdigest()).read_bytes() == data


def test_copying_onto_an_equal_file_changes_nothing(root):
    root.write("a", b"1")
    for _ in range(2):
        root.copy("a", "b")
    assert root.read("b") == b"1"
    assert [entry.path for entry in root.entries()] == ["a", "b"]


def test_entries_are_the_files_below_a_folder_by_path(root):
    for path in ("b", "a/z", "a/b/c", "a-b/c", "a/B"):
        root.write(path, b"12")
    assert [entry.path for entry in root.entries()] == ["a-b/c", "a/B", "a/b/c", "a/z", "b"]
    assert [entry.path for entry in root.entries("a")] == ["a/B", "a/b/c", "a/z"]
    assert list(root.entries("a")) == [root.entry(path) for path in ("a/B", "a/b/c", "a/z")]
    assert [entry.path for entry in root.entries(recursive=False)] == ["b"]
    assert [entry.path for entry in root.entries("a", recursive=False)] == ["a/B", "a/z"]
    assert list(root.entries("nothing/here")) == []


@pytest.mark.parametrize("path", ["../a", "a/../../b", "/etc/passwd", "a\0b", ".."])
def test_a_path_that_leads_outside_is_refused(root, path):
    for act in (root.read, root.local, root.entry, root.delete, root.url, lambda path: list(root.entries(path))):
        with pytest.raises(ValueError, match="relative to its root"):
            act(path)
    with pytest.raises(ValueError, match="relative to its root"):
        root.write(path, b"")


def test_a_swap_needs_the_version_that_was_read(root):
    root.swap("p", b"1", None)
    first = version(root, "p")
    root.swap("p", b"2", first)
    for stale in (None, first):
        with pytest.raises(ConflictError, match="run again"):
            root.swap("p", b"3", stale)
    assert root.read("p") == b"2"
    with pytest.raises(ConflictError, match="does not exist"):
        root.swap("q", b"1", first)


def test_a_reader_never_sees_half_a_file(root):
    root.write("p", b"a" * 50_000)
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(root.read("p"))

    reader = threading.Thread(target=read)
    reader.start()
    for letter in b"abc" * 10:
        root.write("p", bytes([letter]) * 50_000)
    done.set()
    reader.join()
    assert seen <= {bytes([letter]) * 50_000 for letter in b"abc"}
    assert seen


# -- conditional puts --------------------------------------------------------------------------------------------------


def test_of_concurrent_swaps_exactly_one_wins(exact_root):
    for turn in range(10):
        expected, start, won = version(exact_root, "p"), threading.Barrier(4), []

        def swap(number, turn=turn, expected=expected, start=start, won=won) -> None:
            start.wait()
            try:
                exact_root.swap("p", f"{turn} {number}".encode(), expected)
            except ConflictError:
                return
            won.append(f"{turn} {number}".encode())

        threads = [threading.Thread(target=swap, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [exact_root.read("p")]


def count_up(address: str, times: int) -> None:
    root, done = Root(address), 0
    while done < times:
        entry = root.entry("count")
        try:
            root.swap("count", str(int(root.read("count")) + 1).encode().rjust(9), entry.version)
        except ConflictError:
            continue
        done += 1


def test_swaps_of_several_processes_lose_nothing(tmp_path):
    root = Root(str(tmp_path))
    root.write("count", b"0".rjust(9))  # one length: on a local disk the version then depends on the time alone
    processes = [
        multiprocessing.get_context("spawn").Process(target=count_up, args=(root.address, 50)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert int(root.read("count")) == 100


def test_a_swap_changes_the_version_even_if_the_clock_stands_or_went_back(tmp_path):
    root = Root(str(tmp_path))
    root.swap("p", b"1", None)
    later_ns = (tmp_path / "p").stat().st_mtime_ns + 3600 * 10**9
    os.utime(tmp_path / "p", ns=(later_ns, later_ns))
    before = version(root, "p")
    root.swap("p", b"2", before)
    assert version(root, "p") != before
    assert (tmp_path / "p").stat().st_mtime_ns < later_ns  # its time is the clock's: leases are judged by it


def test_a_swap_that_won_but_whose_answer_was_lost_is_no_conflict(remote):
    remote.swap("p", b"ours", None)
    remote.swap("p", b"ours", None)  # as the S3 client does by itself after a broken connection
    assert remote.read("p") == b"ours"


def test_a_store_without_conditional_puts_is_detected_and_warned_about_once(rclone, monkeypatch, tmp_path, caplog):
    root = rclone.root(monkeypatch, tmp_path)
    assert not root.honours_conditions()
    root.swap("p", b"1", None)
    root.swap("p", b"2", version(root, "p"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the last one wins silently" in caplog.text
    assert [entry.path for entry in root.entries()] == ["p"]


def test_a_store_with_conditional_puts_needs_no_warning(exact_root, caplog):
    assert exact_root.honours_conditions()
    assert not caplog.records
    assert list(exact_root.entries()) == []


# -- addresses ---------------------------------------------------------------------------------------------------------


def test_every_spelling_of_a_folder_is_the_same_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    wanted = Root(str(tmp_path / "my out"))
    for address in (
        "my out",
        "./my out/",
        "~/my out",
        f"file://{tmp_path}/my%20out",
        f"FILE://localhost{tmp_path}/my out",
    ):
        assert Root(address) == wanted
    assert wanted.url("a/b") == f"{tmp_path}/my out/a/b"


def test_an_s3_address_is_a_bucket_and_perhaps_a_prefix():
    assert Root("s3://bucket/a/b/") == Root("S3://bucket/a/b")
    assert Root("s3://bucket/").url("x/y") == "s3://bucket/x/y"
    assert Root("s3://bucket/a").url("") == "s3://bucket/a"


@pytest.mark.parametrize("address", ["", "s3://", "s3:///key", "gs://bucket", "http://host/x", "file://host/x"])
def test_an_address_of_no_root_is_refused(address):
    with pytest.raises(ValueError, match="is no address of a root"):
        Root(address)


# -- a local disk ------------------------------------------------------------------------------------------------------


def test_published_files_can_be_read_by_others(tmp_path):
    root = Root(str(tmp_path))
    root.write("written", b"1")
    root.swap("swapped", b"1", None)
    root.copy("written", "copied")
    usual = tmp_path / "usual"
    usual.touch()
    assert {entry.path: (tmp_path / entry.path).stat().st_mode for entry in root.entries()} == dict.fromkeys(
        ("copied", "swapped", "usual", "written"), usual.stat().st_mode
    )


def test_a_copy_on_one_disk_costs_no_space(tmp_path):
    root = Root(str(tmp_path))
    root.write("a", b"1")
    root.copy("a", "b")
    assert (tmp_path / "a").samefile(tmp_path / "b")


def test_a_disk_without_hard_links_gets_a_copy(tmp_path, monkeypatch):
    def refuse(_source, _target):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    root = Root(str(tmp_path))
    root.write("a", b"1")
    root.copy("a", "b")
    assert root.read("b") == b"1"
    assert not (tmp_path / "a").samefile(tmp_path / "b")


def test_a_file_from_another_disk_is_moved_too(tmp_path):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system to write to")
    file = other / f"tastegraph-{os.getpid()}"
    file.write_bytes(b"1")
    Root(str(tmp_path)).put(file, "a/b")
    assert (tmp_path / "a/b").read_bytes() == b"1"
    assert not file.exists()


def test_bytes_are_on_the_disk_before_their_name_and_the_name_before_the_call_returns(tmp_path, monkeypatch):
    did, sync, replace = [], os.fsync, os.replace

    def noted_sync(opened: int) -> None:
        did.append(f"sync {Path(f'/proc/self/fd/{opened}').readlink().relative_to(tmp_path)}")
        sync(opened)

    def noted_replace(source: Path, target: Path) -> None:
        did.append(f"rename to {Path(target).relative_to(tmp_path)}")
        replace(source, target)

    root = Root(str(tmp_path))
    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    for write in (root.write, lambda path, data: root.swap(path, data, None)):
        did.clear()
        write(f"a{len(list(root.entries()))}/b/c", b"1")
        assert did[0].startswith("sync .tmp/")
        folder = did[1].removeprefix("rename to ").removesuffix("/b/c")
        assert did[1:] == [f"rename to {folder}/b/c", f"sync {folder}/b", f"sync {folder}", "sync ."]
    did.clear()
    root.copy("a0/b/c", "a0/b/d")
    assert did[-2:] == ["rename to a0/b/d", "sync a0/b"]


def test_what_lies_in_a_root_and_is_no_file_is_listed_with_what_it_is(root):
    root.write("images.csv", b"image_id")
    root.write("favorites.parquet/part-0.parquet", b"rows")
    assert root.others().items() >= {"favorites.parquet": "folder"}.items()
    assert not {"images.csv", "part-0.parquet"} & root.others().keys()
    if not root.is_remote:
        os.mkfifo(root.url("pipe"))
        Path(root.url("link")).symlink_to("nowhere")
        assert root.others() | {".tmp": "folder"} == {
            ".tmp": "folder",
            "favorites.parquet": "folder",
            "link": "link to nowhere",
            "pipe": "pipe",
        }


def test_empty_folders_are_pruned_once_they_are_old(tmp_path):
    root = Root(str(tmp_path))
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/full").mkdir()
    (tmp_path / "a/full/file").touch()
    root.prune("a", idle_s=60)
    assert (tmp_path / "a/b").exists()
    root.prune("a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["full"]


def test_a_file_that_vanishes_while_listed_is_left_out(tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "there").touch()
    assert [entry.path for entry in Root(str(tmp_path)).entries()] == ["there"]


# -- S3 ----------------------------------------------------------------------------------------------------------------


def test_a_listing_longer_than_a_page_is_complete(remote):
    names = [f"many/{number:04}" for number in range(1001)]
    for name in names:
        remote.write(name, b"")
    assert [entry.path for entry in remote.entries("many")] == names


def test_a_remote_file_is_fetched_once(remote):
    remote.write("a", b"1")
    digest = hashlib.sha256(b"1").hexdigest()
    fetched = remote.local("a", digest)
    changed_ns = fetched.stat().st_mtime_ns
    assert remote.local("a", digest) == fetched
    assert fetched.stat().st_mtime_ns == changed_ns
    assert fetched.name == "a"


def test_a_damaged_remote_file_is_refused(remote, tmp_path):
    remote.write("a", b"damaged")
    with pytest.raises(ValueError, match=r"some/prefix/a: damaged: its sha256 is .*, expected "):
        remote.local("a", hashlib.sha256(b"whole").hexdigest())
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]


def test_a_missing_bucket_is_named(moto, monkeypatch, tmp_path):
    use(moto.endpoint, monkeypatch, tmp_path)
    root = Root("s3://no-such-bucket/prefix")
    for act in (
        root.read,
        lambda path: root.write(path, b""),
        lambda path: list(root.entries(path)),
        lambda _: root.honours_conditions(),
    ):
        with pytest.raises(StoreError, match="there is no bucket 'no-such-bucket'; create it"):
            act("a")


def test_missing_credentials_say_how_to_give_them(remote, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3_client.client.cache_clear()
    with pytest.raises(StoreError, match="set AWS_ACCESS_KEY_ID"):
        remote.read("a")


def test_wrong_credentials_are_no_missing_file(rclone, monkeypatch, tmp_path):
    root = rclone.root(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    s3_client.client.cache_clear()
    for act in (root.read, root.entry, root.local):
        with pytest.raises(StoreError, match="credentials must be valid"):
            act("a")


def test_a_store_that_is_down_is_no_missing_file(monkeypatch, tmp_path):
    use("http://127.0.0.1:1", monkeypatch, tmp_path)
    with pytest.raises(StoreError, match="check the network, AWS_ENDPOINT_URL"):
        Root("s3://bucket").entry("a")


@pytest.mark.parametrize(
    "write",
    [
        lambda root: root.write("a", bytes(100_000)),
        lambda root: checkpoints.save({"weights": torch.zeros(50_000)}, root, "checkpoints/a"),
    ],
    ids=["bytes", "a library's file"],
)
def test_a_disk_that_cannot_hold_a_file_is_named_with_the_way_out(tmp_path, write):
    root, before = Root(str(tmp_path / "root")), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(
            DiskError, match=r"root/\.tmp: File too large; make it writable, with room \(`tastegraph gc`"
        ):
            write(root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(root.entries()) == []
    assert list(root.debris()) == []
