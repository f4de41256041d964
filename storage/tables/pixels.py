"""The state of each picture's file when it was last decoded."""

import pyarrow as pa

from storage.tables.schema import IMAGE_ID, column, table

PICTURES = table(
    "pictures",
    ("image_id",),
    "A picture's file when it was last decoded, so that the next night decodes only new and changed pictures.",
    IMAGE_ID,
    column("path", pa.string(), "as in the table images"),
    column("version", pa.string(), "size and modification time, or the ETag"),
    column("reason", pa.string(), "why it has no pixels; absent where it has", optional=True),
)
