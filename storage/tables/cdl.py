"""CDL's negatives and training triplets."""

import pyarrow as pa

from storage.tables.schema import USER_ID, column, table

NEGATIVES = table(
    "negatives",
    ("user_id",),
    "How many images are excluded as a user's negatives and how many are left (CDL, section 5): the audit.",
    USER_ID,
    column("num_favorites", pa.int64(), "the user's own training favorites"),
    column("num_tagged", pa.int64(), "images that carry a tag of the user's interests"),
    column("num_contacts", pa.int64(), "images that a contact favorited"),
    column("num_groups", pa.int64(), "images that a member of one of the user's groups favorited"),
    column("num_negatives", pa.int64(), "images left after the exclusions that were kept"),
    column("dropped", pa.string(), "exclusions that fell away because too few were left: none, tags, tags+groups, ..."),
    column("reason", pa.string(), "why no negative is left; absent where some are", optional=True),
)
TRIPLETS = table(
    "triplets",
    ("pool", "user_id", "positive_id", "negative_id", "draw"),
    "A training triplet: the user prefers the positive to the negative (CDL, Eq. 1).",
    column("pool", pa.int32(), "triplets of one pool share their images and are trained together"),
    USER_ID,
    column("positive_id", pa.string(), "a training favorite of the user"),
    column("negative_id", pa.string(), "an assigned negative of the user"),
    column("draw", pa.int32(), "the draw's number among the user's"),
)
