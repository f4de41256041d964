"""Settings of the input of the image tower, and its kinds."""

from dataclasses import dataclass
from typing import Literal

InputKind = Literal["pixels", "features", "tags", "favorites"]
KINDS: tuple[InputKind, ...] = ("pixels", "features", "tags", "favorites")  # in the order of preference


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """Which input the image tower takes."""

    kind: Literal["auto", "pixels", "features", "tags", "favorites"] = (
        "auto"  # auto: the first that half the images have
    )
    sees: Literal["pixels", "features"] = "pixels"  # what auto takes where there are pictures
    shard_images: int = 8192  # images in a shard of vectors

    def __post_init__(self) -> None:
        if self.kind not in ("auto", *KINDS):
            raise ValueError(f"inputs.kind is {self.kind!r}; choose auto or one of {', '.join(KINDS)}")
        if self.sees not in ("pixels", "features"):
            raise ValueError(f"inputs.sees is {self.sees!r}; choose pixels or features")

    @property
    def needs_features(self) -> bool:
        """Whether features are to be extracted from pictures where the source has none of its own."""
        return self.kind == "features" or (self.kind == "auto" and self.sees == "features")
