"""Every table of the pipeline: its columns, its key, and what one row means.

`docs/tables.md` is generated from this file. A change here changes a public interface where the table is one of the
source contract's or of the export's: raise SCHEMA_VERSION, and say so in CHANGELOG.md.
"""

from dataclasses import dataclass, replace

import pyarrow as pa

SCHEMA_VERSION = "1"

STRINGS = pa.list_(pa.string())
TIME = pa.timestamp("s", "UTC")
VECTOR = pa.list_(pa.float32())


@dataclass(frozen=True)
class Table:
    """A table's contract. Rows are unique by `key`, and files are sorted by it."""

    name: str
    key: tuple[str, ...]
    doc: str
    schema: pa.Schema

    def with_dimensions(self, num_dimensions: int) -> "Table":
        """This table with every vector column a fixed-size list of `num_dimensions` float32."""
        fields = [
            field.with_type(pa.list_(pa.float32(), num_dimensions)) if field.type == VECTOR else field
            for field in self.schema
        ]
        return replace(self, schema=pa.schema(fields))


def _column(name: str, type_: pa.DataType, doc: str, *, optional: bool = False) -> pa.Field:
    return pa.field(name, type_, nullable=optional, metadata={"doc": doc})


def _table(name: str, key: tuple[str, ...], doc: str, *columns: pa.Field) -> Table:
    return Table(name, key, doc, pa.schema(columns))


_user_id = _column("user_id", pa.string(), "the source's id of the user")
_image_id = _column("image_id", pa.string(), "the source's id of the image")
_tag = _column("tag", pa.string(), "the tag as the source writes it")
_protocol = _column(
    "protocol",
    pa.string(),
    "paper, paper_matched, paper_both (the mean of the two), auc, full, time, cold or cold_users",
)
_model = _column("model", pa.string(), "the system that made the row, and the first digits of its state's digest")

# -- the community, as ingested ----------------------------------------------------------------------------------------

USERS = _table(
    "users",
    ("user_id",),
    "A user exists.",
    _user_id,
    _column("name", pa.string(), "the name to show", optional=True),
)
IMAGES = _table(
    "images",
    ("image_id",),
    "An image exists.",
    _image_id,
    _column("path", pa.string(), "where its file lies, relative to the source directory", optional=True),
    _column("url", pa.string(), "where it can be fetched", optional=True),
    _column("owner_id", pa.string(), "the user who uploaded it", optional=True),
    _column("title", pa.string(), "its title", optional=True),
    _column("uploaded_at", TIME, "when it was uploaded", optional=True),
)
FAVORITES = _table(
    "favorites",
    ("user_id", "image_id"),
    "A user marked an image as a favorite.",
    _user_id,
    _image_id,
    _column("favorited_at", TIME, "when; absent where the source does not say", optional=True),
)
IMAGE_TAGS = _table("image_tags", ("image_id", "tag"), "An image carries a tag.", _image_id, _tag)
USER_TAGS = _table(
    "user_tags",
    ("user_id", "tag"),
    "A user uses a tag.",
    _user_id,
    _tag,
    _column("count", pa.int64(), "how often; 1 where the source does not say"),
)
CONTACTS = _table(
    "contacts",
    ("user_id", "contact_id"),
    "A user follows another (directed; a mutual friendship is two rows).",
    _user_id,
    _column("contact_id", pa.string(), "the user who is followed"),
)
GROUPS = _table(
    "groups",
    ("group_id",),
    "A group exists.",
    _column("group_id", pa.string(), "the source's id of the group"),
    _column("name", pa.string(), "the name to show", optional=True),
)
MEMBERSHIPS = _table(
    "memberships",
    ("user_id", "group_id"),
    "A user joined a group.",
    _user_id,
    _column("group_id", pa.string(), "the group joined"),
)
IMAGE_FEATURES = _table(
    "image_features",
    ("image_id",),
    "A ready-made visual feature of an image; serves images that have no pixels.",
    _image_id,
    _column("feature", VECTOR, "the feature; one length for the whole table"),
)
QUARANTINE = _table(
    "quarantine",
    ("table", "row", "reason", "value"),
    "An input row, or an image's file, that breaks its table's rules and was kept out.",
    _column("table", pa.string(), "the input table"),
    _column("row", pa.int64(), "its row number there, counted from 0; absent for a picture's file", optional=True),
    _column("reason", pa.string(), "which rule it breaks, in a few fixed words that can be counted"),
    _column("value", pa.string(), "the offending value", optional=True),
)
TOMBSTONES = _table(
    "tombstones",
    ("kind", "id"),
    "A user or an image to forget: every row that names it, in any table, is left out. Read, kept nowhere.",
    _column("kind", pa.string(), "user or image"),
    _column("id", pa.string(), "the source's id of it"),
)
COMMUNITY = (USERS, IMAGES, FAVORITES, IMAGE_TAGS, USER_TAGS, CONTACTS, GROUPS, MEMBERSHIPS, IMAGE_FEATURES)

