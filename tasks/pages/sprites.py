"""Many pictures in one file: sprites, which lie beside a page, and of which a browser loads those that come near."""

from collections.abc import Sequence
from io import BytesIO

from PIL import Image

from tasks.pages.contents import ContentsError

THUMBNAIL_PX = 192  # of a picture, wide and high: twice as much as the page shows it
COLUMNS, ROWS = 8, 6  # of pictures in a file
NAME = "pictures-{:02}.jpg"


def place(number: int) -> tuple[str, int, int]:
    """Where the picture of this number lies: file, column, row."""
    row, column = divmod(number % (COLUMNS * ROWS), COLUMNS)
    return NAME.format(number // (COLUMNS * ROWS)), column, row


def files(jpegs: Sequence[bytes]) -> dict[str, bytes]:
    """The files of these pictures by name; all are of one size, so the last one may have empty places.

    Raises ContentsError for bytes that are no picture.
    """
    in_file = COLUMNS * ROWS
    return {
        NAME.format(begin // in_file): _sprite(jpegs[begin : begin + in_file])
        for begin in range(0, len(jpegs), in_file)
    }


def _sprite(jpegs: Sequence[bytes]) -> bytes:
    whole = Image.new("RGB", (COLUMNS * THUMBNAIL_PX, ROWS * THUMBNAIL_PX))
    for number, jpeg in enumerate(jpegs):
        _, column, row = place(number)
        try:
            with Image.open(BytesIO(jpeg)) as picture:
                cell = picture.convert("RGB").resize((THUMBNAIL_PX, THUMBNAIL_PX))
        except OSError as error:
            raise ContentsError(f"a picture of the report cannot be decoded ({error})") from error
        whole.paste(cell, (column * THUMBNAIL_PX, row * THUMBNAIL_PX))
    file = BytesIO()
    whole.save(file, "JPEG", quality=88)
    return file.getvalue()
