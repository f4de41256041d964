"""Triplets are exact, complete, uniform, and depend on nothing but the seed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.stats import chisquare

from models.cdl import negatives
from models.cdl.negatives import assign, exclusions_of
from models.cdl.triplets import Triplets, sample
from models.community import Signals
from models.settings.negatives import NegativeConfig
from models.settings.triplets import TripletConfig

COLUMNS = ("user", "positive", "negative", "pool", "draw")


def community(users: int, images: int, seed: int, density: float = 0.05) -> Signals:
    rng = np.random.default_rng(seed)
    shapes = ((users, images), (users, 15), (images, 15), (users, users), (users, 4))
    return Signals(*(csr_array(rng.random(shape) < density) for shape in shapes))


def lonely(favorites: np.ndarray) -> Signals:
    """Favorites and nothing else."""
    users, images = favorites.shape
    rest = (csr_array(shape, dtype=bool) for shape in ((users, 0), (images, 0), (users, users), (users, 0)))
    return Signals(csr_array(favorites), *rest)


def draw(signals: Signals, config: TripletConfig, users=None, usable=None, rule=None) -> Triplets:
    usable = np.ones(signals.favorites_UI.shape[1], bool) if usable is None else usable
    return sample(signals, assign(signals, rule or NegativeConfig()), users, config, usable)


def rows(triplets: Triplets) -> np.ndarray:
    return np.column_stack([getattr(triplets, column) for column in COLUMNS])


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    users=st.integers(0, 12),
    images=st.integers(0, 70),
    density=st.sampled_from([0.02, 0.1, 0.5]),
    pool_images=st.sampled_from([0, 1, 8, 256]),
    fresh=st.sampled_from([0.0, 0.5]),
)
def test_every_user_who_can_have_triplets_has_them_and_every_negative_is_admissible(
    seed, users, images, density, pool_images, fresh
):
    signals = community(users, images, seed, density)
    usable = np.random.default_rng(seed).random(images) < 0.8
    config = TripletConfig(per_user=7, pool_images=pool_images, fresh_negatives=fresh, seed=seed)
    rule = NegativeConfig(min_negatives=5)
    triplets = draw(signals, config, usable=usable, rule=rule)

    dropped = assign(signals, rule).dropped
    free = negatives.admissible(exclusions_of(signals, rule.drop_order), np.arange(users), dropped) & usable
    favorites = signals.favorites_UI.toarray()
    assert free[triplets.user, triplets.negative].all()
    assert not favorites[triplets.user, triplets.negative].any()
    assert (favorites & usable)[triplets.user, triplets.positive].all()
    able = np.flatnonzero((favorites & usable).any(axis=1) & free.any(axis=1))
    assert triplets.user.tolist() == np.repeat(able, 7).tolist()
    assert triplets.draw.tolist() == list(range(7)) * len(able)


@pytest.mark.parametrize("pool_images", [0, 16])
def test_sampling_users_apart_and_in_any_order_gives_the_same_triplets(pool_images, monkeypatch):
    signals = community(60, 200, seed=3)
    config = TripletConfig(pool_images=pool_images, seed=5)
    together = rows(draw(signals, config))
    order = np.random.default_rng(0).permutation(60)
    monkeypatch.setattr("models.cdl.triplets.SAMPLED_USERS", 7)
    apart = np.concatenate([rows(draw(signals, config, users=part)) for part in np.array_split(order, 3)])
    assert len(together)
    np.testing.assert_array_equal(together, apart[np.lexsort((apart[:, 4], apart[:, 0]))])


def test_another_seed_gives_other_triplets():
    signals = community(20, 200, seed=3)
    first, second = (draw(signals, TripletConfig(seed=seed)) for seed in (0, 1))
    assert (first.positive != second.positive).any()
    assert (first.negative != second.negative).any()


def test_every_favorite_is_used_before_any_is_used_twice():
    favorites = np.zeros((2, 40), bool)
    favorites[0, :3], favorites[1, :30] = True, True
    triplets = draw(lonely(favorites), TripletConfig(per_user=20))
    uses = [Counter(triplets.positive[triplets.user == user].tolist()) for user in range(2)]
    assert sorted(uses[0].values()) == [6, 7, 7]
    assert set(uses[1].values()) == {1}
    assert triplets.positive[triplets.user == 1].tolist() != sorted(uses[1]), "shuffled"


def test_plain_order_draws_each_admissible_image_equally_often():
    favorites = np.zeros((1, 60), bool)
    favorites[0, ::2] = True
    triplets = draw(lonely(favorites), TripletConfig(per_user=6000, pool_images=0))
    times = np.bincount(triplets.negative, minlength=60)
    assert not times[::2].any()
    assert chisquare(times[1::2]).pvalue > 1e-3
    assert not triplets.pool.any()


def test_a_user_with_few_negatives_among_many_images_still_draws_them_all_equally_often():
    favorites = np.ones((1, 5000), bool)
    favorites[0, [7, 70, 700]] = False  # so rare that most draws end in the enumeration
    triplets = draw(lonely(favorites), TripletConfig(per_user=900, pool_images=0))
    times = np.bincount(triplets.negative)
    assert np.flatnonzero(times).tolist() == [7, 70, 700]
    assert chisquare(times[[7, 70, 700]]).pvalue > 1e-3


def test_users_with_few_negatives_draw_the_same_ones_in_blocks_of_any_size(monkeypatch):
    favorites = np.ones((5, 400), bool)
    favorites[:, [7, 70]] = False
    whole = rows(draw(lonely(favorites), TripletConfig(per_user=20, pool_images=0)))
    monkeypatch.setattr("models.cdl.triplets.ENUMERATED_CELLS", 2 * 400)
    assert np.array_equal(rows(draw(lonely(favorites), TripletConfig(per_user=20, pool_images=0))), whole)


def test_a_pool_holds_the_positives_and_negatives_of_its_triplets():
    favorites = np.random.default_rng(0).random((300, 400)) < 0.02
    favorites[:, 350:] = False
    triplets = draw(lonely(favorites), TripletConfig(pool_images=40, fresh_negatives=0.25))
    pools = range(triplets.pool.max() + 1)
    assert len(pools) == 12  # 350 favored images at 30 a pool
    positives = [set(triplets.positive[triplets.pool == pool].tolist()) for pool in pools]
    assert sum(map(len, positives)) == len(set().union(*positives)), "each favored image is a positive of one pool"
    for pool in pools:
        images = positives[pool] | set(triplets.negative[triplets.pool == pool].tolist())
        assert len(images) <= 40
    assert (triplets.negative >= 350).any(), "images that nobody favored come in fresh"


def test_where_the_pool_holds_no_negative_one_is_drawn_from_all_images():
    favorites = np.zeros((1, 50), bool)
    favorites[0, :10] = True  # the only pool holds the user's own favorites
    triplets = draw(lonely(favorites), TripletConfig(pool_images=16, fresh_negatives=0.0))
    assert len(triplets.user) == 20
    assert triplets.negative.min() >= 10


def test_images_without_an_input_stand_in_no_triplet():
    signals, usable = lonely(np.eye(4, 8, dtype=bool)), np.ones(8, bool)
    usable[[0, 7]] = False
    for pool_images in (0, 4):
        triplets = draw(signals, TripletConfig(pool_images=pool_images), usable=usable)
        assert set(triplets.user.tolist()) == {1, 2, 3}, "user 0's only favorite has no input"
        assert not {0, 7} & {*triplets.positive.tolist(), *triplets.negative.tolist()}


@pytest.mark.parametrize("wrong", [{"per_user": 0}, {"pool_images": -1}, {"fresh_negatives": 1.0}])
def test_settings_that_make_no_triplets_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TripletConfig(**wrong)
