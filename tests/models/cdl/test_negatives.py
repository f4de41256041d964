"""The fast assignment against a naive one, written from the paper's sentence with sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

from models.cdl.negatives import admissible, assign, exclusions_of, is_excluded
from models.community import Signals
from models.settings.negatives import NegativeConfig


def matrices(num_rows: int, num_columns: int) -> st.SearchStrategy[csr_array]:
    return arrays(np.int8, (num_rows, num_columns), elements=st.sampled_from([0, 0, 1, 3])).map(csr_array)


@st.composite
def communities(draw: st.DrawFn) -> Signals:
    users, images, tags, groups = (draw(st.integers(low, high)) for low, high in ((1, 6), (1, 9), (0, 4), (0, 3)))
    shapes = ((users, images), (users, tags), (images, tags), (users, users), (users, groups))
    return Signals(*(draw(matrices(*shape)) for shape in shapes))


def community(*, favorites, interests=None, image_tags=None, contacts=None, memberships=None) -> Signals:
    """A community from nested lists; what is left out is empty, without columns where it may be."""
    users, images = np.shape(favorites)
    empty = ((users, 0), (images, 0), (users, users), (users, 0))
    rest = (
        np.zeros(shape) if given is None else np.array(given)
        for shape, given in zip(empty, (interests, image_tags, contacts, memberships), strict=True)
    )
    return Signals(csr_array(np.array(favorites)), *(csr_array(matrix) for matrix in rest))


def random_community(users: int, images: int, seed: int) -> Signals:
    rng = np.random.default_rng(seed)
    shapes = ((users, images), (users, 12), (images, 12), (users, users), (users, 5))
    return Signals(*(csr_array(rng.random(shape) < 0.08) for shape in shapes))


def naive_exclusions(signals: Signals, user: int) -> dict[str, set[int]]:
    """Per exclusion the images that it takes from the user: CDL, section 5, word for word."""
    marked = [matrix.toarray() != 0 for matrix in vars(signals).values()]
    favorites, interests, image_tags, contacts, memberships = (
        [set(np.flatnonzero(row).tolist()) for row in rows] for rows in marked
    )
    members = [other for other, joined in enumerate(memberships) if joined & memberships[user]]
    return {
        "favorites": favorites[user],
        "tags": {image for image, tags in enumerate(image_tags) if tags & interests[user]},
        "contacts": set().union(*(favorites[contact] for contact in contacts[user])),
        "groups": set().union(*(favorites[member] for member in members)),
    }


def naive_negatives(signals: Signals, user: int, config: NegativeConfig) -> tuple[set[int], int]:
    """The user's negatives and how many exclusions fell away: the fewest that leave enough, else the most."""
    sets, images = naive_exclusions(signals, user), set(range(signals.favorites_UI.shape[1]))
    left = []
    for level in range(len(config.drop_order) + 1):
        kept = set(sets) - set(config.drop_order[:level])
        left.append(images - set().union(*(sets[name] for name in kept)))
    enough = min(config.min_negatives, max(1, int(np.ceil(config.min_share * len(images)))))
    most = max(len(negatives) for negatives in left)
    dropped = next(level for level, negatives in enumerate(left) if len(negatives) >= min(enough, most))
    return left[dropped], dropped


def assert_equals_naive(signals: Signals, config: NegativeConfig, block_bytes: int = 2**28) -> None:
    assignment = assign(signals, config, block_bytes)
    exclusions = exclusions_of(signals, config.drop_order)
    num_users, num_images = signals.favorites_UI.shape
    users, images = (index.ravel() for index in np.indices((num_users, num_images)))
    excluded = is_excluded(exclusions, users, images, assignment.dropped[users]).reshape(num_users, num_images)
    free = admissible(exclusions, np.arange(num_users), assignment.dropped)
    for user in range(num_users):
        sets = naive_exclusions(signals, user)
        negatives, dropped = naive_negatives(signals, user, config)
        assert assignment.num_favorites[user] == len(sets["favorites"])
        assert assignment.num_tagged[user] == len(sets["tags"])
        assert assignment.num_contacts[user] == len(sets["contacts"])
        assert assignment.num_groups[user] == len(sets["groups"])
        assert assignment.num_negatives[user] == len(negatives)
        assert assignment.dropped[user] == dropped
        assert (assignment.reason[user] is None) == bool(negatives)
        assert set(np.flatnonzero(~excluded[user])) == set(np.flatnonzero(free[user])) == negatives


@settings(deadline=None, max_examples=200)
@given(
    communities(),
    st.builds(
        NegativeConfig,
        min_negatives=st.integers(0, 9),
        min_share=st.floats(0, 1),
        drop_order=st.permutations(["tags", "groups", "contacts"]).flatmap(
            lambda names: st.integers(0, 3).map(lambda kept: tuple(names[:kept]))
        ),
    ),
)
def test_assignment_and_look_up_equal_the_papers_sentence(signals, config):
    assert_equals_naive(signals, config)


@pytest.mark.parametrize("block_bytes", [1, 20_000, 2**28])
@pytest.mark.parametrize("heavy", [0, 20, 1024])
def test_images_kept_as_bits_or_listed_in_blocks_of_any_size_give_the_same_assignment(block_bytes, heavy, monkeypatch):
    monkeypatch.setattr("models.cdl.negatives.HEAVY", heavy)
    assert_equals_naive(random_community(users=40, images=333, seed=1), NegativeConfig(), block_bytes)


def test_with_tags_on_every_image_the_tags_fall_away_and_the_audit_says_so():
    signals = community(
        favorites=[[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]],
        interests=[[1], [0]],
        image_tags=[[1]] * 5,
        contacts=[[0, 1], [0, 0]],
    )
    assignment = assign(signals, NegativeConfig())
    assert assignment.dropped_names().tolist() == ["tags", "none"]
    assert assignment.num_tagged.tolist() == [5, 0]
    assert assignment.num_negatives.tolist() == [3, 4]  # the contact's favorite stays excluded


def test_an_exclusion_outside_the_drop_order_never_falls_away():
    signals = community(favorites=[[1, 0, 0]], interests=[[1]], image_tags=[[1]] * 3)
    assignment = assign(signals, NegativeConfig(drop_order=("contacts",)))
    assert assignment.num_negatives.tolist() == [0]
    assert assignment.reason.tolist() == ["every image is excluded"]


def test_a_user_who_favorited_everything_has_no_negative_and_a_reason():
    assignment = assign(community(favorites=[[1, 1, 1], [0, 0, 0]]), NegativeConfig())
    assert assignment.num_negatives.tolist() == [0, 3]
    assert assignment.reason.tolist() == ["every image is a favorite", None]
    assert assignment.dropped_names().tolist() == ["none", "none"]


def test_entries_count_where_they_are_not_zero():
    favorites = csr_array((np.array([0.0, 2.5]), np.array([0, 1]), np.array([0, 2])), shape=(1, 3))
    empty = csr_array((1, 1))
    signals = Signals(favorites, csr_array((1, 0)), csr_array((3, 0)), empty, empty)
    assert assign(signals, NegativeConfig()).num_favorites.tolist() == [1]
    assert favorites.nnz == 2, "the caller's matrix stays as it was"


@pytest.mark.parametrize("drop_order", [("favorites",), ("tags", "tags"), ("tag",)])
def test_a_drop_order_with_anything_else_in_it_is_refused(drop_order):
    with pytest.raises(ValueError, match="drop_order"):
        NegativeConfig(drop_order=drop_order)