# -- what the pipeline derives -----------------------------------------------------------------------------------------

PICTURES = _table(
    "pictures",
    ("image_id",),
    "A picture's file as it was when it was looked at, so that the next night decodes only what is new.",
    _image_id,
    _column("path", pa.string(), "relative to the source"),
    _column("version", pa.string(), "size and time of change, or the ETag"),
    _column("reason", pa.string(), "why it has no pixels; absent where it has", optional=True),
)
CONCEALED = _table(
    "concealed",
    ("user_id", "image_id"),
    "A favorite concealed from everything that learns, to test against.",
    _user_id,
    _image_id,
)
TOKEN_VECTORS = _table(
    "token_vectors",
    ("token",),
    "A word2vec vector of a tag, or of an image where the community has no tags.",
    _column("token", pa.string(), "the tag, or the image_id"),
    _column("count", pa.int64(), "how often the token stood in the sentences; 0 for a pretrained vector"),
    _column("vector", VECTOR, "the word2vec vector"),
)
CLUSTERS = _table(
    "clusters",
    ("cluster",),
    "A semantic cluster of tags (CDL, section 5), with its members so that a person can read it.",
    _column("cluster", pa.int32(), "the cluster's number, 0 to num_clusters - 1"),
    _column("size", pa.int64(), "how many tokens it holds"),
    _column("tokens", STRINGS, "its tokens, the most frequent first"),
    _column("centroid", VECTOR, "the k-means centroid"),
)
PROFILES = _table(
    "profiles",
    ("user_id",),
    "A user's bag of clusters (CDL, section 5), as a sparse vector of unit l2 norm.",
    _user_id,
    _column("clusters", pa.list_(pa.int32()), "the clusters of interest, ascending"),
    _column("weights", VECTOR, "square root of the share of the user's tag counts in each cluster"),
)
INTERESTS = _table(
    "interests",
    ("user_id", "tag"),
    "A tag (or cluster) of the user's interests, for negatives and for candidates.",
    _user_id,
    _tag,
    _column("count", pa.int64(), "how often the user uses it"),
    _column("lift", pa.float32(), "its share of the user's tags over its share of the community's"),
)
NEGATIVES = _table(
    "negatives",
    ("user_id",),
    "How many images are excluded as a user's negatives and how many are left (CDL, section 5): the audit.",
    _user_id,
    _column("num_favorites", pa.int64(), "the user's own training favorites"),
    _column("num_tagged", pa.int64(), "images that carry a tag of the user's interests"),
    _column("num_contacts", pa.int64(), "images that a contact favorited"),
    _column("num_groups", pa.int64(), "images that a member of one of the user's groups favorited"),
    _column("num_negatives", pa.int64(), "images left after the exclusions that were kept"),
    _column(
        "dropped", pa.string(), "exclusions that fell away because too few were left: none, tags, tags+groups, ..."
    ),
    _column("reason", pa.string(), "why no negative is left; absent where some are", optional=True),
)
TRIPLETS = _table(
    "triplets",
    ("pool", "user_id", "positive_id", "negative_id", "draw"),
    "A training triplet: the user prefers the positive to the negative (CDL, Eq. 1).",
    _column("pool", pa.int32(), "triplets of one pool share their images and are trained together"),
    _user_id,
    _column("positive_id", pa.string(), "a training favorite of the user"),
    _column("negative_id", pa.string(), "an assigned negative of the user"),
    _column("draw", pa.int32(), "the draw's number among the user's"),
)
METRICS = _table(
    "metrics",
    ("protocol", "slice", "system", "metric", "k"),
    "A figure of the evaluation, with its bootstrap interval over users.",
    _column("protocol", pa.string(), "paper, paper_matched or full"),
    _column("slice", pa.string(), "all, warm or cold images"),
    _column("system", pa.string(), "the published system's name, popularity or random"),
    _column("metric", pa.string(), "precision, recall, ndcg, hit_rate or map"),
    _column("k", pa.int32(), "length of the list that is scored"),
    _column("value", pa.float64(), "mean over users"),
    _column("low", pa.float64(), "lower end of the 95 % interval"),
    _column("high", pa.float64(), "upper end of the 95 % interval"),
    _column("users", pa.int64(), "users in the mean"),
)

