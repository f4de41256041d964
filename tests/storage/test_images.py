import io
import os
import resource
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from storage import images
from storage.images import ImageError, PictureFiles, View
from storage.roots import Root
from storage.settings.images import ImageConfig, ImageLimits
from storage.shards import Shards

CONFIG = ImageConfig(size_px=8)
WHITE, BLACK, RED, GREEN, BLUE = (255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)


def encoded(image: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def noise(width: int = 32, height: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def decode(data: bytes, config: ImageConfig = CONFIG) -> np.ndarray:
    return images.decode(data, config)


def reason(data: bytes, config: ImageConfig = CONFIG) -> str:
    with pytest.raises(ImageError) as error:
        decode(data, config)
    return error.value.reason


def assert_all(pixels: np.ndarray, color: tuple[int, int, int], tolerance: int = 3) -> None:
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
    assert np.abs(pixels.astype(int) - color).max() <= tolerance


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that declares a size and holds none of it."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"\0" * 100)) + png_chunk(b"IEND", b"")


# -- what can be used --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_every_allowed_format_is_decoded(format_):
    if format_ == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    assert_all(decode(encoded(Image.new("RGB", (20, 30), RED), format_), CONFIG), RED)


def test_the_aspect_ratio_is_not_kept():
    wide = Image.new("RGB", (40, 8), RED)
    wide.paste(BLUE, (20, 0, 40, 8))
    pixels = decode(encoded(wide), CONFIG)
    assert_all(np.concatenate([pixels[:, :3], pixels[:, :3], pixels[:, :2]], axis=1), RED)
    assert_all(np.concatenate([pixels[:, 5:], pixels[:, 5:], pixels[:, 6:]], axis=1), BLUE)


def test_a_jpeg_decoded_at_reduced_scale_looks_like_one_decoded_in_full():
    gradient = np.linspace(0, 255, 256, dtype=np.uint8)
    image = Image.fromarray(np.stack(np.broadcast_arrays(gradient, gradient[:, None], np.uint8(99)), axis=2))
    in_full = np.asarray(image.resize((8, 8), Image.Resampling.LANCZOS))
    assert np.abs(decode(encoded(image, "JPEG", quality=95), CONFIG).astype(int) - in_full).max() <= 6


def test_a_view_is_the_middle_of_the_picture_scaled_by_its_shorter_side():
    gradient = np.linspace(0, 255, 600, dtype=np.uint8)
    image = Image.fromarray(np.stack(np.broadcast_arrays(gradient, gradient[:400, None], np.uint8(99)), axis=2))
    seen = images.decode(encoded(image), View(size_px=56, share=56 / 64, keeps_aspect=True), ImageLimits())
    resized = image.resize((96, 64), Image.Resampling.BICUBIC)
    expected = np.asarray(resized.crop((20, 4, 76, 60)))
    assert np.abs(seen.astype(int) - expected).max() <= 2


def test_a_view_of_a_reduced_jpeg_looks_like_one_of_the_whole():
    gradient = np.linspace(0, 255, 900, dtype=np.uint8)
    image = Image.fromarray(np.stack(np.broadcast_arrays(gradient, gradient[:700, None], np.uint8(99)), axis=2))
    view = View(size_px=56, share=56 / 64, keeps_aspect=True)
    reduced, whole = (
        images.decode(encoded(image, *how), view, ImageLimits()).astype(int) for how in (("JPEG",), ("PNG",))
    )
    assert np.abs(reduced - whole).max() <= 6


def test_a_view_of_a_long_strip_needs_no_more_memory_than_the_strip():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    strip = encoded(Image.new("RGB", (20_000, 2), RED))
    pixels = images.decode(strip, View(size_px=224, keeps_aspect=True), ImageLimits())
    assert pixels.shape == (224, 224, 3)
    assert (pixels == RED).all()
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kb < 500_000  # scaled as a whole to a height of 224, the strip takes 2 GB


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_exif_says(orientation):
    upright = Image.new("RGB", (16, 16), WHITE)
    upright.paste(RED, (8, 0, 16, 8))  # the top right corner
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that stores it in each orientation
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for format_ in ("JPEG", "PNG", "WEBP", "TIFF"):
        pixels = decode(encoded(stored, format_, exif=exif), CONFIG).astype(int)
        assert np.abs(pixels[:2, 6:] - RED).max() < 60, format_
        assert np.abs(pixels[6:, :2] - WHITE).max() < 60, format_


def test_the_settings_of_a_night_say_what_is_shown_and_within_which_limits():
    image = encoded(Image.new("RGB", (9, 9), GREEN), "PNG")

    assert images.decode(image, ImageConfig(size_px=5)).shape == (5, 5, 3)
    with pytest.raises(ImageError, match="too many pixels"):
        images.decode(image, ImageConfig(size_px=5, max_pixels=80))


def test_what_pillow_says_of_broken_exif_is_not_shown():
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\0\0\0"  # an orientation of 255 values, cut off
    code = (
        "import sys; from storage.images import decode; from storage.settings.images import ImageConfig\n"
        "decode(sys.stdin.buffer.read(), ImageConfig(size_px=4))"
    )
    image = encoded(Image.new("RGB", (9, 9), GREEN), "JPEG", exif=exif)
    ended = subprocess.run([sys.executable, "-c", code], input=image, capture_output=True, check=True)

    assert ended.stderr == b""


def test_broken_exif_leaves_the_image_as_it_is_stored():
    assert_all(decode(encoded(Image.new("RGB", (9, 9), GREEN), "JPEG", exif=b"Exif\0\0nonsense"), CONFIG), GREEN)


def test_cmyk_becomes_rgb():
    assert_all(decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95), CONFIG), RED)


