"""References to immutable files."""

import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage import refs
from storage.roots import DamagedError, Root, digests
from tests.storage.damage import cut_off, empty, flip

DAMAGES = pytest.mark.parametrize("damage", [flip, cut_off, empty])


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path / "root"))


@pytest.fixture(params=["disk", "s3"])
def any_root(request, root, tmp_path, monkeypatch) -> Root:
    return root if request.param == "disk" else request.getfixturevalue("moto").root(monkeypatch, tmp_path / "scratch")


def file_of(data: bytes, folder: Path) -> Path:
    file = folder / "file.bin"
    file.write_bytes(data)
    return file


def test_a_stored_file_is_named_by_its_content_and_moved(root, tmp_path):
    file = file_of(b"rows", tmp_path)
    ref = refs.store(file, "tables/things", "things", 3, root)
    sha256 = hashlib.sha256(b"rows").hexdigest()

    assert ref == refs.Ref("things", f"tables/things/{sha256[:24]}.bin", sha256, 3, 4)
    assert ref.local(root).read_bytes() == b"rows"
    assert not file.exists()


def test_equal_content_is_stored_once(root, tmp_path):
    first = refs.store(file_of(b"rows", tmp_path), "tables/things", "things", 3, root)
    version = root.entry(first.path)
    again = refs.store(file_of(b"rows", tmp_path), "tables/things", "things", 3, root)

    assert again == first
    assert root.entry(first.path) == version
    assert not (tmp_path / "file.bin").exists()


@DAMAGES
def test_a_damaged_file_is_replaced_where_it_is_stored_again(any_root, tmp_path, damage):
    ref = refs.store(file_of(b"rows", tmp_path), "tables/things", "things", 3, any_root)
    damage(any_root, ref.path)
    refs.store(file_of(b"rows", tmp_path), "tables/things", "things", 3, any_root)

    assert any_root.read(ref.path) == b"rows"


@DAMAGES
def test_damage_is_found_at_first_use_and_named(any_root, tmp_path, damage):
    ref = refs.store(file_of(b"rows", tmp_path), "tables/things", "things", 3, any_root)
    damage(any_root, ref.path)
    found = hashlib.sha256(any_root.read(ref.path)).hexdigest()

    with pytest.raises(DamagedError) as caught:
        ref.local(any_root)
    assert str(caught.value) == (
        f"{any_root.address}/{ref.path}: damaged: its sha256 is {found}, expected {ref.sha256}; "
        f"`tastegraph verify --root {any_root.address} --repair` puts it back or removes it, and the next run computes "
        f"again what is missing"
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # a stage may run in another process


def test_a_copy_that_was_fetched_from_s3_and_damaged_since_is_fetched_again(moto, monkeypatch, tmp_path):
    root = moto.root(monkeypatch, tmp_path / "scratch")
    ref = refs.store(file_of(b"rows", tmp_path), "tables/things", "things", 3, root)
    fetched = ref.local(root)
    flip(Root(str(fetched.parent)), fetched.name)

    assert ref.local(root).read_bytes() == b"rows"


def test_a_file_is_read_once_per_process_to_compare_it(root, tmp_path, monkeypatch):
    ref = refs.store(file_of(b"rows", tmp_path), "tables/things", "things", 3, root)
    digests._known.clear()
    read = []
    digest = digests.digest
    monkeypatch.setattr(digests, "digest", lambda file: read.append(file) or digest(file))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: ref.local(root), range(8)))

    assert len(read) == 1


@DAMAGES
def test_a_damaged_file_is_not_copied(any_root, tmp_path, damage):
    ref = refs.store(file_of(b"rows", tmp_path), "tables/things", "things", 3, any_root)
    ref.local(any_root)
    damage(any_root, ref.path)

    with pytest.raises(DamagedError, match=ref.path):
        refs.copy(ref, "exports/things.bin", any_root)
    assert not any_root.exists("exports/things.bin")


def test_a_ref_of_bytes_has_their_digest_and_size():
    assert refs.ref_of("page", "page.html", b"<p>") == refs.Ref(
        "page", "page.html", hashlib.sha256(b"<p>").hexdigest(), 0, 3
    )