CANDIDATES = _table(
    "candidates",
    ("image_id",),
    "An image that is ranked where only some are: in a split that holds images out entirely.",
    _image_id,
)
TRIALS = _table(
    "trials",
    ("trial",),
    "Settings of a system that were tried, and how well they did on validation.",
    _column("trial", pa.int32(), "its number; trial 0 has the defaults"),
    _column("settings", pa.string(), "the settings tried, as JSON"),
    _column("value", pa.float64(), "the figure on validation that is to be highest"),
    _column("fit_s", pa.float64(), "seconds to fit"),
)
USER_METRICS = _table(
    "user_metrics",
    ("protocol", "slice", "metric", "k", "user_id"),
    "A figure of one test user; the means are in `results`.",
    _protocol,
    _column("slice", pa.string(), "all, warm or cold images"),
    _column("metric", pa.string(), "precision, recall, ndcg, hit_rate, map or auc"),
    _column("k", pa.int32(), "length of the list that is scored; 0 where all images are"),
    _user_id,
    _column("value", pa.float64(), "the user's figure"),
)
RESULTS = _table(
    "results",
    ("system", "protocol", "slice", "metric", "k", "seed"),
    "A figure of a comparison, with its bootstrap interval over users.",
    _column("system", pa.string(), "the system's name"),
    _protocol,
    _column("slice", pa.string(), "all, warm or cold images"),
    _column(
        "metric",
        pa.string(),
        "precision, recall, ndcg, hit_rate, map, auc; of all lists together: coverage, average_popularity, "
        "average_percentile, gini",
    ),
    _column("k", pa.int32(), "length of the list that is scored; 0 where all images are"),
    _column("seed", pa.int64(), "the seed of the system; the split is the same for all"),
    _column("value", pa.float64(), "mean over users"),
    _column("low", pa.float64(), "lower end of the 95 % interval; absent for figures of all lists", optional=True),
    _column("high", pa.float64(), "upper end of the 95 % interval; absent for figures of all lists", optional=True),
    _column("users", pa.int64(), "users in the mean"),
    _column("fit_s", pa.float64(), "seconds to fit on training and validation"),
    _column("score_s", pa.float64(), "seconds to rank for all test users"),
)
COMPARISONS = _table(
    "comparisons",
    ("protocol", "slice", "metric", "k", "system"),
    "A system against the best of the others on the same users; each user's figure is the mean over seeds.",
    _protocol,
    _column("slice", pa.string(), "all, warm or cold images"),
    _column("metric", pa.string(), "precision, ndcg or auc"),
    _column("k", pa.int32(), "length of the list that is scored; 0 where all images are"),
    _column("system", pa.string(), "the system"),
    _column("value", pa.float64(), "mean over users and seeds"),
    _column("low", pa.float64(), "lower end of the 95 % interval"),
    _column("high", pa.float64(), "upper end of the 95 % interval"),
    _column("users", pa.int64(), "users in the mean"),
    _column("other", pa.string(), "the best of the other systems by the same figure"),
    _column("other_value", pa.float64(), "its mean"),
    _column("difference", pa.float64(), "the system's mean less the other's"),
    _column("difference_low", pa.float64(), "lower end of the difference's 95 % interval"),
    _column("difference_high", pa.float64(), "upper end of the difference's 95 % interval"),
    _column("p_value", pa.float64(), "how often random signs bring the mean difference as far from 0"),
)

# -- what downstream teams read ----------------------------------------------------------------------------------------

RECOMMENDATIONS = _table(
    "recommendations",
    ("user_id", "rank"),
    "An image recommended to a user; never one the user already favorited.",
    _user_id,
    _column("rank", pa.int32(), "1 is best"),
    _image_id,
    _column("score", pa.float32(), "inner product of the two exported embeddings, if there are any; higher is better"),
    _model,
)
USER_EMBEDDINGS = _table(
    "user_embeddings",
    ("user_id",),
    "A user's embedding; none where the system's score is no inner product.",
    _user_id,
    _column("embedding", VECTOR, "the embedding"),
    _model,
)
IMAGE_EMBEDDINGS = _table(
    "image_embeddings",
    ("image_id",),
    "An image's embedding; none where the system's score is no inner product.",
    _image_id,
    _column("embedding", VECTOR, "the embedding"),
    _model,
)
SIMILAR_IMAGES = _table(
    "similar_images",
    ("image_id", "rank"),
    "An image that is like another to the model; none where it has no embeddings.",
    _image_id,
    _column("rank", pa.int32(), "1 is the most similar"),
    _column("similar_image_id", pa.string(), "the similar image"),
    _column("score", pa.float32(), "cosine of the images' learned representations, centred; higher is more similar"),
)
EXPORTS = (RECOMMENDATIONS, USER_EMBEDDINGS, IMAGE_EMBEDDINGS, SIMILAR_IMAGES)
