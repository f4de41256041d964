"""Settings of images' features."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """SimCLR (Chen et al. 2020), small enough for one CPU core: about three minutes for 8,600 pictures."""

    epochs: int = 10  # passes over the pictures
    max_images: int = 20_000  # pictures learned from, drawn at random where there are more
    batch_images: int = 256  # pictures of a step; each has the other ones as negatives
    learning_rate: float = 0.002  # of AdamW, after a short warm-up; decays to 0
    temperature: float = 0.2  # of the similarities
    size_px: int = 32  # side of the augmented views
    channels: tuple[int, ...] = (32, 64, 128, 256)  # of the convolutions, each of which halves the side
    projection: int = 128  # of compared views
    min_area: float = 0.4  # least share of a picture that a crop shows
    jitter: float = 0.3  # strength of the changes in brightness, contrast and saturation; the paper: 0.5 to 1
    seed: int = 0  # of the initial weights, the order and the augmentations


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """The features of images for which the source has none.

    A ridge regression on them, on the cold images of movielens-posters (validation), NDCG@20: descriptors .031, learned
    .034, both .036, random .018.
    """

    kind: Literal["auto", "learned", "descriptors", "both"] = "auto"  # auto: the backbone if one is named, else both
    backbone: str = ""  # a timm model, frozen: tf_efficientnet_lite0 (extra `pretrained`), resnet50.a1_in1k, ...
    weights: str = ""  # its state dict (.safetensors, .pth); empty: the pretrained one
    batch_images: int = 64  # pictures that a network embeds at a time
    learning: LearningConfig = LearningConfig()  # how features are learned, if no backbone is named

    def __post_init__(self) -> None:
        if self.kind not in ("auto", "learned", "descriptors", "both"):
            raise ValueError(f"features.kind is {self.kind!r}; choose auto, learned, descriptors or both")
        if self.backbone and self.kind != "auto":
            raise ValueError(
                f"features.backbone is {self.backbone!r}, but features.kind {self.kind!r} does not use a backbone; "
                f"set kind to auto, or name no backbone"
            )
        if self.weights and not self.backbone:
            raise ValueError(
                f"features.weights is {self.weights!r}, but features.backbone names no network; name the one whose "
                f"weights these are"
            )

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of features from the community's own pictures; none if a backbone is named."""
        if self.backbone:
            return ()
        return {"learned": ("learned",), "descriptors": ("descriptors",)}.get(self.kind, ("learned", "descriptors"))
