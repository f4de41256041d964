"""Decode image files to square RGB arrays: into packed shards, or for a network with an input of its own."""

import io
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
from PIL import ExifTags, Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from storage import shards
from storage.refs import Ref
from storage.roots import Root
from storage.settings.images import ImageConfig, ImageLimits

# What Pillow says of damaged EXIF helps nobody: the picture is used as it is stored, or is in quarantine.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# The only decoders for untrusted bytes. Pillow has forty more, some of which start other programs.
READERS: Final = (JpegImageFile, PngImageFile, GifImageFile, WebPImageFile, BmpImageFile, TiffImageFile, AvifImageFile)
UPRIGHT: Final = {  # EXIF orientation -> the operation that turns the image upright (EXIF 2.3, section 4.6.4)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ALPHA_LAST: Final = ("RGBA", "RGBa", "LA", "La")  # Pillow's modes whose last channel is alpha
# In a scan's data FF is followed by 00, or by D0 to D7; anywhere it may be repeated (ITU T.81, B.1.1).
JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
FETCHED: Final = "fetched:"  # so begins the path of a picture that was fetched: what follows is below the root
FETCHED_FOLDER: Final = "pictures"  # where below the root these lie
MISSING: Final = "missing"  # the version of a file that does not exist
S3_THREADS: Final = 10  # an S3 read waits more than it computes

Reason: TypeAlias = Literal[
    "no file",
    "path outside the source directory",
    "unreadable file",
    "too many bytes",
    "empty file",
    "not an image",
    "too many pixels",
    "too many scans",
    "truncated",
    "damaged",
]


@dataclass(frozen=True)
class PictureFiles:
    """Where the files of pictures are: those of the source below it, those that were fetched below the root."""

    source: Root
    root: Root

    def place(self, path: str) -> tuple[Root, str]:
        """The root that a path of the table images leads into, and the path below it."""
        return (self.root, path.removeprefix(FETCHED)) if path.startswith(FETCHED) else (self.source, path)

    @property
    def is_remote(self) -> bool:
        """Whether a file may lie in a store."""
        return self.source.is_remote or self.root.is_remote


@dataclass(frozen=True, kw_only=True)
class View:
    """The square that is taken from the middle of an image."""

    size_px: int  # its width and height
    share: float = 1.0  # of the image's width and height that it shows, above 0 to 1
    keeps_aspect: bool = False  # the shorter side decides, and the longer one is cut off; else both are squashed
    resampling: str = "bicubic"  # a filter of Pillow

    def box(self, width: float, height: float) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is shown of an image of this size."""
        shown = (min(width, height),) * 2 if self.keeps_aspect else (width, height)
        left, top = ((whole - self.share * part) / 2 for whole, part in zip((width, height), shown, strict=True))
        return left, top, width - left, height - top


def whole(config: ImageConfig) -> View:
    """The whole image, whose aspect ratio is not kept (CDL, section 6: "all images are resized to 256 x 256")."""
    return View(size_px=config.size_px)


class ImageError(ValueError):
    """An image that cannot be used, with the reason in a few fixed words that can be counted."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def decode(data: bytes, view: View | ImageConfig, limits: ImageLimits | None = None) -> np.ndarray:
    """Upright RGB pixels, uint8 (S, S, 3), of an image file's bytes; of an animation, the first frame.

    Transparent images are composed over white, unless their alpha channel is 0 everywhere: then it is unused. 16-bit
    values are scaled to 8. Raises ImageError; the size, and the scans of a JPEG, are checked before decoding.

    Args:
        view: what is shown; or the settings of a night: what it packs, within their limits.
        limits: by default those of the settings, or the defaults.
    """
    if isinstance(view, ImageConfig):
        limits = limits or view.limits
        view = whole(view)
    limits = limits or ImageLimits()
    if not data:
        raise ImageError("empty file")
    try:
        image = _open(data)
        width, height = image.size
        if width * height > limits.max_pixels:
            raise ImageError("too many pixels", f"{width} x {height}, max_pixels is {limits.max_pixels}")
        if isinstance(image, JpegImageFile) and any(islice(_scans(data), limits.max_scans, None)):
            raise ImageError("too many scans", f"max_scans is {limits.max_scans}")
        return np.array(_square(image, view))
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # a GIF's frame, in its header
        raise ImageError("too many pixels", str(error)) from error
    except Exception as error:  # hostile bytes raise from KeyError to ZeroDivisionError; none of these may end the run
        raise ImageError("truncated" if "truncated" in str(error).lower() else "damaged", repr(error)) from error


def pack(
    ids: Sequence[str],
    paths: Sequence[str],
    files: PictureFiles,
    config: ImageConfig,
    root: Root,
    on_progress: Callable[[int], None] | None = None,
    decoded: Mapping[str, np.ndarray] | None = None,
) -> tuple[Ref | None, list[dict[str, str]]]:
    """One shard of the images that can be decoded, in the given order, and quarantine rows for the rest.

    Args:
        ids: image_id of each image.
        paths: path of each image in `files`.
        on_progress: called after each image with the number of images done since the last call, which is 1.
        decoded: pixels by image_id of images that are decoded already.
    Returns:
        The shard, or None if no image could be decoded; and a quarantine row (without `row`) for every other image.
    """
    pixels = np.empty((len(ids), config.size_px, config.size_px, 3), np.uint8)
    decoded, kept = decoded or {}, list[str]()
    rejected: list[dict[str, str]] = []
    new = [path for image_id, path in zip(ids, paths, strict=True) if image_id not in decoded]
    images = decode_files(new, files, whole(config), config)
    for image_id, path in zip(ids, paths, strict=True):
        image = decoded[image_id] if image_id in decoded else next(images)
        if isinstance(image, ImageError):
            rejected.append({"table": "images", "image_id": image_id, "reason": image.reason, "value": path})
        else:
            pixels[len(kept)] = image
            kept.append(image_id)
        if on_progress:
            on_progress(1)
    return (shards.write(kept, pixels[: len(kept)], "pixels", root) if kept else None), rejected


def decode_files(
    paths: Sequence[str], files: PictureFiles, view: View, limits: ImageLimits
) -> Iterator[np.ndarray | ImageError]:
    """The pixels of each file, or why it has none, in the given order. Files are read and decoded in threads.

    All of them may be in memory before the first is taken: give as many as fit.
    """
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(max(cores, S3_THREADS) if files.is_remote else cores) as pool:
        yield from pool.map(lambda path: _decode_file(path, files, view, limits), paths)


def versions(files: PictureFiles, paths: Sequence[str]) -> dict[str, str]:
    """Each path's version, which changes with its bytes: size and time of change, or the ETag; MISSING without a file.

    A place in S3 is listed once, whatever the number of paths.
    """
    fetched = [path for path in paths if path.startswith(FETCHED)]
    own = [path for path in paths if not path.startswith(FETCHED)]
    found = _versions(files.root, FETCHED_FOLDER, [path.removeprefix(FETCHED) for path in fetched])
    return _versions(files.source, "", own) | {f"{FETCHED}{path}": version for path, version in found.items()}


def _versions(root: Root, folder: str, paths: Sequence[str]) -> dict[str, str]:
    if root.is_remote and paths:
        listed = {entry.path: entry.version for entry in root.entries(folder)}
        return {path: listed.get(path, MISSING) for path in paths}
    return {path: _local_version(root, path) for path in paths}


def format_of(data: bytes) -> str:
    """The format of a picture's bytes, such as jpeg. Raises ImageError."""
    return str(_open(data).format).lower()


def thumbnail(pixels: np.ndarray, size_px: int) -> bytes:
    """JPEG bytes of uint8 (S, S, 3) pixels, size_px wide and high."""
    file = io.BytesIO()
    Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return file.getvalue()


def _decode_file(path: str, files: PictureFiles, view: View, limits: ImageLimits) -> np.ndarray | ImageError:
    try:
        return decode(_read(*files.place(path), limits), view, limits)
    except ImageError as error:
        return error


def _read(source: Root, path: str, limits: ImageLimits) -> bytes:
    if not source.is_remote:
        _check_local(path, source)
    try:
        entry = source.entry(path)
    except ValueError as error:  # absolute or with '..': a Root refuses it, even if it leads back inside
        raise ImageError("path outside the source directory", str(error)) from error
    if not entry:
        raise ImageError("no file")
    if entry.size > limits.max_bytes:
        raise ImageError("too many bytes", f"{entry.size}, max_bytes is {limits.max_bytes}")
    try:
        return source.read(path)
    except (FileNotFoundError, PermissionError) as error:  # deleted since, or no permission
        raise ImageError("unreadable file", str(error)) from error


def _check_local(path: str, source: Root) -> None:
    """Raise ImageError unless the path, with links followed, is a regular file below the source directory."""
    try:
        file = Path(source.address, path).resolve()
        inside, is_file = file.is_relative_to(Path(source.address).resolve()), file.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a name that no file can have, or a loop of links
        raise ImageError("no file", str(error)) from error
    if not inside:
        raise ImageError("path outside the source directory", str(file))
    if not is_file:
        raise ImageError("no file")


def _local_version(source: Root, path: str) -> str:
    try:
        entry = source.entry(path)
    except (OSError, ValueError):  # as in _check_local
        return MISSING
    return entry.version if entry else MISSING


def _open(data: bytes) -> ImageFile:
    """The image with its header read and its pixels not yet decoded.

    Image.open is not used: its guard against large images warns through filters that all threads of the process share,
    and it takes a JPEG that contains a second picture for another format.
    """
    for reader in READERS:
        _, accept = Image.OPEN[reader.format]
        if accept is not None and accept(data[:16]) is True:
            return reader(io.BytesIO(data))
    raise ImageError("not an image")


def _scans(data: bytes) -> Iterator[int]:
    """Where each scan of a JPEG begins; without those of pictures in its metadata, and of films that follow it."""
    place = 2
    while (found := JPEG_MARKER.search(data, place)) and (marker := found[0][1]) != END_OF_IMAGE:
        place = found.end()
        if marker != 0x01:  # the only other marker without a length
            place += max(2, int.from_bytes(data[place : place + 2], "big"))
        if marker == START_OF_SCAN:
            yield found.start()


def _square(image: ImageFile, view: View) -> Image.Image:
    # A JPEG is decoded at 1/2, 1/4 or 1/8 where that still leaves size_px of what is shown. BICUBIC costs 11 % more
    # than BOX on posters and is much closer to a full decode with LANCZOS (36 dB against 27). What is shown is resized
    # out of the whole: resized first and cropped then, a strip of 10 x 10,000,000 pixels would fill the memory.
    left, top, right, bottom = view.box(*image.size)
    width, height = image.size
    size_px = view.size_px
    image.draft("RGB", (math.ceil(size_px * width / (right - left)), math.ceil(size_px * height / (bottom - top))))
    image.load()
    filter_ = Image.Resampling[view.resampling.upper()]
    small = _eight_bit(image).resize((size_px, size_px), filter_, box=view.box(*image.size), reducing_gap=3.0)
    if small.mode == "F":
        small = _scaled(small, is_16_bit=image.mode.startswith("I;16"))
    if small.mode == "RGBA":
        page = Image.new("RGBA", small.size, "white")
        page.alpha_composite(small)
        small = page.convert("RGB")
    turn = UPRIGHT.get(_orientation(image))  # last, as turning a small square costs nothing
    return small.transpose(turn) if turn is not None else small


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image as RGB, as RGBA if parts are transparent, or as F if a channel has more than eight bits."""
    if image.mode.startswith("I;16") and isinstance(transparent := image.info.get("transparency"), int):
        values = np.asarray(image.convert("I"))
        gray = Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGBA")
        gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
        return gray
    if image.mode.startswith("I"):
        return image.convert("I").convert("F")
    if image.mode == "F":
        return image
    if image.mode in ALPHA_LAST and image.getchannel(len(image.getbands()) - 1).getextrema() == (0, 0):
        # Programs that know no alpha leave it 0; over white the whole picture would be white.
        colors = image.split()[:-1]
        return Image.merge("RGB", colors if len(colors) == 3 else colors * 3)
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _scaled(image: Image.Image, is_16_bit: bool) -> Image.Image:
    """RGB of gray floats: 16-bit values scaled by their range, others, which declare none, from minimum to maximum."""
    values = np.nan_to_num(np.asarray(image, np.float64))
    low, high = (0.0, 65535.0) if is_16_bit else (values.min(), values.max())
    scaled = (values - low) / ((high - low) or 1) * 255
    return Image.fromarray(scaled.clip(0, 255).round().astype(np.uint8)).convert("RGB")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8. Not by ImageOps.exif_transpose, which rewrites all of EXIF and fails on odd tags."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # with broken metadata the picture stays as it is stored
        return 1
