"""Visual words."""

import numpy as np
import pytest
import torch

from models.community import Pixels
from models.content.visual_words import descriptors, histograms
from models.settings.visual_words import WordsConfig

CPU = torch.device("cpu")


def striped(*, period_px: int, upright: bool) -> np.ndarray:
    """uint8 (32, 32, 3): a sine wave."""
    wave = 127 + 120 * np.sin(2 * np.pi * np.arange(32) / period_px)
    stripes = np.broadcast_to(wave, (32, 32))
    return np.repeat((stripes if upright else stripes.T)[..., None], 3, axis=2).astype(np.uint8)


def test_a_descriptor_holds_the_orientations_of_its_cells() -> None:
    ramp = np.zeros((1, 16, 16, 3), np.uint8)
    ramp[...] = np.arange(0, 160, 10)[None, None, :, None]  # brighter to the right: orientation 0 alone
    described = descriptors(ramp, WordsConfig()).reshape(1, 1, 8, 16)
    np.testing.assert_allclose(described[0, 0, 1:], 0, atol=1e-5)
    np.testing.assert_allclose(described[0, 0, 0], 0.25, atol=0.01)  # sixteen equal entries of length 1
    turned = descriptors(ramp.transpose(0, 2, 1, 3), WordsConfig()).reshape(1, 1, 8, 16)
    np.testing.assert_allclose(turned[0, 0, 2], 0.25, atol=0.01)  # brighter downwards: a quarter turn on


def test_angles_are_shared_between_their_two_nearest_orientations() -> None:
    diagonal = np.zeros((1, 16, 16, 3), np.uint8)
    step_right, step_down = np.cos(np.pi / 8), np.sin(np.pi / 8)  # halfway between orientations 0 and 1
    diagonal[...] = (5 * (step_right * np.arange(16)[None, :] + step_down * np.arange(16)[:, None]))[None, ..., None]
    shares = descriptors(diagonal, WordsConfig()).reshape(8, 16).sum(axis=1)
    assert shares[:2].sum() > 0.9 * shares.sum()
    assert abs(shares[0] - shares[1]) < 0.3 * shares[:2].sum()


def test_brightness_and_contrast_do_not_matter_and_flat_patches_are_zeros() -> None:
    picture = np.random.default_rng(0).integers(60, 120, (1, 32, 32, 3)).astype(np.uint8)
    np.testing.assert_allclose(
        descriptors(picture, WordsConfig()), descriptors(2 * picture + 10, WordsConfig()), atol=1e-4
    )
    assert not descriptors(np.full((1, 32, 32, 3), 90, np.uint8), WordsConfig()).any()


def test_pictures_of_similar_texture_have_similar_histograms() -> None:
    rng = np.random.default_rng(0)
    kinds = [striped(period_px=8, upright=upright) for upright in (True, False) for _ in range(10)]
    pictures = np.clip(np.stack(kinds) + rng.integers(-6, 7, (20, 32, 32, 3)), 0, 255).astype(np.uint8)
    has_I = np.arange(20) != 19
    words = histograms(Pixels(32, has_I, lambda rows: pictures[rows]), WordsConfig(num_words=8), 0, CPU)
    similarity = words @ words.T
    assert similarity[0, 1:10].min() > similarity[0, 10:].max()
    np.testing.assert_allclose(np.linalg.norm(words[:19], axis=1), 1, rtol=1e-5)
    assert not words[19].any()  # has no picture


def test_pictures_smaller_than_a_patch_are_refused_with_what_to_do() -> None:
    pictures = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="8 px a side, a patch has 16: set a cell_px of at most 2"):
        histograms(Pixels(8, np.ones(2, bool), lambda rows: pictures[rows]), WordsConfig(), 0, CPU)
