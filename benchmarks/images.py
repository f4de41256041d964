"""Decode, resize and pack JPEGs of 1,024 pixels beside a bare loop: `python benchmarks/images.py`.

The reference is libjpeg-turbo's scaled decode and Pillow's resize, as many threads as ours; it checks nothing, and
leaves the pixels in memory.
"""

import argparse
import io
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from reach import Claim, measured, report

from storage import images
from storage.roots import Root
from storage.settings.images import ImageConfig

SIDE, PACKED = 1024, 256


def main() -> None:
    parser = argparse.ArgumentParser(description="Time decoding beside a bare loop.")
    parser.add_argument("--images", type=int, default=60, help="how many (default 60)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way runs (default 3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "source"), Root(str(Path(folder, "out")))
        source.mkdir()
        names = [f"{number}.jpg" for number in range(options.images)]
        rng = np.random.default_rng(0)
        for name in names:
            _picture(rng).save(source / name, quality=85)
        files, config = images.PictureFiles(Root(str(source)), out), ImageConfig(size_px=PACKED)
        runs = {
            "ours": lambda: images.pack(names, names, files, config, out),
            "bare": lambda: _bare([source / name for name in names]),
        }
        found = measured(runs, options.rounds)
    claim = Claim(f"decode, resize and pack {options.images} JPEGs", "Pillow's draft and resize", 1 / 0.95)
    report(claim, found["ours"], found["bare"])


def _picture(rng: np.random.Generator) -> Image.Image:
    """Smooth shapes with some grain, as photographs have."""
    small = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 6, (SIDE, SIDE, 1))
    return Image.fromarray((np.asarray(small) + grain).clip(0, 255).astype(np.uint8))


def _bare(paths: list[Path]) -> np.ndarray:
    pixels = np.empty((len(paths), PACKED, PACKED, 3), np.uint8)

    def decode(row: int) -> None:
        with Image.open(io.BytesIO(paths[row].read_bytes())) as image:
            image.draft("RGB", (PACKED, PACKED))
            small = image.resize((PACKED, PACKED), Image.Resampling.BICUBIC, reducing_gap=3.0)
        pixels[row] = np.asarray(small)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode, range(len(paths))))
    return pixels


if __name__ == "__main__":
    main()
