"""The community as ingested, what was kept out of it, and who is to be forgotten."""

import pyarrow as pa

from storage.tables.schema import IMAGE_ID, TAG, TIME, USER_ID, VECTOR, column, table

USERS = table(
    "users",
    ("user_id",),
    "A user exists.",
    USER_ID,
    column("name", pa.string(), "the name to show", optional=True),
)
IMAGES = table(
    "images",
    ("image_id",),
    "An image exists.",
    IMAGE_ID,
    column(
        "path",
        pa.string(),
        "its file, below the source; of what was fetched `fetched:` and its path below the root",
        optional=True,
    ),
    column("url", pa.string(), "where it can be fetched", optional=True),
    column("owner_id", pa.string(), "the user who uploaded it", optional=True),
    column("title", pa.string(), "its title", optional=True),
    column("uploaded_at", TIME, "when it was uploaded", optional=True),
)
FAVORITES = table(
    "favorites",
    ("user_id", "image_id"),
    "A user marked an image as a favorite.",
    USER_ID,
    IMAGE_ID,
    column("favorited_at", TIME, "when; absent where the source does not say", optional=True),
)
IMAGE_TAGS = table("image_tags", ("image_id", "tag"), "An image carries a tag.", IMAGE_ID, TAG)
USER_TAGS = table(
    "user_tags",
    ("user_id", "tag"),
    "A user uses a tag.",
    USER_ID,
    TAG,
    column("count", pa.int64(), "how often; 1 where the source does not say"),
)
TAG_ASSIGNMENTS = table(
    "tag_assignments",
    ("user_id", "image_id", "tag"),
    "A user put a tag on an image. It explains counts of image_tags and user_tags, so that those can be withheld.",
    USER_ID,
    IMAGE_ID,
    TAG,
    column("tagged_at", TIME, "when; absent where the source does not say", optional=True),
)
CONTACTS = table(
    "contacts",
    ("user_id", "contact_id"),
    "A user follows another (directed; a mutual friendship is two rows).",
    USER_ID,
    column("contact_id", pa.string(), "the user who is followed"),
)
GROUPS = table(
    "groups",
    ("group_id",),
    "A group exists.",
    column("group_id", pa.string(), "the source's id of the group"),
    column("name", pa.string(), "the name to show", optional=True),
)
MEMBERSHIPS = table(
    "memberships",
    ("user_id", "group_id"),
    "A user joined a group.",
    USER_ID,
    column("group_id", pa.string(), "the group joined"),
)
IMAGE_FEATURES = table(
    "image_features",
    ("image_id",),
    "A ready-made visual feature of an image; serves images that have no pixels.",
    IMAGE_ID,
    column("feature", VECTOR, "the feature; one length for the whole table"),
)
BLOCKED_IMAGES = table(
    "blocked_images",
    ("image_id",),
    "An image that is recommended to no user, and is in no list of similar images.",
    IMAGE_ID,
)
BLOCKED_OWNERS = table(
    "blocked_owners",
    ("user_id",),
    "An owner none of whose images is recommended to any user, nor in a list of similar images.",
    column("user_id", pa.string(), "the owner, an `owner_id` of `images`"),
)
USER_BLOCKS = table(
    "user_blocks",
    ("user_id", "blocked_id"),
    "A user blocks an owner, whose images are not recommended to them.",
    USER_ID,
    column("blocked_id", pa.string(), "the owner, an `owner_id` of `images`"),
)
USER_MUTES = table(
    "user_mutes",
    ("user_id", "tag"),
    "A user mutes a tag: images that carry it are not recommended to them.",
    USER_ID,
    TAG,
)
HIDES = table(
    "hides",
    ("user_id", "image_id"),
    "A user hid an image, which is not recommended to them; in events, also no favorite of theirs.",
    USER_ID,
    IMAGE_ID,
)
EVENTS = table(
    "events",
    ("user_id", "image_id", "event"),
    "A user did something with an image. Read into favorites and hides, kept nowhere.",
    USER_ID,
    IMAGE_ID,
    column("event", pa.string(), "like, favorite, save, view or hide"),
    column("weight", pa.float64(), "towards a favorite; that of its kind where absent", optional=True),
    column("happened_at", TIME, "when; absent where the source does not say", optional=True),
)
QUARANTINE = table(
    "quarantine",
    ("table", "row", "reason", "value"),
    "An input row, or an image's file, that breaks its table's rules and was kept out.",
    column("table", pa.string(), "the input table"),
    column("row", pa.int64(), "its row number there, counted from 0; absent for a picture's file", optional=True),
    column("reason", pa.string(), "which rule it breaks, in a few fixed words that can be counted"),
    column("value", pa.string(), "the offending value", optional=True),
    column("text", pa.string(), "the row's known cells as JSON, long ones cut; absent for a picture", optional=True),
)
TOMBSTONES = table(
    "tombstones",
    ("kind", "id"),
    "A user or an image to forget: every row that names it, in any table, is left out. Read, kept nowhere.",
    column("kind", pa.string(), "user or image"),
    column("id", pa.string(), "the source's id of it"),
)
COMMUNITY = (
    USERS,
    IMAGES,
    FAVORITES,
    IMAGE_TAGS,
    USER_TAGS,
    TAG_ASSIGNMENTS,
    CONTACTS,
    GROUPS,
    MEMBERSHIPS,
    IMAGE_FEATURES,
    BLOCKED_IMAGES,
    BLOCKED_OWNERS,
    USER_BLOCKS,
    USER_MUTES,
    HIDES,
)
