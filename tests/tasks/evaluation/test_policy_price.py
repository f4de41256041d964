"""What a rule of the policy costs, measured on concealed favorites."""

import numpy as np
import polars as pl
import pytest

from flows.lists import policy_of
from storage import parquet
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import BLOCKED_IMAGES, IMAGES
from tasks.data.concealment import conceal_favorites
from tasks.data.split import Split
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.policy_price import metrics_of, price_policy
from tasks.settings.concealment import ConcealmentConfig
from tasks.settings.lists import PolicyConfig
from tests import world
from tests.tasks.evaluation.comparison import SMALL
from tests.tasks.evaluation.test_evaluate import figures, model_of_taste


@pytest.fixture
def split(table: dict[str, Ref], root: Root) -> Split:
    return conceal_favorites.fn(table["favorites"], SMALL, ConcealmentConfig(), root)


def test_a_rule_that_takes_out_what_a_user_likes_costs_and_one_that_does_not_is_free(table, split, root):
    model = model_of_taste(table, root, np.arange(world.NUM_IMAGES))
    concealed = pl.DataFrame(parquet.read(split.concealed, root))
    loved = concealed.group_by("image_id").len().sort("len", "image_id", descending=True)["image_id"][:6]
    table["blocked_images"] = parquet.write(BLOCKED_IMAGES, {"image_id": loved}, root)
    policy = policy_of(table, [], PolicyConfig(muted_tags=("unheard",), own_uploads=True))
    prices = {price.rule: price for price in price_policy.fn(split, model, policy, root)}
    metrics = figures(evaluate.fn(split, table["favorites"], model, root), root)

    assert prices.keys() == {"no rule", "blocked images", "muted tags", "all rules"}
    assert prices["no rule"].value == pytest.approx(metrics["taste", "full", "ndcg", 20])
    assert (prices["muted tags"].difference, prices["muted tags"].users_changed) == (0, 0)
    assert prices["blocked images"].difference < 0
    assert prices["blocked images"].difference_high < 0
    assert prices["blocked images"].ruled_out == concealed["image_id"].is_in(loved.implode()).sum()
    assert prices["all rules"].value == prices["blocked images"].value


def test_concealed_favorites_that_are_own_uploads_are_counted(table, split, root):
    owners = pl.DataFrame(parquet.read(split.concealed, root)).unique("image_id").sort("image_id")
    images = pl.DataFrame(parquet.read(table["images"], root)).drop("owner_id")
    images = images.join(owners.select("image_id", owner_id="user_id"), on="image_id", how="left")
    table["images"] = parquet.write(IMAGES, images, root)
    model = model_of_taste(table, root, np.arange(world.NUM_IMAGES))
    _, own = price_policy.fn(split, model, policy_of(table, [], PolicyConfig()), root)

    assert own.rule == "own uploads"
    assert own.ruled_out == owners.height
    assert own.users_changed > 0
    assert f"{owners.height} of {split.concealed.rows} concealed favorites ruled out" in own.line


def test_a_limit_per_owner_and_diversity_have_a_price_too(table, split, root):
    model = model_of_taste(table, root, np.arange(world.NUM_IMAGES))
    policy = policy_of(table, [], PolicyConfig(own_uploads=True, max_of_owner=1, diversity=0.9))
    prices = price_policy.fn(split, model, policy, root)

    assert [price.rule for price in prices] == ["no rule", "images of one owner", "diversity", "all rules"]
    assert prices[1].users_changed > 0
    assert prices[2].users_changed > 0
    assert {(row["protocol"], row["slice"]) for row in metrics_of(prices, "taste")} == {
        ("policy", price.rule) for price in prices
    }


def test_without_a_rule_or_a_test_user_there_is_no_price(table, split, root):
    model = model_of_taste(table, root, np.arange(world.NUM_IMAGES))

    assert price_policy.fn(split, model, policy_of(table, [], PolicyConfig(own_uploads=True)), root) == []
