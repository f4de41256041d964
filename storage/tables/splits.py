"""Held-out favorites and the images that a split ranks."""

from storage.tables.schema import IMAGE_ID, USER_ID, table

CONCEALED = table(
    "concealed",
    ("user_id", "image_id"),
    "A favorite concealed from everything that learns, to test against.",
    USER_ID,
    IMAGE_ID,
)
CANDIDATES = table(
    "candidates",
    ("image_id",),
    "An image that is ranked where only some are: in a split that holds images out entirely.",
    IMAGE_ID,
)
