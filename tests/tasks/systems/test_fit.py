"""A system is fitted, saved, and published by its embeddings, or by its state where it has none."""

import numpy as np
import pytest

from models.systems.base import SYSTEMS
from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from tasks.data.community import CommunityTables, read_community
from tasks.systems.embed import embed_system
from tasks.systems.fit import fit_system
from tasks.systems.model import Model
from tasks.systems.restore import make_system, restore
from tasks.systems.scoring import read_scorer


def published(name: str, table: dict[str, Ref], root: Root) -> Model:
    fitted = fit_system.fn(name, "1", {}, 0, CommunityTables(table, table["favorites"]), root)
    return embed_system.fn(fitted, table["users"], table["images"], root)


def test_a_restored_system_scores_as_the_fitted_one(table, root):
    tables = CommunityTables(table, table["favorites"])
    fitted = fit_system.fn("itemknn", "1", {}, 0, tables, root)
    system = make_system("itemknn", {})
    system.fit(read_community(tables, root).community)

    everybody = np.arange(24)
    assert np.array_equal(restore(fitted, root).score(everybody), system.score(everybody))


def test_a_system_that_lacks_a_signal_is_refused(table, root, monkeypatch):
    monkeypatch.setattr(SYSTEMS["popularity"], "needs", ("pixels",))
    with pytest.raises(ValueError, match="popularity needs pixels, which the source does not have; choose another"):
        fit_system.fn("popularity", "1", {}, 0, CommunityTables(table, table["favorites"]), root)


def test_the_exported_embeddings_give_the_systems_scores(table, root):
    model = published("popularity", table, root)
    vectors = read_scorer(model, root).vectors
    images = parquet.read(table["favorites"], root)["image_id"].to_numpy()
    popularity_I = np.array([(images == f"image{row:02d}").sum() for row in range(60)])

    assert model.fitted is None
    assert model.label.startswith("popularity-")
    scores_UI = vectors.users_Ud @ vectors.images_Id.T
    assert np.array_equal(np.argsort(-scores_UI[0], kind="stable"), np.argsort(-popularity_I, kind="stable"))
    assert set(parquet.read(model.embeddings.users, root)["model"].to_pylist()) == {model.label}


def test_a_system_without_vectors_is_published_by_its_state(table, root, popularity_without_vectors):
    model, by_vectors = (published(name, table, root) for name in (popularity_without_vectors, "popularity"))
    scorer, vectors = read_scorer(model, root), read_scorer(by_vectors, root).vectors

    assert (model.embeddings.users.rows, model.embeddings.images[0].rows) == (0, 0)
    assert "not an inner product" in model.score_meaning
    assert np.allclose(scorer.score(np.arange(24)), vectors.users_Ud @ vectors.images_Id.T)