def test_a_transparent_palette_color_is_composed_over_white():
    image = Image.new("P", (16, 16), 0)
    image.putpalette([*BLACK, *GREEN])
    image.paste(1, (8, 0, 16, 16))
    for format_ in ("PNG", "GIF"):
        pixels = decode(encoded(image, format_, transparency=0), CONFIG)
        assert (tuple(pixels[4, 0]), tuple(pixels[4, 7])) == (WHITE, GREEN)


def test_a_palette_with_alpha_bytes_is_composed_over_white():
    image = Image.new("P", (16, 16), 0)
    image.putpalette([*BLACK, *GREEN])
    assert_all(decode(encoded(image, transparency=bytes([128, 255])), CONFIG), (127, 127, 127))


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_that_is_0_everywhere_is_unused(mode, format_):
    if (mode, format_) == ("LA", "WEBP"):
        pytest.skip("WebP has no gray")
    image = Image.new("RGBA", (32, 32), (*RED, 255) if mode == "RGBA" else (90, 90, 90, 255)).convert(mode)
    image.putalpha(0)
    exact = {"lossless": True, "exact": True} if format_ == "WEBP" else {}

    assert_all(decode(encoded(image, format_, **exact)), RED if mode == "RGBA" else (90, 90, 90))
    image.putpixel((0, 0), (*image.getpixel((0, 0))[:-1], 1))  # used somewhere
    assert_all(decode(encoded(image, format_, **exact)), WHITE)


def test_an_unused_alpha_channel_of_a_bitmap_is_ignored():
    pixels = bytes([0, 0, 255, 0]) * 64  # blue, green, red, alpha
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 8, 8, 1, 32, 3, len(pixels), 2835, 2835, 0, 0) + masks + bytes(52)
    start = 14 + len(header)
    bitmap = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + pixels

    assert_all(decode(bitmap), RED)


@pytest.mark.parametrize("transparent", [0, 1, 40_000, 65_535])
def test_deep_gray_with_a_transparent_value_is_composed_over_white(transparent):
    values = np.full((32, 32), 20_000, np.uint16)
    values[:, :16] = transparent
    data = encoded(Image.fromarray(values))
    place = data.index(b"IDAT") - 4
    with_value = data[:place] + png_chunk(b"tRNS", struct.pack(">H", transparent)) + data[place:]
    pixels = decode(with_value)

    assert np.all(pixels[:, :3] >= 250)
    assert np.abs(pixels[:, 5:].astype(int) - round(20_000 / 257)).max() <= 3
    assert np.abs(decode(data)[:, :3].astype(int) - round(transparent / 257)).max() <= 3  # without tRNS it is a gray
    near = data[:place] + png_chunk(b"tRNS", struct.pack(">H", transparent ^ 1)) + data[place:]
    assert np.abs(decode(near)[:, :3].astype(int) - round(transparent / 257)).max() <= 3  # all 16 bits count


def test_gray_and_colour_with_alpha_are_composed_over_white():
    assert_all(decode(encoded(Image.new("LA", (16, 16), (0, 128))), CONFIG), (127, 127, 127))
    assert_all(decode(encoded(Image.new("RGBA", (16, 16), (*RED, 1))), CONFIG), WHITE)


