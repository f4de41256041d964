"""Damage below a root: a night finds it where it reads the file, computes it again, and publishes whole files."""

import hashlib
import shutil
from pathlib import Path

import pytest

from flows import settings
from flows.nightly import nightly
from storage import snapshots
from storage.roots import Root
from tasks.runtime import ledger
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
        (["tables/favorites", "tables/triplets", "shards/pixels"], MORE_EPOCHS, {"ingest", "decode-images"}),
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
