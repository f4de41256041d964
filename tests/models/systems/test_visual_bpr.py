"""The visually-aware BPR family."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from models import bpr
from models.bpr import Step
from models.community import Community, Pixels
from models.systems.base import SYSTEMS
from models.systems.visual_bpr import CNNF, CAEConfig, DVBPRConfig, Factors, TasteConfig, Tastes
from tests.models.systems.contract import NUM_IMAGES, NUM_USERS, SIZE_PX, SystemContract, two_tastes

COLD = [5, 40, 41]  # 41 looks exactly as 40 does, 5 has neither pixels nor features
BY_CONTENT = ["vbpr", "inception", "cae", "dvbpr", "visrank", "resnet_cosine"]


class TestBPRMF(SystemContract):
    system = "bpr_mf"


class TestVBPR(SystemContract):
    system = "vbpr"


class TestCAE(SystemContract):
    system = "cae"


class TestInception(SystemContract):
    system = "inception"


class TestDVBPR(SystemContract):
    system = "dvbpr"


class TestVisRank(SystemContract):
    system = "visrank"


class TestVisRankByTheMean(SystemContract):
    system = "visrank"
    settings = {"similarity": "mean"}


class TestResNetCosine(SystemContract):
    system = "resnet_cosine"


def with_cold_images() -> Community:
    """Three images without favorites."""
    community = two_tastes()
    favorites_UI = csr_array(community.favorites_UI.toarray() * ~np.isin(np.arange(NUM_IMAGES), COLD))
    favorites_UI.eliminate_zeros()
    features = np.array(community.features_If)
    features[41], features[5] = features[40], 0
    pixels = community.pixels
    assert pixels is not None
    looks = np.array([40 if row == 41 else row for row in range(NUM_IMAGES)])
    cut = Pixels(SIZE_PX, np.arange(NUM_IMAGES) != 5, lambda rows: pixels.gather(looks[rows]))
    return replace(community, favorites_UI=favorites_UI, features_If=features, pixels=cut)


@pytest.mark.parametrize("name", BY_CONTENT)
def test_cold_images_are_scored_by_what_they_look_like(name):
    system = SYSTEMS[name]()
    system.fit(with_cold_images())
    scores = system.score(np.arange(NUM_USERS))
    np.testing.assert_allclose(scores[:, 40], scores[:, 41], rtol=1e-4, atol=1e-6)
    assert (scores[NUM_USERS // 2 :, 40].mean() > scores[: NUM_USERS // 2, 40].mean()).all()  # blue users, blue image
    assert np.isneginf(scores[:, 5]).all()
    assert np.isfinite(scores[:, np.arange(NUM_IMAGES) != 5]).all()


def test_matrix_factorisation_knows_nothing_of_cold_images():
    system = SYSTEMS["bpr_mf"]()
    system.fit(with_cold_images())
    assert np.isneginf(system.score(np.array([0, 20]))[:, COLD]).all()


@pytest.mark.parametrize("name", ["bpr_mf", *BY_CONTENT])
def test_without_any_favorite_everything_is_still_defined(name):
    nobody = csr_array((NUM_USERS, NUM_IMAGES), dtype=np.float32)
    system = SYSTEMS[name]()
    system.fit(replace(two_tastes(), favorites_UI=nobody))
    assert not np.isnan(system.score(np.arange(3))).any()


def test_vbpr_scores_and_regularises_as_its_equations_say():
    community = with_cold_images()
    features = np.asarray(community.features_If)
    with bpr.seeded(0):
        ranker = Factors(community, features, K=3, K_visual=2, λ=(0.1, 0.01))
        torch.nn.init.normal_(ranker.biases)
    step = Step(np.array([7, 41, 30]), np.array([2, 9]), np.array([0, 2]), np.array([1, 1]))
    weights = {name: value.detach().numpy() for name, value in ranker.named_parameters()}
    E, visual_bias = weights["looks"][:, :2], weights["looks"][:, 2]
    expected = 0.0
    for user, positive, negative in [(2, 7, 41), (9, 30, 41)]:
        gamma, theta = weights["tastes"][user, :3], weights["tastes"][user, 3:]
        x, own = [], gamma @ gamma + theta @ theta
        for image in (positive, negative):
            latent, bias = weights["factors"][image], weights["biases"][image, 0]
            if image in COLD:
                latent, bias = latent * 0, 0
            x.append(bias + gamma @ latent + theta @ (E.T @ features[image]) + visual_bias @ features[image])
            own += latent @ latent + bias**2
        expected += np.log1p(np.exp(x[1] - x[0])) + 0.1 * own
    expected = expected / 2 + 0.01 * (weights["looks"] ** 2).sum()
    assert bpr.objective(ranker, step).item() == pytest.approx(expected, rel=1e-4)


def test_an_image_without_favorites_has_the_bias_of_those_with_the_fewest():
    community = with_cold_images()
    with bpr.seeded(0):
        ranker = Factors(community, np.asarray(community.features_If), K=3, K_visual=2, λ=(0.1, 0.01)).eval()
        torch.nn.init.normal_(ranker.biases)
    fewest = community.popularity_I[community.popularity_I > 0].min()
    expected = ranker.biases[torch.from_numpy(community.popularity_I == fewest)].mean().item()
    assert ranker.images(np.array(COLD))[:, -1].tolist() == pytest.approx([expected] * len(COLD), rel=1e-5)
    assert ranker.images(np.array([7]))[0, -1] == ranker.biases[7, 0]


@pytest.mark.parametrize("name", ["vbpr", "inception", "cae", "dvbpr"])
def test_images_without_favorites_are_never_learned_as_negatives(name, monkeypatch):
    learned, objective = [], bpr.objective

    def noting(ranker: bpr.Ranker, step: Step) -> torch.Tensor:
        learned.append(step.images_P)
        return objective(ranker, step)

    monkeypatch.setattr(bpr, "objective", noting)
    SYSTEMS[name]().fit(with_cold_images())
    assert learned
    assert not np.isin(COLD, np.concatenate(learned)).any()


def test_tastes_are_compared_and_regularised_as_seed_001_says():
    inputs = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    with bpr.seeded(0):
        layer = torch.nn.Linear(6, 3)
        ranker = Tastes(5, layer, lambda rows: inputs[rows], TasteConfig(K=3, lambda_u=1.0, lambda_theta=0.001))
    step = Step(np.array([3, 1]), np.array([4]), np.array([1]), np.array([0]))
    theta, W, b = ranker.theta[4].detach().numpy(), layer.weight.detach().numpy(), layer.bias.detach().numpy()
    x_uij = theta @ (W @ inputs[1] + b) - theta @ (W @ inputs[3] + b)
    expected = np.log1p(np.exp(-x_uij)) + theta @ theta + 0.001 * ((W**2).sum() + (b**2).sum())
    assert bpr.objective(ranker, step).item() == pytest.approx(expected, rel=1e-4)


def test_training_from_pixels_embeds_each_picture_once_an_epoch_and_once_at_the_end():
    community, asked = two_tastes(), []
    pixels = community.pixels
    assert pixels is not None

    def gather(rows: np.ndarray) -> np.ndarray:
        asked.extend(rows.tolist())
        return pixels.gather(rows)

    system = SYSTEMS["dvbpr"](DVBPRConfig(epochs=3, pool_images=16))
    system.fit(replace(community, pixels=replace(pixels, gather=gather)))
    assert sorted(asked) == sorted(list(range(NUM_IMAGES)) * 4)


def test_a_side_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(ValueError, match="size_px 40 is no multiple of 16"):
        CAEConfig(size_px=40)


def test_cnn_f_has_the_papers_layers_and_k_outputs():
    with torch.device("meta"):
        network = CNNF(DVBPRConfig(network="cnn_f", size_px=224, K=50))
    shapes = [tuple(value.shape) for name, value in network.named_parameters() if name.endswith("weight")]
    assert shapes == [
        (64, 3, 11, 11), (256, 64, 5, 5), (256, 256, 3, 3), (256, 256, 3, 3), (256, 256, 3, 3),
        (4096, 256 * 7 * 7), (4096, 4096), (50, 4096),
    ]  # fmt: skip


def test_cnn_f_trains_on_pictures_of_its_size():
    system = SYSTEMS["dvbpr"](DVBPRConfig(network="cnn_f", size_px=64, epochs=1))
    system.fit(two_tastes())
    assert np.isfinite(system.score(np.arange(2))).all()


@pytest.mark.parametrize("similarity", ["max", "mean"])
def test_visrank_is_the_similarity_to_the_favorites(similarity):
    community = with_cold_images()
    system = SYSTEMS["visrank"](SYSTEMS["visrank"].Config(similarity=similarity))
    system.fit(community)
    scores = system.score(np.arange(NUM_USERS))
    features = np.asarray(community.features_If)
    for user in (0, 3, 15):
        favorites = [image for image in community.favorites_UI[[user]].indices if features[image].any()]
        for image in (0, 17, 41):
            cosines = [
                features[image] @ features[liked] / np.linalg.norm(features[image]) / np.linalg.norm(features[liked])
                for liked in favorites
            ]
            assert scores[user, image] == pytest.approx(getattr(np, similarity)(cosines), abs=1e-5)


def test_the_most_similar_favorite_is_the_same_whatever_fits_in_memory(monkeypatch):
    system = SYSTEMS["visrank"]()
    system.fit(with_cold_images())
    whole = system.score(np.arange(NUM_USERS))
    monkeypatch.setattr("models.systems.visual_bpr.GATHERED_CELLS", 1)
    np.testing.assert_allclose(system.score(np.arange(NUM_USERS)), whole, atol=1e-6)
