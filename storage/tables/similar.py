"""Exported similar images: a public interface. A change here raises SCHEMA_VERSION."""

import pyarrow as pa

from storage.tables.schema import IMAGE_ID, column, table

SIMILAR_IMAGES = table(
    "similar_images",
    ("image_id", "rank"),
    "An image that is like another to the model; none where it has no embeddings.",
    IMAGE_ID,
    column("rank", pa.int32(), "1 is the most similar"),
    column("similar_image_id", pa.string(), "the similar image"),
    column("score", pa.float32(), "cosine of the images' learned representations, centred; higher is more similar"),
)
