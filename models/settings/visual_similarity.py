"""Settings of `visrank` and `resnet_cosine`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class VisRankConfig:
    """Settings of `visrank`."""

    similarity: Literal["max", "mean"] = "max"  # to the most similar favorite, or the mean over all


@dataclass(frozen=True, kw_only=True)
class ResNetCosineConfig:
    """`resnet_cosine` has no settings."""
