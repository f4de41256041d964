"""The reasons for the first places of each list."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.embeddings import USER_EMBEDDINGS
from tasks.data.community import CommunityTables
from tasks.settings.lists import RecommendConfig
from tasks.systems.embed import embed_system
from tasks.systems.explain import Evidence, explain
from tasks.systems.fit import fit_system
from tasks.systems.lists import ListRequest
from tasks.systems.model import Fitted, Model, write_embeddings
from tasks.systems.recommend import recommend

SMALL = {"dimensions": 16, "factor_dimensions": 8, "tower_dimensions": 8, "tower_steps": 20}


@pytest.fixture
def fitted(table: dict[str, Ref], root: Root) -> Fitted:
    return fit_system.fn("tastegraph", "1", SMALL, 0, CommunityTables(table, table["favorites"]), root)


@pytest.fixture
def model(fitted: Fitted, table: dict[str, Ref], root: Root) -> Model:
    return embed_system.fn(fitted, table["users"], table["images"], root)


def explained(model: Model, fitted: Fitted, table: dict[str, Ref], root: Root) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The lists, and the reasons for their first four places."""
    lists = recommend.fn(0, ListRequest(model, table["favorites"], None, None), RecommendConfig(), root, None).exported
    evidence = Evidence.of(fitted, table["users"], table)
    return pl.DataFrame(parquet.read(lists, root)), pl.DataFrame(
        parquet.read(explain.fn(lists, model, evidence, 4, root), root)
    )


def test_the_shares_of_each_first_place_sum_to_its_score(table, root, fitted, model):
    lists, reasons = explained(model, fitted, table, root)
    place = ["user_id", "rank", "image_id"]
    sums = reasons.group_by(place).agg(pl.col("share").sum()).sort(place)
    first = lists.filter(pl.col("rank") <= 4).sort(place)
    assert sums.select(place).equals(first.select(place))
    np.testing.assert_allclose(sums["share"].to_numpy(), first["score"].to_numpy(), rtol=1e-4, atol=1e-5)
    assert reasons["signal"].n_unique() > 1


def test_behind_each_signal_stands_what_user_and_image_have_in_common(table, root, fitted, model):
    _, reasons = explained(model, fitted, table, root)
    tables = {name: pl.DataFrame(parquet.read(table[name], root)) for name in table}
    liked = tables["favorites"].select("user_id", because="image_id")
    by_favorites = reasons.filter(pl.col("signal") == "favorites")
    assert by_favorites.join(liked, on=["user_id", "because"], how="anti").is_empty()
    known = {
        "tags": tables["user_tags"].select("user_id", because="tag"),
        "contacts": tables["contacts"].select("user_id", because="contact_id"),
        "groups": tables["memberships"].select("user_id", because="group_id"),
        "owners": tables["images"].select("image_id", because="owner_id"),
    }
    for signal, pairs in known.items():
        named = reasons.filter((pl.col("signal") == signal) & pl.col("because").is_not_null())
        assert named.join(pairs, on=list(set(pairs.columns)), how="anti").is_empty()
    assert reasons.filter(pl.col("because").is_not_null())["signal"].n_unique() > 1


def test_a_user_whose_vector_has_moved_since_owes_all_of_the_score_to_favorites(table, root, fitted, model):
    exported = pl.DataFrame(parquet.read(model.embeddings.users, root))
    vectors = np.array(exported["embedding"].to_list(), np.float32)
    vectors[3] = vectors[20]
    moved = write_embeddings(USER_EMBEDDINGS, exported["user_id"].to_numpy(), vectors, "m", root)
    model = replace(model, embeddings=replace(model.embeddings, users=moved))
    _, reasons = explained(model, fitted, table, root)
    assert set(reasons.filter(pl.col("user_id") == "user03")["signal"]) == {"favorites"}
    assert len(set(reasons.filter(pl.col("user_id") == "user06")["signal"])) > 1


def test_a_system_that_is_no_sum_over_signals_gives_no_reasons(table, root):
    fitted = fit_system.fn("als", "1", {"factors": 4}, 0, CommunityTables(table, table["favorites"]), root)
    model = embed_system.fn(fitted, table["users"], table["images"], root)
    assert explained(model, fitted, table, root)[1].is_empty()
