"""The concealed favorites found by a published model."""

import numpy as np
import polars as pl
import pytest

from models.settings.protocols import ProtocolConfig
from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.embeddings import IMAGE_EMBEDDINGS, USER_EMBEDDINGS
from tasks.data.concealment import conceal_favorites
from tasks.data.split import Split
from tasks.evaluation.evaluate import evaluate
from tasks.settings.concealment import ConcealmentConfig
from tasks.systems.model import Embeddings, Model, write_embeddings
from tests import world
from tests.tasks.evaluation.comparison import SMALL

HALF = world.NUM_IMAGES // 2


@pytest.fixture
def split(table: dict[str, Ref], root: Root) -> Split:
    return conceal_favorites.fn(table["favorites"], SMALL, ConcealmentConfig(), root)


def model_of_taste(table: dict[str, Ref], root: Root, images: np.ndarray) -> Model:
    """Red users score red images 1 and blue ones -1; embeddings of these images alone."""
    users = np.array([f"user{row:02d}" for row in range(world.NUM_USERS)], object)
    ids = np.array([f"image{row:02d}" for row in images], object)
    users_Ud, images_Id = (
        np.where(rows < half, 1, -1).astype(np.float32)[:, None]
        for rows, half in ((np.arange(world.NUM_USERS), world.NUM_USERS // 2), (images, HALF))
    )
    embeddings = Embeddings(
        write_embeddings(USER_EMBEDDINGS, users, users_Ud, "taste", root),
        [write_embeddings(IMAGE_EMBEDDINGS, ids, images_Id, "taste", root)],
    )
    return Model("taste", "taste", table["users"], table["images"], embeddings, None)


def figures(metrics: Ref, root: Root) -> dict[tuple[str, str, str, int], float]:
    rows = parquet.read(metrics, root).to_pylist()
    return {
        (row["system"], row["protocol"], row["metric"], row["k"]): row["value"] for row in rows if row["slice"] == "all"
    }


def test_a_model_that_knows_the_tastes_is_better_than_popularity_and_chance(table, split, root):
    model = model_of_taste(table, root, np.arange(world.NUM_IMAGES))
    value = figures(evaluate.fn(split, table["favorites"], model, root), root)

    for protocol, metric, k in (("paper", "precision", 5), ("paper_matched", "precision", 5), ("full", "ndcg", 20)):
        others = [value[name, protocol, metric, k] for name in ("popularity", "random")]
        assert value["taste", protocol, metric, k] > max(others)


def test_an_image_without_an_embedding_is_a_miss(table, split, root):
    usable = np.flatnonzero(np.arange(world.NUM_IMAGES) % 2)
    concealed = pl.DataFrame(parquet.read(split.concealed, root))
    model = model_of_taste(table, root, usable)
    value = figures(evaluate.fn(split, table["favorites"], model, root), root)

    is_usable = concealed["image_id"].str.slice(-2).cast(pl.Int32) % 2 == 1
    share = concealed.with_columns(found=is_usable).group_by("user_id").agg(pl.col("found").mean())["found"].mean()
    assert value["taste", "full", "recall", 20] == pytest.approx(share)  # fifteen usable images of each taste


def test_where_nobody_can_be_tested_there_are_no_figures(table, root):
    none = ProtocolConfig(min_favorites=50, num_concealed=5, lower_to_community=False)
    split = conceal_favorites.fn(table["favorites"], none, ConcealmentConfig(), root)
    metrics = evaluate.fn(split, table["favorites"], model_of_taste(table, root, np.arange(world.NUM_IMAGES)), root)

    assert split.concealed.rows == 0
    assert metrics.rows == 0
