"""The table of training triplets."""

import polars as pl

from models.settings.negatives import NegativeConfig
from models.settings.triplets import TrainingUsersConfig, TripletConfig
from storage import parquet
from tests.tasks.cdl.conftest import LIKES


def triplets(chain, **how) -> pl.DataFrame:
    return pl.DataFrame(parquet.read(chain.sample(**how), chain.root))


def test_each_triplet_is_a_user_a_favorite_and_an_assigned_negative_with_an_input(chain):
    rows = triplets(chain)
    allowed = {"u0": {"i2", "i3", "i6"}, "u1": {"i0", "i3", "i4"}, "u2": {"i0", "i1", "i2", "i3", "i6"}}
    allowed["u3"] = {"i0", "i4"}  # not i3, which has the tag of an interest; i7 has no input

    assert rows.group_by("user_id").len().sort("user_id")["len"].to_list() == [5, 5, 5, 5]
    for user, positive, negative in rows.select("user_id", "positive_id", "negative_id").rows():
        assert positive in LIKES[user]
        assert negative in allowed[user]


def test_users_with_too_few_or_too_many_clusters_are_not_trained_on(chain):
    assert set(triplets(chain, users=TrainingUsersConfig(min_clusters=2))["user_id"]) == {"u3"}
    assert set(triplets(chain, users=TrainingUsersConfig(max_clusters=1))["user_id"]) == {"u0", "u1", "u2"}


def test_without_the_social_assignment_a_contacts_favorite_may_be_a_negative(chain):
    many = TripletConfig(per_user=100, pool_images=0)
    rows = triplets(chain, negatives=NegativeConfig(social=False), triplets=many)

    assert set(rows.filter(user_id="u0")["negative_id"]) == {"i2", "i3", "i4", "i5", "i6"}
