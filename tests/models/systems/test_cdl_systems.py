"""The CDL family."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.cdl.network import CDL, comparison_loss, doublet_loss, softmax_loss
from models.community import Community
from models.settings.cdl import ComparedSettings
from models.settings.inputs import InputConfig
from models.settings.names import configure
from models.settings.network import CDLConfig
from models.systems.base import SYSTEMS
from models.systems.cdl import image_inputs, sample_triplets
from tests.models.systems.contract import NUM_IMAGES, NUM_USERS, SystemContract, two_tastes

FAMILY = ["cdl", "cdl_hinge", "twonets"]
RED, BLUE = 0, NUM_USERS - 1  # a user of each taste
NO_IMAGE_HAS_IT = np.zeros((NUM_IMAGES, 4), np.float32)


class TestCDL(SystemContract):
    system = "cdl"
    settings = {"training.epochs": 6}


class TestSoftmax(SystemContract):
    system = "cdl"
    settings = {"training.epochs": 6, "model.loss": "softmax"}


class TestFeaturesSeen(SystemContract):
    system = "cdl"
    settings = {"training.epochs": 6, "inputs.sees": "features"}


class TestHinge(SystemContract):
    system = "cdl_hinge"
    settings = {"training.epochs": 6}


class TestTwoNets(SystemContract):
    system = "twonets"
    settings = {"training.epochs": 6}


def all_alike() -> Community:
    """No tag tells the tastes apart, nobody is in a group, and a red user follows a blue one."""
    nothing_UT, nothing_IT = csr_array((NUM_USERS, 8)), csr_array((NUM_IMAGES, 8))
    following = csr_array(([1.0], ([RED], [BLUE])), shape=(NUM_USERS, NUM_USERS))
    return replace(
        two_tastes().without("groups"), interests_UT=nothing_UT, image_labels_IT=nothing_IT, contacts_UU=following
    )


def negatives_of(user: int, community: Community, *, social: bool) -> set[int]:
    settings = configure(
        ComparedSettings, {"triplets.per_user": 400, "triplets.pool_images": 0, "negatives.social": social}
    )
    sampled = sample_triplets(community, np.ones(NUM_IMAGES, bool), settings)
    return set(sampled.negative[sampled.user == user].tolist())


def test_social_negatives_never_are_favorites_of_a_contact_and_plain_ones_are_all_that_is_no_favorite():
    community = all_alike()
    own, contacts = (set(community.favorites_UI[[user]].indices.tolist()) for user in (RED, BLUE))

    everything = set(range(NUM_IMAGES))
    assert negatives_of(RED, community, social=True) == everything - own - contacts
    assert negatives_of(RED, community, social=False) == everything - own


def test_negatives_without_the_social_assignment_may_carry_a_tag_of_interest():
    drawn = negatives_of(RED, two_tastes(), social=False)

    assert any(image < NUM_IMAGES // 2 for image in drawn)  # red images, whose tags the user has
    assert all(image >= NUM_IMAGES // 2 for image in negatives_of(RED, two_tastes(), social=True))


def test_twonets_loss_is_the_cross_entropy_of_the_sigmoid_of_each_distance():
    torch.manual_seed(0)
    network = CDL(CDLConfig(loss="doublets"), (5,), 3).eval()
    images, profiles = np.random.default_rng(0).random((4, 5)), np.random.default_rng(1).random((2, 3))
    triplets = np.array([[0, 1, 3], [1, 0, 2], [1, 0, 3]])
    images, profiles, rows = (torch.from_numpy(array) for array in (images, profiles, triplets))

    π, φ = network.image_tower(images).detach().numpy(), network.user_tower(profiles).detach().numpy()
    w, losses = network.weight_d.detach().numpy(), []
    for user, favorite, negative in triplets:
        for image, label in ((favorite, 0), (negative, 1)):  # as in Eq. 4, 0 is near
            P = 1 / (1 + np.exp(-w @ (φ[user] - π[image]) ** 2))
            losses.append(-label * np.log(P) - (1 - label) * np.log(1 - P))
    assert network(images, profiles, rows).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_softmax_compares_a_favorite_with_all_negatives_of_its_user():
    near, far, user = np.array([0.5, 900.0, 1.0]), np.array([1.5, 899.0, 0.2]), np.array([0, 1, 0])

    given = softmax_loss(*(torch.from_numpy(array) for array in (near, far, user)), 3)
    of_user_0 = [np.log(1 + np.exp(d) * (np.exp(-1.5) + np.exp(-0.2))) for d in (0.5, 1.0)]
    assert given.item() == pytest.approx((of_user_0[0] + of_user_0[1] + np.log(1 + np.e)) / 3, rel=1e-4)


def test_with_one_negative_a_user_softmax_is_cross_entropy():
    near, far = torch.tensor([0.3, 2.0]), torch.tensor([1.0, -1.0])

    given = softmax_loss(near, far, torch.tensor([0, 1]), 2)
    torch.testing.assert_close(given, comparison_loss(near - far, CDLConfig()))


def test_doublets_are_indifferent_between_near_and_far_at_distance_zero():
    assert doublet_loss(torch.zeros(2), torch.zeros(2)).item() == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("lacking", "shape"),
    [
        ([], (32, 32, 3)),
        (["pixels"], (16,)),
        (["pixels", "features"], (8,)),
        (["pixels", "features", "tags"], (NUM_USERS,)),  # as many singular vectors as there are users
    ],
)
def test_images_are_seen_by_the_first_of_pixels_features_tag_clusters_and_favorites(lacking, shape):
    inputs = image_inputs(two_tastes().without(*lacking), InputConfig(), seed=0)

    assert inputs.shape == shape
    assert inputs.gather(np.array([3, 1])).shape == (2, *shape)


@pytest.mark.parametrize(("lacking", "shape"), [([], (16,)), (["features"], (32, 32, 3))])
def test_features_are_seen_in_the_place_of_pixels_where_that_is_set_and_there_are_any(lacking, shape):
    assert image_inputs(two_tastes().without(*lacking), InputConfig(sees="features"), seed=0).shape == shape


def test_an_input_that_few_images_have_gives_way_to_one_that_most_have():
    community = replace(two_tastes().without("pixels", "tags"), features_If=NO_IMAGE_HAS_IT)
    features = NO_IMAGE_HAS_IT.copy()
    features[: NUM_IMAGES // 3] = 1

    for given in (NO_IMAGE_HAS_IT, features):
        inputs = image_inputs(replace(community, features_If=given), InputConfig(), seed=0)
        np.testing.assert_array_equal(inputs.has_I, community.popularity_I > 0)


@pytest.mark.parametrize("lacking", [["pixels"], ["pixels", "features"], ["pixels", "features", "tags"]])
@pytest.mark.parametrize("name", FAMILY)
def test_any_input_tells_the_tastes_apart_and_images_without_it_cannot_be_scored(name, lacking):
    community = two_tastes().without(*lacking)
    favorites_UI = csr_array(community.favorites_UI.toarray() * (np.arange(NUM_IMAGES) != 5))
    features, bags = community.features_If, csr_array(np.diag(np.arange(NUM_IMAGES) != 5) @ community.image_bags_IC)
    if features is not None:
        features = features * (np.arange(NUM_IMAGES) != 5)[:, None]
    known = replace(community, favorites_UI=favorites_UI, features_If=features, image_bags_IC=bags)
    system = SYSTEMS[name](configure(SYSTEMS[name].Config, {"training.epochs": 30}))
    system.fit(known)
    scores = system.score(np.arange(NUM_USERS))

    assert np.isneginf(scores[:, 5]).all()
    others = np.delete(scores, 5, axis=1)
    assert np.isfinite(others).all()
    red_before_blue = others[:, : NUM_IMAGES // 2 - 1].mean(axis=1) - others[:, NUM_IMAGES // 2 - 1 :].mean(axis=1)
    assert (red_before_blue[: NUM_USERS // 2] > 0).all()
    assert (red_before_blue[NUM_USERS // 2 :] < 0).all()


@pytest.mark.parametrize("lacking", [[], ["pixels", "features", "tags"]])
@pytest.mark.parametrize("name", FAMILY)
def test_without_any_favorite_everything_is_still_defined(name, lacking):
    nobody = csr_array((NUM_USERS, NUM_IMAGES), dtype=np.float32)
    system = SYSTEMS[name]()
    system.fit(replace(two_tastes().without(*lacking), favorites_UI=nobody))

    assert not np.isnan(system.score(np.arange(3))).any()


@pytest.mark.parametrize("name", FAMILY)
def test_settings_that_leave_nobody_to_train_on_are_named(name):
    nobody = configure(SYSTEMS[name].Config, {"training_users.min_clusters": 80, "training_users.max_clusters": 280})

    with pytest.raises(ValueError, match=r"no user has 80 to 280 clusters \(here users have 4 to 4\)"):
        SYSTEMS[name](nobody).fit(two_tastes())


def test_training_leaves_the_global_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    SYSTEMS["cdl"](configure(ComparedSettings, {"training.epochs": 1})).fit(two_tastes())

    torch.testing.assert_close(torch.rand(3), expected)
