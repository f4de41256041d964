"""Exported embeddings: a public interface. A change here raises SCHEMA_VERSION."""

from storage.tables.schema import IMAGE_ID, MODEL, USER_ID, VECTOR, column, table

USER_EMBEDDINGS = table(
    "user_embeddings",
    ("user_id",),
    "A user's embedding; none where the system's score is no inner product.",
    USER_ID,
    column("embedding", VECTOR, "the embedding"),
    MODEL,
)

IMAGE_EMBEDDINGS = table(
    "image_embeddings",
    ("image_id",),
    "An image's embedding; none where the system's score is no inner product.",
    IMAGE_ID,
    column("embedding", VECTOR, "the embedding"),
    MODEL,
)
