"""Settings of pictures: how they are decoded and packed, and the largest."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """The largest images that are decoded."""

    max_pixels: int = 100_000_000  # a larger image is refused by its header
    max_bytes: int = 64 * 2**20  # a larger file is refused unread
    max_scans: int = 100  # of a JPEG; a camera's progressive one has ten


@dataclass(frozen=True, kw_only=True)
class ImageConfig(ImageLimits):
    """How images are decoded and packed."""

    size_px: int = 64  # width and height after resizing; the paper's is 256
    fetch: bool = False  # fetch pictures whose `path` is an http or https address
    shard_images: int = 1024  # decoded by one task

    @property
    def limits(self) -> ImageLimits:
        """The limits alone."""
        return ImageLimits(max_pixels=self.max_pixels, max_bytes=self.max_bytes, max_scans=self.max_scans)
