"""Favorites that stay concealed for as long as a model is kept."""

import polars as pl
import pytest

from models.settings.protocols import ProtocolConfig
from storage import parquet
from storage.roots import Root
from storage.tables.community import FAVORITES
from tasks.data.concealment import conceal_favorites, keep_concealed
from tasks.settings.concealment import ConcealmentConfig

CONFIG = ProtocolConfig(min_favorites=4, num_concealed=2, num_others=4, max_k=2, lower_to_community=False)


LATEST, RANDOM = ConcealmentConfig(), ConcealmentConfig(order="random")


def favorites(pairs: list[tuple[str, str]], root: Root, days: list[int | None] | None = None):
    rows = pl.DataFrame(pairs, schema=["user_id", "image_id"], orient="row")
    day = pl.Series("favorited_at", days or [None] * len(rows), pl.Int64)
    return parquet.write(FAVORITES, rows.with_columns((day * 86_400_000).cast(pl.Datetime("ms", "UTC"))), root)


def pairs_of(ref, root: Root) -> set[tuple[str, str]]:
    return set(parquet.scan(ref, root).select("user_id", "image_id").collect().rows())


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


@pytest.fixture
def everything() -> list[tuple[str, str]]:
    return [(f"u{user}", f"i{image}") for user in range(3) for image in range(6)]


def test_what_is_concealed_is_each_users_latest(root, everything):
    days = [(5 * image + user) % 6 for user in range(3) for image in range(6)]
    drawn = conceal_favorites.fn(favorites(everything, root, days), CONFIG, LATEST, root)

    assert drawn.order == "latest"
    wanted = {pair for pair, day in zip(everything, days, strict=True) if day >= 4}
    assert pairs_of(drawn.concealed, root) == wanted
    assert pairs_of(drawn.training, root) == set(everything) - wanted


def test_where_a_time_is_missing_or_the_paper_is_followed_any_are_concealed(root, everything):
    days: list[int | None] = list(range(len(everything)))
    by_setting = conceal_favorites.fn(favorites(everything, root, days), CONFIG, RANDOM, root)
    missing = conceal_favorites.fn(favorites(everything, root, [*days[:-1], None]), CONFIG, LATEST, root)

    assert by_setting.order == missing.order == "random"
    assert pairs_of(by_setting.concealed, root) == pairs_of(missing.concealed, root)
    assert pairs_of(by_setting.concealed, root) != {pair for pair in everything if pair[1] >= "i4"}


def test_on_the_same_favorites_the_split_is_the_same(root, everything):
    table = favorites(everything, root)
    drawn = conceal_favorites.fn(table, CONFIG, LATEST, root)

    assert keep_concealed.fn(table, drawn, root) == drawn


def test_new_favorites_are_learned_and_whoever_lost_a_concealed_one_is_not_tested_any_more(root, everything):
    drawn = conceal_favorites.fn(favorites(everything, root), CONFIG, LATEST, root)
    concealed = pairs_of(drawn.concealed, root)
    lost = min(concealed)
    current = [pair for pair in everything if pair != lost] + [("u0", "i9"), ("u7", "i1")]
    kept = keep_concealed.fn(favorites(current, root), drawn, root)

    assert pairs_of(kept.concealed, root) == {pair for pair in concealed if pair[0] != lost[0]}
    assert pairs_of(kept.training, root) == set(current) - pairs_of(kept.concealed, root)
