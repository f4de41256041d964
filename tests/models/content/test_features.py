"""Image features from the community's own pictures."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.content import features
from models.content.embedding import embed
from models.content.features import OwnFeatures
from models.settings.features import FeatureConfig, LearningConfig

LEARNING = LearningConfig(epochs=3, batch_images=16, size_px=16, channels=(8, 16), projection=8)
LEARNED, DESCRIBED, BOTH = (FeatureConfig(kind=kind, learning=LEARNING) for kind in ("learned", "descriptors", "both"))


def pictures(num_images: int = 48, size_px: int = 32) -> np.ndarray:
    """Noise; one half reddish, the other bluish."""
    pixels = np.random.default_rng(0).integers(0, 90, (num_images, size_px, size_px, 3), dtype=np.uint8)
    pixels[: num_images // 2, ..., 0] += 150
    pixels[num_images // 2 :, ..., 2] += 150
    return pixels


def learned(config: FeatureConfig, pixels: np.ndarray) -> OwnFeatures:
    *_, (network, _) = features.learn(lambda rows: pixels[rows], len(pixels), config)
    return network


@pytest.mark.parametrize(("config", "width"), [(LEARNED, 24), (DESCRIBED, 768), (BOTH, 792)])
def test_own_features_have_unit_norm_and_separate_red_from_blue(config, width):
    pixels = pictures()
    own = embed(learned(config, pixels), pixels, batch_images=7)
    assert own.shape == (48, width)
    np.testing.assert_allclose(np.linalg.norm(own, axis=1), 1, rtol=1e-5)
    similar = own @ own.T
    assert similar[:24, :24].mean() > similar[:24, 24:].mean() + 0.1


def test_features_of_a_picture_do_not_depend_on_the_others_of_its_batch():
    pixels = pictures()
    own = learned(BOTH, pixels)
    together = embed(own, pixels, batch_images=48)
    np.testing.assert_allclose(embed(own, pixels[[5]], batch_images=1)[0], together[5], atol=1e-5)


def test_the_same_seed_learns_the_same_and_leaves_torchs_own_randomness_alone():
    pixels = pictures()
    before = torch.get_rng_state()
    first, again = (embed(learned(LEARNED, pixels), pixels, 16) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)
    other = replace(LEARNED, learning=replace(LEARNING, seed=1))
    assert not np.array_equal(first, embed(learned(other, pixels), pixels, 16))


def test_learning_lowers_the_loss_and_yields_it_after_each_epoch():
    pixels = pictures()
    config = replace(LEARNED, learning=replace(LEARNING, epochs=12))
    losses = [loss for _, loss in features.learn(lambda rows: pixels[rows], len(pixels), config)]
    assert len(losses) == 13
    assert losses[-1] < losses[0]


def test_no_more_pictures_than_allowed_are_learned_from():
    pixels, gathered = pictures(), set()

    def gather(rows: np.ndarray) -> np.ndarray:
        gathered.update(rows.tolist())
        return pixels[rows]

    list(features.learn(gather, len(pixels), replace(BOTH, learning=replace(LEARNING, max_images=20))))
    assert len(gathered) == 20


def test_learned_features_and_descriptors_count_the_same():
    pixels = pictures()
    own = learned(BOTH, pixels)
    with torch.inference_mode():
        standard = (own.blocks(torch.from_numpy(pixels)) - own.mean) / own.std * own.weight
    varying = own.std.numpy() != 1  # a cell whose gradients never change has no information
    squares = standard.square().sum(0).numpy() / len(pixels)
    assert squares[:24].sum() == pytest.approx(1, rel=0.1)
    assert squares[24:].sum() == pytest.approx(1, rel=0.1)
    assert varying.mean() > 0.9


def test_the_contrastive_loss_is_simclrs_equation_1():
    views = functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    expected = 0.0
    for row in range(6):
        others = [math.exp(float(views[row] @ views[k]) / 0.3) for k in range(6) if k != row]
        expected -= math.log(math.exp(float(views[row] @ views[(row + 3) % 6]) / 0.3) / sum(others)) / 6
    assert float(features.contrastive_loss(views, 0.3)) == pytest.approx(expected, rel=1e-5)


def test_views_keep_the_colours_of_a_picture_but_for_one_in_five_that_is_grey():
    colours = np.random.default_rng(0).integers(0, 256, (500, 1, 1, 3), dtype=np.uint8)
    pixels = torch.from_numpy(np.broadcast_to(colours, (500, 8, 8, 3)).copy())
    views = features.augment(pixels, replace(LEARNING, jitter=0.0), torch.Generator().manual_seed(0))
    assert views.shape == (500, 3, 16, 16)
    expected = features.scaled(pixels, 16)
    is_kept = (views - expected).abs().amax((1, 2, 3)) < 1e-5
    is_grey = (views - expected.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-5
    assert (is_kept | is_grey).all()
    assert 0.15 < float(is_grey.float().mean()) < 0.25


def test_crops_show_a_part_of_the_picture_and_half_of_them_mirrored():
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None] * 4, (400, 64, 64, 3))  # brighter to the right
    config = replace(LEARNING, jitter=0.0, min_area=0.2)
    views = features.augment(torch.from_numpy(ramp.copy()), config, torch.Generator().manual_seed(0)).mean((1, 2))
    rise = views[:, -1] - views[:, 0]
    assert 0.4 < float((rise < 0).float().mean()) < 0.6
    share = rise.abs() / (2 * 63 * 4 / 255)  # of the picture's width
    assert 0.3 < float(share.min()) < 0.55
    assert float(share.max()) <= 1


def test_gradients_follow_the_edges_of_a_picture():
    stripes = np.zeros((2, 64, 64, 3), np.uint8)
    stripes[0, :, (np.arange(64) // 4) % 2 == 0] = 255  # upright: the gradient points right, orientation 0
    stripes[1, (np.arange(64) // 4) % 2 == 0] = 255  # lying: it points down, between orientations 4 and 5
    histograms = features.gradients(torch.from_numpy(stripes)).view(2, 9, 64)
    assert histograms[0].mean(1).argmax() == 0
    assert torch.allclose(histograms[1, 4], histograms[1, 5])
    assert histograms[1].mean(1).argsort(descending=True)[:2].sort().values.tolist() == [4, 5]


def test_an_even_picture_has_no_gradients():
    assert not features.gradients(torch.full((1, 40, 40, 3), 77, dtype=torch.uint8)).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "colour"}, "choose auto, learned, descriptors or both"),
        ({"kind": "learned", "backbone": "resnet50"}, "does not use a backbone"),
        ({"weights": "resnet50.pth"}, "names no network"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FeatureConfig(**settings)
