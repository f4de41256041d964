"""Thumbnails of a run's images, from their files; one that has no picture gets a plate."""

import hashlib
import threading
from collections import OrderedDict
from html import escape
from typing import Final

from storage import images
from storage.images import ImageError, PictureFiles, View
from storage.roots import StoreError
from storage.settings.images import ImageLimits

SIZES: Final = {"small": 64, "large": 320}  # pixels: of a dot of the map, and twice what the pages show
LIMITS: Final = ImageLimits(max_pixels=40_000_000, max_bytes=32 * 2**20)
AT_ONCE: Final = 2  # pictures decoded at a time: each may need 12 bytes a pixel
KEPT_BYTES: Final = 64 * 2**20  # of thumbnails in memory


class Pictures:
    """The thumbnails of pictures' files."""

    def __init__(self, files: PictureFiles | None):
        self.files = files
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._kept_bytes = 0
        self._lock, self._turn = threading.Lock(), threading.BoundedSemaphore(AT_ONCE)

    def jpeg(self, path: str | None, size_px: int) -> bytes | None:
        """A square JPEG out of the middle of the picture at this path; None where it has none."""
        if self.files is None or not path:
            return None
        with self._lock:
            if found := self._kept.get((path, size_px)):
                self._kept.move_to_end((path, size_px))
                return found
        try:
            with self._turn:
                (pixels,) = images.decode_files([path], self.files, View(size_px=size_px, keeps_aspect=True), LIMITS)
        except StoreError:  # the store is gone, or denies it: the lists can be shown even so
            return None
        if isinstance(pixels, ImageError):
            return None
        jpeg = images.thumbnail(pixels, size_px)
        with self._lock:
            self._kept_bytes += len(jpeg) - len(self._kept.pop((path, size_px), b""))
            self._kept[path, size_px] = jpeg
            while self._kept_bytes > KEPT_BYTES:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])
        return jpeg


def plate(image_id: str, title: str | None, size_px: int) -> bytes:
    """An SVG in place of a picture: a color of the id's own, and the title."""
    hue = int(hashlib.sha256(image_id.encode()).hexdigest(), 16) % 360
    text = "".join(letter if letter.isprintable() else " " for letter in title or image_id)
    lines = [text[start : start + 16] for start in range(0, min(len(text), 64), 16)]
    rows = "".join(
        f'<text x="80" y="{84 + 18 * (row - (len(lines) - 1) / 2):.0f}" text-anchor="middle" font-size="15" '
        f'font-family="system-ui, sans-serif" fill="hsl({hue} 45% 24%)">{escape(line)}</text>'
        for row, line in enumerate(lines)
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size_px}" height="{size_px}" viewBox="0 0 160 160">'
        f'<rect width="160" height="160" fill="hsl({hue} 42% 86%)"/>{rows}</svg>'
    )
    return svg.encode("utf-8", "replace")
