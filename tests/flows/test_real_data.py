"""Real communities, where TASTEGRAPH_DATA names a folder that holds them."""

import os
from pathlib import Path

import polars as pl
import pytest

from flows import settings
from flows.nightly import nightly
from storage import snapshots
from storage.roots import Root
from storage.settings.directory import IngestConfig
from storage.sources import directory
from storage.sources.table_files import SourceError

DATA = os.environ.get("TASTEGRAPH_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="TASTEGRAPH_DATA names no folder with real communities")

COMMUNITIES = ("movielens-posters", "lastfm-friends", "flickr-social", "camra-groups")


def folder(name: str) -> Path:
    path = Path(DATA or "") / name
    if not path.is_dir():
        pytest.skip(f"TASTEGRAPH_DATA holds no {name}")
    return path


@pytest.mark.parametrize("name", COMMUNITIES)
def test_a_real_community_is_ingested_without_losing_a_row(name):
    community = directory.ingest(Root(str(folder(name))), IngestConfig())

    assert community.quarantine.is_empty()
    assert community.tables["favorites"].height > 40_000


def test_a_community_without_images_and_favorites_is_refused():
    with pytest.raises(SourceError, match="no table images and no favorites"):
        directory.ingest(Root(str(folder("blogcatalog-social"))), IngestConfig())


def test_a_community_with_neither_tags_nor_pixels_gets_lists_made_from_favorites_and_groups(prefect_server, tmp_path):
    source, root = folder("camra-groups"), Root(str(tmp_path))
    config = settings.validate({"model": {"system": "cdl", "refit": False}, "training": {"epochs": 1}})
    published = nightly(str(source), str(tmp_path), config)
    manifest = snapshots.manifest(root, published.run_id)
    lists = pl.read_parquet(snapshots.dataset(root, snapshots.current(root), "recommendations"))

    assert manifest.image_input == "favorites"
    favorites = pl.read_parquet(source / "favorites.parquet")
    assert lists["user_id"].n_unique() == favorites["user_id"].n_unique()
    assert lists.join(favorites, on=["user_id", "image_id"], how="semi").is_empty()
    audit = manifest.comparable["thresholds"]
    assert (audit["num_concealed"], audit["num_others"]) == (20, 80)
