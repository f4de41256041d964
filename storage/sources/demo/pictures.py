"""Paint the demo community's pictures: a style, plus random features that do not depend on the style."""

from collections.abc import Callable
from colorsys import hsv_to_rgb

import numpy as np
from PIL import Image, ImageDraw

from storage.sources.demo.styles import Style

OVERSAMPLING = 2  # Pillow draws hard edges; halving the picture softens them

Color = tuple[int, int, int, int]
Points = np.ndarray  # float (N, 2), x and y; the picture is the unit square


def picture(style: Style, px: int, rng: np.random.Generator) -> Image.Image:
    """An RGB picture, `px` x `px`. Hue, position, size, angle, light, an unrelated figure and grain are random."""
    brush = _Brush(style, px * OVERSAMPLING, rng)
    PATTERN_PAINTERS[style.pattern](brush, rng)
    if rng.random() < 0.3:
        brush.unrelated_figure()
    image = brush.image.resize((px, px), Image.Resampling.BOX)
    light = 1 + _slope(px, rng.uniform(0, 2 * np.pi)) * rng.uniform(0, 0.22) + rng.uniform(-0.05, 0.05)
    grain = rng.normal(0, rng.uniform(1, 6), (px, px, 1)).astype(np.float32)
    return Image.fromarray((np.asarray(image, np.float32) * light[:, :, None] + grain).clip(0, 255).astype(np.uint8))


class _Brush:
    """A canvas with a background in the style's colors, painted in unit coordinates."""

    def __init__(self, style: Style, size: int, rng: np.random.Generator) -> None:
        self.rng, self.size, self.is_dark = rng, size, style.tone == "dark"
        self.hue = style.hue_degrees + rng.normal(0, 4)
        start, end = (np.array(self._background()) for _ in range(2))
        mix = (_slope(size, rng.uniform(0, 2 * np.pi))[:, :, None] + 1) / 2
        self.image = Image.fromarray((start + (end - start) * mix).astype(np.uint8))
        self._draw = ImageDraw.Draw(self.image, "RGBA")

    def color(self, alpha: float = 1.0) -> Color:
        """A random color for a figure, near the picture's hue."""
        saturation = self.rng.uniform(0.45, 0.88)
        value = self.rng.uniform(0.38, 0.78) if self.is_dark else self.rng.uniform(0.74, 0.98)
        return *_rgb(self.hue + self.rng.normal(0, 12), saturation, value), round(255 * alpha)

    def pale(self) -> Color:
        """The lightest color of the palette, for highlights."""
        return *_rgb(self.hue, *((0.35, 0.92) if self.is_dark else (0.06, 1.0))), 255

    def _background(self) -> tuple[int, int, int]:
        if self.is_dark:
            return _rgb(self.hue + self.rng.normal(0, 8), self.rng.uniform(0.6, 0.9), self.rng.uniform(0.1, 0.26))
        return _rgb(self.hue + self.rng.normal(0, 8), self.rng.uniform(0.1, 0.35), self.rng.uniform(0.92, 1.0))

    def polygon(self, points: Points, color: Color) -> None:
        self._draw.polygon((points * self.size).ravel().tolist(), color)

    def disc(self, center: Points, radius: float, color: Color) -> None:
        low, high = (center - radius) * self.size, (center + radius) * self.size
        self._draw.ellipse((*low.tolist(), *high.tolist()), color)

    def unrelated_figure(self) -> None:
        """Paint a small disc of any color, unrelated to the style."""
        hue, saturation, value = self.rng.uniform((0, 0.3, 0.3), (360, 0.9, 1.0))
        self.disc(self.rng.uniform(0.1, 0.9, 2), self.rng.uniform(0.04, 0.1), (*_rgb(hue, saturation, value), 255))


def _stripes(brush: _Brush, rng: np.random.Generator) -> None:
    angle, x = rng.uniform(0, np.pi), -0.3 + rng.uniform(0, 0.1)
    period = rng.uniform(0.09, 0.2)
    while x < 1.3:
        width = period * rng.uniform(0.3, 0.75)
        box = np.array([(x, -0.5), (x + width, -0.5), (x + width, 1.5), (x, 1.5)])
        brush.polygon(_rotated(box, angle), brush.pale() if rng.random() < 0.12 else brush.color())
        x += period


def _dots(brush: _Brush, rng: np.random.Generator) -> None:
    pitch, angle = rng.uniform(0.13, 0.24), rng.uniform(0, np.pi / 2)
    radius = pitch * rng.uniform(0.22, 0.4)
    for center in _rotated(_lattice(pitch, rng), angle):
        brush.disc(center, radius * rng.uniform(0.8, 1.1), brush.pale() if rng.random() < 0.1 else brush.color())