@pytest.mark.parametrize(
    ("mode", "value"),
    [("1", 1), ("L", 200), ("I;16", 200 * 257), ("RGB", (200, 200, 200))],
)
def test_gray_of_every_depth_keeps_its_brightness(mode, value):
    gray = 255 if mode == "1" else 200
    assert_all(decode(encoded(Image.new(mode, (16, 16), value)), CONFIG), (gray, gray, gray), tolerance=0)


@pytest.mark.parametrize(("mode", "low", "high"), [("F", -2.0, 7.5), ("I", -5, 100_000)])
def test_values_without_a_declared_range_are_scaled_to_their_own(mode, low, high):
    image = Image.new(mode, (16, 16), low)
    image.paste(high, (0, 8, 16, 16))
    pixels = decode(encoded(image, "TIFF"), ImageConfig(size_px=16))
    assert (tuple(pixels[0, 0]), tuple(pixels[15, 0])) == (BLACK, WHITE)


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (16, 16), color) for color in (RED, GREEN, BLUE)]
    for format_ in ("GIF", "PNG", "WEBP"):
        data = encoded(frames[0], format_, save_all=True, append_images=frames[1:], duration=50)
        assert_all(decode(data, CONFIG), RED, tolerance=6)


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_an_empty_file_is_refused():
    assert reason(b"") == "empty file"


