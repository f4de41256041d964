"""Shards of pixels to shards of features."""

import numpy as np
import pytest

from models.content import features
from models.content.embedding import embed
from models.settings.features import FeatureConfig, LearningConfig
from storage import shards
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from tasks.data.features import apply_learned, extract_learned, learn_features

OWN = FeatureConfig(learning=LearningConfig(epochs=1, batch_images=8, size_px=16, channels=(8, 16), projection=8))


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path / "root"))


def two_shards(root: Root) -> tuple[list[Ref], np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    ids = [f"image{row:02d}" for row in range(12)]
    return [
        shards.write(ids[:8], pixels[:8], "pixels", root),
        shards.write(ids[8:], pixels[8:], "pixels", root),
    ], pixels


def test_features_are_learned_from_all_shards_and_made_for_each(root):
    refs, pixels = two_shards(root)
    learned = learn_features.fn(refs, OWN, root)
    opened = Shards.open([apply_learned.fn(ref, learned, OWN, root, []) for ref in refs], root)
    *_, (made, _) = features.learn(lambda rows: pixels[rows], 12, OWN)
    np.testing.assert_allclose(opened.gather(np.arange(12)), embed(made, pixels, 12), rtol=1e-4, atol=1e-5)


def test_no_pictures_give_no_features(root):
    assert extract_learned([], OWN, root).shards == []
