"""Frozen networks of timm."""

import sys

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from models.content.backbones import Backbone, import_timm, load_backbone, renamed
from models.content.embedding import embed


@pytest.fixture(scope="module")
def state_dict() -> dict[str, torch.Tensor]:
    """Weights of a tiny network with its classifier, as a file of timm would bring them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return import_timm().create_model("test_resnet").state_dict()


def test_a_backbone_gives_what_its_own_network_gives_for_the_picture_it_expects(state_dict):
    timm = import_timm()
    network = timm.create_model("test_resnet")
    network.load_state_dict(state_dict)
    backbone = load_backbone("test_resnet", state_dict)
    size = (3, backbone.size_px, backbone.size_px, 3)
    pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    transform = timm.data.create_transform(**{**timm.data.resolve_model_data_config(network), "crop_pct": 1.0})
    with torch.inference_mode():
        seen = torch.stack([transform(Image.fromarray(picture)) for picture in pixels])
        pooled = network.eval().forward_head(network.forward_features(seen), pre_logits=True)
    expected = functional.normalize(pooled, dim=1).numpy()
    np.testing.assert_allclose(embed(backbone, pixels, batch_images=2), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("data", "share", "keeps_aspect"),
    [
        ({"input_size": (3, 224, 224), "crop_pct": 0.875, "crop_mode": "center"}, 224 / 256, True),
        ({"input_size": (3, 224, 224), "crop_pct": 0.9, "crop_mode": "center"}, 224 / 248, True),
        ({"input_size": (3, 256, 256), "crop_pct": 1.0, "crop_mode": "squash"}, 1.0, False),
    ],
)
def test_a_backbone_says_which_part_of_a_picture_its_weights_were_trained_to_see(data, share, keeps_aspect):
    backbone = Backbone("test_resnet", import_timm().create_model("test_resnet", pretrained_cfg_overlay=data))
    assert (backbone.size_px, backbone.share, backbone.keeps_aspect) == (data["input_size"][1], share, keeps_aspect)


@pytest.mark.parametrize("data", [{"crop_mode": "border"}, {"input_size": (3, 64, 32)}, {"crop_pct": 1.15}])
def test_a_network_that_expects_pictures_we_do_not_cut_is_refused(data):
    with pytest.raises(ValueError, match=r"'test_resnet' expects pictures of .*choose one of square pictures"):
        Backbone("test_resnet", import_timm().create_model("test_resnet", pretrained_cfg_overlay=data))


def test_weights_of_another_network_are_refused(state_dict):
    wrong = {name: value for name, value in state_dict.items() if not name.startswith("layer4")}
    with pytest.raises(ValueError, match=r"(?s)not one of 'test_resnet'.*layer4"):
        load_backbone("test_resnet", wrong)


def test_weights_under_other_names_are_loaded_in_order(state_dict):
    foreign = {f"_part{row}.{name.rpartition('.')[2]}": value for row, (name, value) in enumerate(state_dict.items())}
    loaded = load_backbone("test_resnet", foreign, in_order=True).network.state_dict()
    assert all(torch.equal(loaded[name], state_dict[name]) for name in loaded)
    with pytest.raises(ValueError, match="not one of 'test_resnet'"):
        load_backbone("test_resnet", foreign)


def test_weights_in_another_order_are_refused():
    ours = {"bn.running_mean": torch.zeros(3), "bn.running_var": torch.ones(3)}
    with pytest.raises(ValueError, match=r"x\.running_var \(3,\) in the place of bn\.running_mean"):
        renamed({"x.running_var": torch.ones(3), "x.running_mean": torch.zeros(3)}, ours, "net")
    with pytest.raises(ValueError, match=r"x\.running_mean \(4,\) in the place of"):
        renamed({"x.running_mean": torch.zeros(4), "x.running_var": torch.ones(3)}, ours, "net")
    with pytest.raises(ValueError, match="have 1 tensors, the network has 2"):
        renamed({"x.running_mean": torch.zeros(3)}, ours, "net")


def test_an_unknown_backbone_is_refused_and_similar_ones_are_named():
    with pytest.raises(ValueError, match=r"'resnet51'.*similar: \[.*resnet"):
        load_backbone("resnet51", None)


def test_weights_that_cannot_be_downloaded_are_an_error_that_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        RuntimeError, match=r"'test_resnet'.*features\.weights.*tastegraph\[pretrained\].*leave it empty"
    ):
        load_backbone("test_resnet", None)


def test_timm_is_imported_whether_or_not_torchvision_can_load_its_operators():
    assert import_timm().is_model("resnet50")
    assert "torchvision" in sys.modules
