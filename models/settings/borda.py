"""Settings of the Borda systems."""

from dataclasses import dataclass

from models.settings.metric_learning import MapConfig


@dataclass(frozen=True, kw_only=True)
class ImageNetConfig:
    """Settings of `borda_imagenet`."""

    unit_length: bool = True  # features are scaled to length 1, which ranks by the cosine


@dataclass(frozen=True, kw_only=True)
class SocialLMNNConfig(MapConfig):
    """Settings of `borda_social_lmnn`."""

    impostor_share: float = 0.5  # impostors are below this share of the target's social similarity


@dataclass(frozen=True, kw_only=True)
class SIDLConfig(MapConfig):
    """Settings of `borda_sidl`."""

    pull: float = 0.0  # 0: comparisons only, no distance to targets by itself
    margin: float = 1.0  # how much further an unrelated image must be; less for a socially similar one
