"""Shards of pixels to shards of features."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.content import features
from models.content.features import FeatureConfig, LearningConfig
from storage import shards
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from tasks.data.features import apply_backbone, apply_learned, extract_features, keep_weights, learn_features

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


def saved_weights(folder: Path, suffix: str) -> tuple[Path, dict[str, torch.Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = features.import_timm().create_model("test_resnet", pretrained=False).state_dict()
    file = folder / f"test_resnet{suffix}"
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return file, state


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_shard_of_pixels_becomes_a_shard_of_the_backbones_features(root, tmp_path, suffix):
    file, state = saved_weights(tmp_path, suffix)
    config = FeatureConfig(backbone="test_resnet", weights=str(file), batch_images=3)
    refs, pixels = two_shards(root)
    made = [apply_backbone.fn(ref, keep_weights(config.weights, root), config, root, []) for ref in refs]
    opened = Shards.open(made, root)
    assert opened.ids.tolist() == [f"image{row:02d}" for row in range(12)]
    expected = features.embed(features.load_backbone("test_resnet", state), pixels, 12)
    np.testing.assert_allclose(opened.gather(np.arange(12)), expected, rtol=1e-4, atol=1e-5)


def test_features_are_learned_from_all_shards_and_made_for_each(root):
    refs, pixels = two_shards(root)
    learned = learn_features.fn(refs, OWN, root)
    opened = Shards.open([apply_learned.fn(ref, learned, OWN, root, []) for ref in refs], root)
    *_, (made, _) = features.learn(lambda rows: pixels[rows], 12, OWN)
    np.testing.assert_allclose(opened.gather(np.arange(12)), features.embed(made, pixels, 12), rtol=1e-4, atol=1e-5)


def test_no_pictures_give_no_features(root):
    assert extract_features([], OWN, root).shards == []


def test_the_ref_of_the_weights_follows_the_files_content_not_its_name(root, tmp_path):
    first, other = tmp_path / "a.pth", tmp_path / "b.pth"
    first.write_bytes(b"weights")
    other.write_bytes(b"weights")
    kept = keep_weights(str(first), root)
    assert first.read_bytes() == b"weights"
    assert keep_weights(str(other), root) == kept
    other.write_bytes(b"others")
    assert keep_weights(str(other), root).sha256 != kept.sha256


def test_weights_that_are_not_there_are_an_error_that_names_the_setting(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"features\.weights: no file .*nowhere\.pth"):
        keep_weights(str(tmp_path / "nowhere.pth"), root)
