"""Tag vectors, clusters and user profiles."""

import pyarrow as pa

from storage.tables.schema import STRINGS, TAG, USER_ID, VECTOR, column, table

TOKEN_VECTORS = table(
    "token_vectors",
    ("token",),
    "A word2vec vector of a tag, or of an image where the community has no tags.",
    column("token", pa.string(), "the tag, or the image_id"),
    column("count", pa.int64(), "how often the token stood in the sentences; 0 for a pretrained vector"),
    column("vector", VECTOR, "the word2vec vector"),
)
CLUSTERS = table(
    "clusters",
    ("cluster",),
    "A semantic cluster of tags (CDL, section 5), with its members so that a person can read it.",
    column("cluster", pa.int32(), "the cluster's number, 0 to num_clusters - 1"),
    column("size", pa.int64(), "how many tokens it holds"),
    column("tokens", STRINGS, "its tokens, the most frequent first"),
    column("centroid", VECTOR, "the k-means centroid"),
)
PROFILES = table(
    "profiles",
    ("user_id",),
    "A user's bag of clusters (CDL, section 5), as a sparse vector of unit l2 norm.",
    USER_ID,
    column("clusters", pa.list_(pa.int32()), "the clusters of interest, ascending"),
    column("weights", VECTOR, "square root of the share of the user's tag counts in each cluster"),
)
INTERESTS = table(
    "interests",
    ("user_id", "tag"),
    "A tag (or cluster) of the user's interests, for negatives and for candidates.",
    USER_ID,
    TAG,
    column("count", pa.int64(), "how often the user uses it"),
    column("lift", pa.float32(), "its share of the user's tags over its share of the community's"),
)
