"""Exported recommendations: a public interface. A change here raises SCHEMA_VERSION."""

import pyarrow as pa

from storage.tables.schema import IMAGE_ID, MODEL, USER_ID, column, table

RECOMMENDATIONS = table(
    "recommendations",
    ("user_id", "rank"),
    "An image recommended to a user; never one the user already favorited.",
    USER_ID,
    column("rank", pa.int32(), "1 is best"),
    IMAGE_ID,
    column("score", pa.float32(), "inner product of the two exported embeddings, if there are any; higher is better"),
    MODEL,
)
