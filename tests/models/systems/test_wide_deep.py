"""Wide & Deep."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models.settings.wide_deep import WideDeepConfig
from models.systems.base import pack_sparse
from models.systems.wide_deep import Network, WideDeep, hash_crosses
from tests.models.systems.cold_images import COLD, with_cold_images
from tests.models.systems.contract import NUM_IMAGES, NUM_USERS, SystemContract, two_tastes

SMALL = {"k": 8, "hidden": 16, "last_hidden": 8, "epochs": 30, "batch_favorites": 64, "learning_rate": 0.01}


class TestWideDeep(SystemContract):
    system = "wide_deep"
    settings = SMALL


@pytest.fixture(scope="module")
def network() -> Network:
    """A network all of whose weights count, for a community with cold images and an image without owner."""
    community = with_cold_images()
    community.owner_I[2] = -1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(community, WideDeepConfig(**SMALL))
        for weight in network.parameters():
            torch.nn.init.normal_(weight)
    return network.requires_grad_(False)


def test_a_logit_is_that_of_the_wide_and_the_deep_part(network: Network) -> None:
    weights = {name: weight.numpy() for name, weight in network.named_parameters()}
    tags_UV, tags_IV = network.tags_UV.toarray(), network.tags_IV.toarray()
    for user, image in ((0, 0), (5, 2), (23, 40), (1, 5)):  # 2 has no owner; 5 and 40 are cold
        for has_id in (True, False):
            is_known = has_id and image not in COLD
            owner = network.owner_I[image]
            cross = hash_crosses(np.array([user]), np.array([owner]), len(weights["owner_crosses"]))[0]
            wide = tags_UV[user] @ weights["tag_crosses"] @ tags_IV[image] + weights["owner_crosses"][cross]
            wide += weights["user_bias"][user] + weights["owner_bias"][owner] + is_known * weights["image_bias"][image]
            content = np.append(tags_IV[image] @ weights["tag"], network.features_If[image])
            hidden = weights["from_user.weight"] @ np.append(weights["user"][user], tags_UV[user] @ weights["tag"])
            hidden = hidden + weights["from_user.bias"] + weights["from_content.weight"] @ content
            hidden += is_known * (weights["from_id.weight"] @ weights["image"][image])
            last = np.maximum(weights["last.weight"] @ np.maximum(hidden, 0) + weights["last.bias"], 0)
            expected = wide + weights["out.weight"][0] @ last
            logit = network(np.array([user]), np.array([[image]]), np.array([[has_id]])).item()
            assert logit == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_scores_are_the_logits_less_the_bias_of_the_user(network: Network) -> None:
    system, users, images = WideDeep(), np.arange(NUM_USERS), np.arange(NUM_IMAGES)
    system.restore({**network.fitted(), **pack_sparse("tags_IV", network.tags_IV)})
    every_UI = np.tile(images, (NUM_USERS, 1))
    logits_UI = network(users, every_UI, np.ones(every_UI.shape, bool)).numpy()
    expected = logits_UI - network.user_bias.numpy()[:, None]
    np.testing.assert_allclose(system.score(users), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("id_dropout", [0.0, 1.0])
def test_pairs_without_the_images_id_teach_nothing_about_the_id(id_dropout: float) -> None:
    system = WideDeep(WideDeepConfig(**{**SMALL, "epochs": 2, "id_dropout": id_dropout}))
    system.fit(two_tastes().without("owners"))
    biases = system.state()["bias_I"]  # of the image, and of an unknown owner
    assert (np.ptp(biases) == 0) == (id_dropout == 1)


def test_scores_do_not_depend_on_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    system = WideDeep(WideDeepConfig(**{**SMALL, "epochs": 1}))
    system.fit(two_tastes())
    whole = system.score(np.arange(24))
    for floats in (1, 7 * 16, 3 * 60 * 16):
        monkeypatch.setattr("models.systems.wide_deep.HIDDEN_FLOATS", floats)
        np.testing.assert_allclose(system.score(np.arange(24)), whole, rtol=1e-4, atol=1e-5)


def test_an_image_without_favorites_is_scored_by_its_content() -> None:
    community = two_tastes()
    favorites = community.favorites_UI.toarray()
    favorites[:, [20, 50]] = 0  # one red, one blue
    system = WideDeep(WideDeepConfig(**SMALL))
    system.fit(replace(community, favorites_UI=csr_array(favorites)))
    scores = system.score(np.array([0, 23]))
    assert scores[0, 20] > scores[0, 50]
    assert scores[1, 50] > scores[1, 20]


def test_it_runs_on_favorites_alone() -> None:
    community = two_tastes().without("tags", "features", "owners")
    system = WideDeep(WideDeepConfig(**SMALL))
    system.fit(community)
    scores = system.score(np.array([0]))[0]
    assert scores[:30].mean() > scores[30:].mean()
