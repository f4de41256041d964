"""Settings of the demo community."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """How large the demo community is, and how clearly its users show their taste."""

    users: int = 1500  # users, some without favorites, contacts or groups
    images: int = 3000  # images, each with a picture; memory and time grow with it
    picture_px: int = 96  # width and height of a picture
    seed: int = 0  # equal settings and seed give equal bytes
    median_favorites: float = 11.5  # approximate favorites of the median user; the mean is twice that
    max_favorites: int = 220  # most favorites of a user
    median_tags: float = 28.0  # approximate tags of the median user
    off_taste: float = 0.12  # share of favorites, tags, contacts, groups apart from taste
    untagged: float = 0.04  # share of images without a tag
    unseen: float = 0.03  # share of images without a favorite, the newest

    def __post_init__(self) -> None:
        for name, least in (("users", 2), ("images", 1), ("picture_px", 8), ("seed", 0), ("max_favorites", 1)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"demo.{name} = {value}: it must be at least {least}")
        for name in ("off_taste", "untagged", "unseen"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise ValueError(f"demo.{name} = {value}: it is a share, from 0 to below 1")
        for name in ("median_favorites", "median_tags"):
            if (value := getattr(self, name)) <= 0:
                raise ValueError(f"demo.{name} = {value}: it must be above 0")