def _rings(brush: _Brush, rng: np.random.Generator) -> None:
    for center in rng.uniform(0.1, 0.9, (rng.integers(2, 5), 2)):
        width = rng.uniform(0.04, 0.07)
        for step in range(rng.integers(4, 9), 0, -1):
            brush.disc(center, step * width, brush.pale() if step % 2 == 0 else brush.color())


def _blobs(brush: _Brush, rng: np.random.Generator) -> None:
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    for center in rng.uniform(0, 1, (rng.integers(4, 8), 2)):
        waves = sum(rng.normal(0, 0.16 / k) * np.cos(k * angles + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4))
        radii = rng.uniform(0.1, 0.24) * (1 + np.asarray(waves))
        outline = np.column_stack([np.cos(angles), np.sin(angles)])
        brush.polygon(center + outline * radii[:, None], brush.color(0.85))
        brush.disc(center - radii.min() * 0.4, radii.min() * 0.22, brush.pale())


def _waves(brush: _Brush, rng: np.random.Generator) -> None:
    angle, x = rng.uniform(-0.6, 0.6), np.linspace(-0.5, 1.5, 60)
    length, height = rng.uniform(0.35, 0.8), rng.uniform(0.03, 0.08)
    for level in np.arange(rng.uniform(-0.35, 0.0), 1.35, rng.uniform(0.1, 0.18)):
        crest = level + height * np.sin(2 * np.pi * (x / length + rng.random()))
        points = np.column_stack([np.append(x, (1.5, -0.5)), np.append(crest, (2.0, 2.0))])
        brush.polygon(_rotated(points, angle), brush.pale() if rng.random() < 0.1 else brush.color())


def _checks(brush: _Brush, rng: np.random.Generator) -> None:
    side, angle = rng.uniform(0.1, 0.2), rng.uniform(0, np.pi / 2)
    square = side * np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    corners = _lattice(2 * side, rng)
    for corner in np.vstack([corners, corners + side]):
        brush.polygon(_rotated(corner + square, angle), brush.pale() if rng.random() < 0.12 else brush.color())


def _shards(brush: _Brush, rng: np.random.Generator) -> None:
    for center in rng.uniform(0, 1, (rng.integers(9, 17), 2)):
        corners = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 5)))
        radius = rng.uniform(0.14, 0.34)
        points = center + radius * np.column_stack([np.cos(corners), np.sin(corners)])
        brush.polygon(points, brush.pale() if rng.random() < 0.12 else brush.color(0.8))


def _rays(brush: _Brush, rng: np.random.Generator) -> None:
    center, count = rng.uniform(0.2, 0.8, 2), rng.integers(9, 18)
    edges = np.linspace(0, 2 * np.pi, 2 * count, endpoint=False) + rng.uniform(0, np.pi)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        tip = center + 2 * np.array([(np.cos(start), np.sin(start)), (np.cos(end), np.sin(end))])
        brush.polygon(np.vstack([center, tip]), brush.color())
    brush.disc(center, rng.uniform(0.05, 0.13), brush.pale())


PATTERN_PAINTERS: dict[str, Callable[[_Brush, np.random.Generator], None]] = {
    "stripes": _stripes,
    "dots": _dots,
    "rings": _rings,
    "blobs": _blobs,
    "waves": _waves,
    "checks": _checks,
    "shards": _shards,
    "rays": _rays,
}


def _rgb(degrees: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = hsv_to_rgb(degrees / 360 % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _slope(size: int, angle: float) -> np.ndarray:
    """float32 (size, size) that rises from -1 to 1 or less across the picture."""
    line = np.linspace(-1, 1, size, dtype=np.float32) / np.sqrt(2, dtype=np.float32)
    return np.asarray(np.float32(np.cos(angle)) * line + np.float32(np.sin(angle)) * line[:, None])


def _lattice(pitch: float, rng: np.random.Generator) -> Points:
    """Points `pitch` apart on a square lattice that covers the picture at any rotation."""
    steps = pitch * np.arange(np.floor(-0.25 / pitch) - 1, np.ceil(1.25 / pitch))
    return np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2) + rng.uniform(0, pitch, 2)


def _rotated(points: Points, angle: float) -> Points:
    """The points, rotated about the picture's center."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray((points - 0.5) @ np.array([(cos, sin), (-sin, cos)]) + 0.5)
