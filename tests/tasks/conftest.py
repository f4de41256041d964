"""The tiny world as ingested tables below a root, and a system without embeddings."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from models.systems.base import SYSTEMS, Vectors
from storage.refs import Ref
from storage.roots import Root
from storage.settings.directory import IngestConfig
from tasks.data.ingest import ingest
from tests import world


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(str(tmp_path / "root"))


@pytest.fixture
def table(root: Root, tmp_path: Path) -> dict[str, Ref]:
    """The tables by name, with titles and owners of images, and no pictures."""
    source = world.write_source(tmp_path / "source")
    (source / "images.parquet").unlink()
    pl.DataFrame(
        {
            "image_id": [f"image{number:02d}" for number in range(world.NUM_IMAGES)],
            "title": [f"{'A red' if number < 30 else 'Blue'} ({1979 + number % 2})" for number in range(60)],
            "owner_id": [f"user{number % 24:02d}" if number else None for number in range(60)],
        }
    ).write_parquet(source / "images.parquet")
    return ingest.fn(Root(str(source)), "1", IngestConfig(), False, root).tables


@pytest.fixture
def popularity_without_vectors() -> Iterator[str]:
    class Plain(SYSTEMS["popularity"]):  # type: ignore[misc, name-defined]
        name = "plain"

        @property
        def vectors(self) -> Vectors | None:
            return None

    yield "plain"
    SYSTEMS.pop("plain")
