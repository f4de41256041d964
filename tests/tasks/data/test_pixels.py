"""Pictures that an earlier night decoded are not decoded again."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage.roots import Root
from storage.settings.images import ImageConfig
from tasks.data.pictures import Batch
from tasks.data.pixels import decode_images

CONFIG = ImageConfig(size_px=8)


@pytest.fixture
def source(tmp_path) -> Root:
    folder = tmp_path / "source"
    folder.mkdir()
    for row in range(6):
        Image.fromarray(np.full((8, 8, 3), 40 * row, np.uint8)).save(folder / f"{row}.png")
    (folder / "5.png").write_bytes(b"no picture")
    return Root(str(folder))


def batch(rows: str, version: str = "1") -> Batch:
    return Batch(list(rows), [f"{row}.png" for row in rows], [version] * len(rows))


def test_only_new_and_changed_pictures_are_read_and_the_shard_is_the_one_decoded_anew(source, tmp_path):
    root = Root(str(tmp_path / "root"))
    last = [decode_images.fn(batch(rows), source, CONFIG, root, []) for rows in ("012", "35")]
    decoded_again = decode_images.fn(batch("01345"), source, CONFIG, root, [])
    for row in "0135":
        Path(source.address, f"{row}.png").unlink()  # its version still says that nothing has changed
    taken_over = decode_images.fn(batch("01345"), source, CONFIG, root, last)

    assert taken_over == decoded_again
    assert [item["image_id"] for item in taken_over.rejected] == ["5"]


def test_a_picture_whose_file_has_changed_is_decoded_again(source, tmp_path):
    root = Root(str(tmp_path / "root"))
    last = [decode_images.fn(batch("01"), source, CONFIG, root, [])]
    for row in "01":
        Path(source.address, f"{row}.png").unlink()
    changed = decode_images.fn(batch("01", version="2"), source, CONFIG, root, last)

    assert [item["reason"] for item in changed.rejected] == ["no file", "no file"]
