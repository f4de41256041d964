"""Damage below a root: a night finds it where it reads the file, computes it again, and publishes whole files."""

import hashlib
import shutil
from pathlib import Path

import pytest

from flows import settings
from flows.nightly import nightly
from storage import snapshots
from storage.documents import DocumentError
from storage.roots import Root
from tasks.runtime import ledger
from tasks.upkeep.retention import collect
from tests import world
from tests.storage.damage import flip

pytestmark = pytest.mark.usefixtures("prefect_server")

CONFIG = {**world.SETTINGS, "model": {"system": "cdl", "refit": False}}


def night(source: Path, root: Root, changes: dict | None = None):
    """One night; returns how it ended, and the stages that ran."""
    config = settings.validate({**CONFIG, **(changes or {})})
    state = nightly(str(source), root.address, config, return_state=True)
    lines = ledger.of_run(str(state.state_details.flow_run_id)).lines.values()
    return state.result(), {line.stage for line in lines if line.ran}


@pytest.fixture(scope="module")
def published(source, tmp_path_factory, prefect_server) -> Path:
    root = tmp_path_factory.mktemp("root")
    night(source, Root(str(root)))
    return root


@pytest.fixture
def root(published, tmp_path) -> Root:
    return Root(str(shutil.copytree(published, tmp_path / "root")))


def assert_is_whole(root: Root) -> None:
    """Every file that the pointer names has the bytes that its checksum promises."""
    pointer = snapshots.current(root)
    assert pointer is not None
    for path, sha256 in pointer.checksums.items():
        assert hashlib.sha256(root.read(path)).hexdigest() == sha256, path


MORE_LISTS = {"recommend": {"num_recommendations": 9, "num_similar": 4, "block_users": 16}}
MORE_EPOCHS = {"training": {"epochs": 7, "checkpoint_steps": 2}}


@pytest.mark.parametrize(
    ("kinds", "changes", "again"),
    [
        (["tables/image_embeddings", "checkpoints/looks"], MORE_LISTS, {"embed-images", "describe-looks"}),
        (["tables/favorites", "tables/triplets", "shards/pixels"], MORE_EPOCHS, {"sample-triplets", "decode-images"}),
    ],
    ids=["copied and read", "learned from"],
)
def test_a_flipped_bit_in_what_an_earlier_night_cached_is_computed_again_and_not_published(
    root, source, kinds, changes, again, caplog
):
    damaged = [next(entry.path for entry in root.entries(kind)) for kind in kinds]
    for path in damaged:
        flip(root, path)
    ended, ran = night(source, root, changes)

    assert ended.is_new
    assert again <= ran
    assert_is_whole(root)
    for path in damaged:
        assert f"{root.url(path)}: damaged, as its sha256 is" in caplog.text
        assert not root.exists(path) or root.digest(path).startswith(Path(path).stem)


def published_files(root: Root, table: str) -> list[str]:
    pointer = snapshots.current(root)
    assert pointer is not None
    return pointer.paths[table]


def test_a_night_on_unchanged_input_puts_back_what_the_current_run_has_lost(root, source):
    before = {entry.path: root.digest(entry.path) for entry in root.entries("exports")}
    (lists, *_), (users,), (images, *_) = (
        published_files(root, name) for name in ("recommendations", "user_embeddings", "image_embeddings")
    )
    page = f"{snapshots.folder(snapshots.current(root).run_id)}/report/index.html"
    root.delete(lists)
    root.delete(page)
    flip(root, users)
    for path in (images, f"tables/image_embeddings/{before[images][:24]}.parquet"):  # on most disks they are one file
        flip(root, path)
    ended, ran = night(source, root)

    assert not ended.is_new
    assert ran == {"embed-images"}
    assert {entry.path: root.digest(entry.path) for entry in root.entries("exports")} == before


def test_what_cannot_be_put_back_is_published_again_under_another_run_id(root, source):
    broken = snapshots.current(root).run_id
    root.delete(f"{snapshots.folder(broken)}/report/report.json")
    ended, ran = night(source, root)

    assert (ended.is_new, ran) == (True, {"publish"})
    assert snapshots.current(root).run_id == ended.run_id != broken
    assert_is_whole(root)


@pytest.mark.parametrize("content", [None, b""])
def test_a_current_run_whose_manifest_is_lost_survives_gc_and_the_nights_go_on(root, source, content):
    pointer = snapshots.current(root)
    manifest = f"{snapshots.folder(pointer.run_id)}/manifest.json"
    root.delete(manifest)
    if content is not None:
        root.write(manifest, content)
        with pytest.raises(DocumentError, match=r"manifest\.json: .*`tastegraph verify --repair` writes"):
            collect(root, 1)
    else:
        collect(root, 1)
        assert_is_whole(root)
        assert snapshots.current(root) == pointer
    ended, _ = night(source, root)

    assert ended.is_current
    assert_is_whole(root)
    assert snapshots.manifest(root, pointer.run_id).table_files()
