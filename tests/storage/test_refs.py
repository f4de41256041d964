"""References to immutable files."""

import hashlib
from pathlib import Path

import pytest

from storage import refs
from storage.roots import Root


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path / "root"))


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


def test_a_file_cut_short_is_replaced(root, tmp_path):
    ref = refs.store(file_of(b"rows", tmp_path), "tables/things", "things", 3, root)
    ref.local(root).write_bytes(b"ro")
    refs.store(file_of(b"rows", tmp_path), "tables/things", "things", 3, root)

    assert ref.local(root).read_bytes() == b"rows"


def test_a_ref_of_bytes_has_their_digest_and_size():
    assert refs.ref_of("page", "page.html", b"<p>") == refs.Ref(
        "page", "page.html", hashlib.sha256(b"<p>").hexdigest(), 0, 3
    )
