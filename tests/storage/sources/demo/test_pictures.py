"""Painted pictures of the demo's styles."""

import numpy as np
from PIL import Image

from storage.sources.demo.pictures import picture
from storage.sources.demo.styles import STYLES


def test_a_picture_shows_its_style():
    def thumbnail(style: int, number: int) -> np.ndarray:
        painted = picture(STYLES[style], 32, np.random.default_rng([style, number]))
        return np.asarray(painted.resize((2, 2), Image.Resampling.BOX), float).ravel()

    pictures = np.array([[thumbnail(style, number) for number in range(24)] for style in range(len(STYLES))])
    means = pictures[:, :16].mean(axis=1)  # nearest of the styles' mean pictures: the simplest classifier
    nearest = np.linalg.norm(pictures[:, 16:, None] - means, axis=3).argmin(axis=2)
    assert (nearest == np.arange(len(STYLES))[:, None]).mean() > 0.75
