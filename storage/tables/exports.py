"""What downstream teams read: a public interface. A change here raises SCHEMA_VERSION."""

import pyarrow as pa

from storage.tables.schema import IMAGE_ID, USER_ID, VECTOR, column, table

MODEL = column("model", pa.string(), "the system that made the row, and the first digits of its state's digest")

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
SIMILAR_IMAGES = table(
    "similar_images",
    ("image_id", "rank"),
    "An image that is like another to the model; none where it has no embeddings.",
    IMAGE_ID,
    column("rank", pa.int32(), "1 is the most similar"),
    column("similar_image_id", pa.string(), "the similar image"),
    column("score", pa.float32(), "cosine of the images' learned representations, centred; higher is more similar"),
)
EXPORTS = (RECOMMENDATIONS, USER_EMBEDDINGS, IMAGE_EMBEDDINGS, SIMILAR_IMAGES)
