"""Favorites that stay concealed for as long as a model is kept."""

import polars as pl
import pytest

from models.protocols import ProtocolConfig
from storage import parquet, tables
from storage.roots import Root
from tasks.split import conceal_favorites, keep_concealed

CONFIG = ProtocolConfig(min_favorites=4, num_concealed=2, num_others=4, max_k=2, lower_to_community=False)


def favorites(pairs: list[tuple[str, str]], root: Root):
    rows = pl.DataFrame(pairs, schema=["user_id", "image_id"], orient="row")
    return parquet.write(tables.FAVORITES, rows.with_columns(favorited_at=pl.lit(None, pl.Datetime("ms", "UTC"))), root)


def pairs_of(ref, root: Root) -> set[tuple[str, str]]:
    return set(parquet.scan(ref, root).select("user_id", "image_id").collect().rows())


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


@pytest.fixture
def everything() -> list[tuple[str, str]]:
    return [(f"u{user}", f"i{image}") for user in range(3) for image in range(6)]


def test_on_the_same_favorites_the_split_is_the_same(root, everything):
    table = favorites(everything, root)
    drawn = conceal_favorites.fn(table, CONFIG, root)

    assert keep_concealed.fn(table, drawn.concealed, drawn.thresholds, root) == drawn


def test_new_favorites_are_learned_and_whoever_lost_a_concealed_one_is_not_tested_any_more(root, everything):
    drawn = conceal_favorites.fn(favorites(everything, root), CONFIG, root)
    concealed = pairs_of(drawn.concealed, root)
    lost = min(concealed)
    tonight = [pair for pair in everything if pair != lost] + [("u0", "i9"), ("u7", "i1")]
    kept = keep_concealed.fn(favorites(tonight, root), drawn.concealed, drawn.thresholds, root)

    assert pairs_of(kept.concealed, root) == {pair for pair in concealed if pair[0] != lost[0]}
    assert pairs_of(kept.training, root) == set(tonight) - pairs_of(kept.concealed, root)