@pytest.mark.parametrize("data", [b"hello, I am text", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"P6 1 1 255 \0\0\0", b"\0" * 99])
def test_bytes_of_no_allowed_format_are_refused(data):
    assert reason(data) == "not an image"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_file_cut_in_half_is_truncated(format_):
    data = encoded(noise(), format_)
    assert reason(data[: len(data) // 2]) == "truncated"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_file_cut_anywhere_is_refused_and_never_half_an_image(format_):
    data = encoded(noise(), format_)
    for length in range(1, len(data) * 9 // 10, 37):
        assert reason(data[:length]) in {"not an image", "truncated", "damaged"}


def test_hostile_bytes_raise_nothing_but_an_image_error():
    rng = np.random.default_rng(0)
    for format_ in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"):
        data = encoded(noise(16, 16), format_)
        for _ in range(50):
            mangled = np.frombuffer(data, np.uint8).copy()
            mangled[rng.integers(0, min(len(data), 200), 5)] = rng.integers(0, 256, 5)
            with suppress(ImageError):
                assert decode(mangled.tobytes(), CONFIG).shape == (8, 8, 3)


def test_a_decompression_bomb_is_refused_by_its_header():
    assert len(bomb(50_000, 50_000)) < 100
    assert reason(bomb(50_000, 50_000)) == "too many pixels"
    assert reason(bomb(10_001, 10_000)) == "too many pixels"  # where Pillow itself would only warn


def test_a_jpeg_of_very_many_scans_is_refused_by_their_number():
    whole = encoded(noise(256, 256), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    many = whole[:-2] + last * 5000 + whole[-2:]

    assert reason(many) == "too many scans"
    scans = whole.count(b"\xff\xda")
    assert reason(whole, ImageConfig(size_px=8, max_scans=scans - 1)) == "too many scans"
    assert decode(whole, ImageConfig(size_px=8, max_scans=scans)).shape == (8, 8, 3)
    assert ImageConfig(max_scans=3).limits.max_scans == 3


def test_scans_of_a_preview_and_of_a_film_behind_the_picture_do_not_count():
    whole = encoded(noise(64, 64), "JPEG", progressive=True)
    preview = b"\xff\xe1" + struct.pack(">H", 2002) + b"\xff\xda" * 1000
    motion_photo = whole[:2] + preview + whole[2:] + b"\xff\xda\0\0" * 1000

    assert np.array_equal(decode(motion_photo), decode(whole))


def test_the_largest_allowed_image_is_decoded_and_one_more_row_is_not():
    config = ImageConfig(size_px=8, max_pixels=20 * 20)
    assert decode(encoded(noise(20, 20)), config).shape == (8, 8, 3)
    assert reason(encoded(noise(20, 21)), config) == "too many pixels"


# -- pack --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path) -> Root:
    folder = tmp_path / "source"
    folder.mkdir()
    for name, color in (("red.png", RED), ("green.png", GREEN), ("blue.png", BLUE)):
        (folder / name).write_bytes(encoded(Image.new("RGB", (16, 16), color)))
    return Root(str(folder))


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path / "root"))


def refusals(paths: list[str], source: Root, root: Root, config: ImageConfig = CONFIG) -> list[str]:
    ref, rows = images.pack([f"id of {path}" for path in paths], paths, PictureFiles(source, root), config, root)
    assert ref is None
    assert [(row["table"], row["image_id"], row["value"]) for row in rows] == [
        ("images", f"id of {path}", path) for path in paths
    ]
    return [row["reason"] for row in rows]


def test_good_images_are_packed_in_order_and_bad_ones_quarantined(source, root):
    Path(source.address, "text.jpg").write_text("I am text")
    paths = ["red.png", "text.jpg", "green.png", "gone.png", "blue.png"]
    done: list[int] = []
    ref, rows = images.pack(list("abcde"), paths, PictureFiles(source, root), CONFIG, root, done.append)
    assert sum(done) == 5
    assert rows == [
        {"table": "images", "image_id": "b", "reason": "not an image", "value": "text.jpg"},
        {"table": "images", "image_id": "d", "reason": "no file", "value": "gone.png"},
    ]
    shards = Shards.open([ref], root)
    assert shards.ids.tolist() == ["a", "c", "e"]
    for pixels, color in zip(shards.gather(np.arange(3)), (RED, GREEN, BLUE), strict=True):
        assert_all(pixels, color)


def test_packing_twice_gives_the_same_ref(source, root):
    paths = ["red.png", "green.png", "blue.png"]
    first = images.pack(list("abc"), paths, PictureFiles(source, root), CONFIG, root)
    assert images.pack(list("abc"), paths, PictureFiles(source, root), CONFIG, root) == first


def test_a_link_out_of_the_source_directory_is_refused(source, root, tmp_path):
    (tmp_path / "secret.png").write_bytes(encoded(noise()))
    folder = Path(source.address)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "folder").symlink_to(tmp_path)
    outside = ["link.png", "folder/secret.png", "../secret.png", "x/../../secret.png", str(tmp_path / "secret.png")]
    assert set(refusals(outside, source, root)) == {"path outside the source directory"}


def test_a_path_that_leaves_the_source_directory_is_refused_even_if_it_comes_back(source, root):
    assert refusals(["../source/red.png"], source, root) == ["path outside the source directory"]


def test_a_link_within_the_source_directory_is_followed(source, root):
    Path(source.address, "again.png").symlink_to("red.png")
    ref, rows = images.pack(["a"], ["again.png"], PictureFiles(source, root), CONFIG, root)
    assert (ref.rows, rows) == (1, [])


def test_folders_and_devices_are_no_files(source, root):
    folder = Path(source.address)
    (folder / "folder").mkdir()
    (folder / "circle").symlink_to("circle")
    os.mkfifo(folder / "pipe")
    paths = ["folder", "circle", "pipe", "", "nul\0.png", "n" * 5000]
    assert set(refusals(paths, source, root)) == {"no file"}


def test_empty_and_oversized_files_are_refused(source, root):
    Path(source.address, "zero.png").touch()
    config = ImageConfig(size_px=8, max_bytes=50)
    assert refusals(["zero.png", "red.png"], source, root, config) == ["empty file", "too many bytes"]


# -- versions ---------------------------------------------------------------------------------------------------------


def test_a_version_changes_with_the_file_and_with_nothing_else(source):
    paths = ["red.png", "gone.png"]
    before = images.versions(PictureFiles(source, source), paths)
    assert images.versions(PictureFiles(source, source), ["blue.png", *paths])["red.png"] == before["red.png"]
    Path(source.address, "gone.png").write_bytes(b"here it is")
    os.utime(Path(source.address, "red.png"), ns=(0, 0))
    after = images.versions(PictureFiles(source, source), paths)
    assert all(after[path] != before[path] for path in paths)


def test_the_version_of_an_impossible_file_name_is_missing(source):
    paths = ["n" * 5000, "nul\0.png", "gone.png"]
    assert images.versions(PictureFiles(source, source), paths) == dict.fromkeys(paths, images.MISSING)


# -- thumbnails --------------------------------------------------------------------------------------------------------


def test_a_thumbnail_is_a_jpeg_of_the_requested_size():
    image = Image.open(io.BytesIO(images.thumbnail(np.full((8, 8, 3), RED, np.uint8), 20)))
    assert (image.format, image.size) == ("JPEG", (20, 20))
    assert_all(decode(encoded(image), CONFIG), RED)
