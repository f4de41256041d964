"""The state of each picture's file when it was last decoded."""

import pyarrow as pa

from storage.tables.schema import IMAGE_ID, column, table

PICTURES = table(
    "pictures",
    ("image_id",),
    "A picture's file as it was when it was looked at, so that the next night decodes only what is new.",
    IMAGE_ID,
    column("path", pa.string(), "relative to the source"),
    column("version", pa.string(), "size and time of change, or the ETag"),
    column("reason", pa.string(), "why it has no pixels; absent where it has", optional=True),
)
