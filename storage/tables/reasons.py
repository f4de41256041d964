"""Exported reasons: a public interface. A change here raises SCHEMA_VERSION."""

import pyarrow as pa

from storage.tables.schema import IMAGE_ID, USER_ID, column, table

REASONS = table(
    "reasons",
    ("user_id", "rank", "signal"),
    "What a signal adds to the score of a recommendation, for the first places of each list. Optional: only a system "
    "that is a sum over signals has it.",
    USER_ID,
    column("rank", pa.int32(), "the place in the user's recommendations"),
    IMAGE_ID,
    column(
        "signal",
        pa.string(),
        "favorites (of users who like the same), content (of the images), tags, contacts, groups, owners, profile (a "
        "cold user's tags, contacts and groups) or popularity",
    ),
    column("share", pa.float32(), "of the score; the shares of a recommendation sum to it; may be below 0"),
    column(
        "because",
        pa.string(),
        "what stands behind it: for favorites and content the id of the user's favorite that is nearest to the image, "
        "for tags the tag, for contacts the contact, for groups the group, for owners the owner; else none",
        optional=True,
    ),
)
