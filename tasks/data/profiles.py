"""User profiles over tag clusters, user interests, and the images' labels.

U users, T tags (images, where there are no tags), C clusters.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from models.content import profiles
from models.settings.profiles import InterestConfig
from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import IMAGE_TAGS
from storage.tables.tastes import INTERESTS, PROFILES
from tasks.data.tastes import Profiles, Vectors, labels_of
from tasks.runtime.caching import stage
from tasks.settings.profiles import VocabularyConfig


@dataclass(frozen=True)
class ProfileTables:
    """The tables that profiles are computed from."""

    users: Ref
    image_tags: Ref
    user_tags: Ref
    training: Ref  # the favorites that are not concealed

    @classmethod
    def of(cls, table: dict[str, Ref], training: Ref) -> "ProfileTables":
        """These tables of a community."""
        return cls(table["users"], table["image_tags"], table["user_tags"], training)


@stage
def build_profiles(
    vectors: Vectors,
    clusters: Ref,
    tables: ProfileTables,
    vocabulary: VocabularyConfig,
    config: InterestConfig,
    root: Root,
) -> Profiles:
    """Bag of clusters and interests of every user (CDL, section 5).

    A user without own tags has those of the images they favorited. In a community without tags the favorited images
    themselves stand for tags, and an interest is a cluster of images.
    """
    users = matrices.ids_of(parquet.read(tables.users, root, ["user_id"])["user_id"])
    favorites, image_tags = parquet.read(tables.training, root), parquet.read(tables.image_tags, root)
    if vectors.of == "tags":
        user_tags = parquet.read(tables.user_tags, root)
        tokens = matrices.ids_of(image_tags["tag"], user_tags["tag"])
        images = matrices.ids_of(image_tags["image_id"], favorites["image_id"])
        counts_UT, is_own = profiles.tag_counts(
            matrices.incidence(user_tags["user_id"], user_tags["tag"], users, tokens, user_tags["count"]),
            matrices.incidence(favorites["user_id"], favorites["image_id"], users, images),
            matrices.incidence(image_tags["image_id"], image_tags["tag"], images, tokens),
        )
    else:
        tokens = matrices.ids_of(favorites["image_id"])
        counts_UT = matrices.incidence(favorites["user_id"], favorites["image_id"], users, tokens)
        is_own = np.zeros(len(users), bool)
    labels = labels_of(clusters, tokens, root)
    bags_UC = profiles.bag_of_clusters(counts_UT, labels, clusters.rows)
    if vectors.of == "tags" and vocabulary.interests_of == "tags":
        interest_counts, names, image_labels = counts_UT, tokens, tables.image_tags
    else:
        names = np.array([f"cluster {cluster}" for cluster in range(clusters.rows)], object)
        interest_counts = counts_UT @ _one_hot(labels, clusters.rows)
        image_labels = _image_labels(vectors, image_tags, tokens, labels, names, root)
    has_profile = np.diff(bags_UC.indptr) > 0
    return Profiles(
        vectors.of,
        _write_profiles(users, bags_UC, root),
        _write_interests(users, names, csr_array(interest_counts), config, root),
        image_labels,
        clusters.rows,
        int((is_own & has_profile).sum()),
        int((~is_own & has_profile).sum()),
    )


def _write_profiles(users: Ids, bags_UC: csr_array, root: Root) -> Ref:
    offsets = pa.array(bags_UC.indptr.astype(np.int32))
    columns = {
        "user_id": users,
        "clusters": pa.ListArray.from_arrays(offsets, pa.array(bags_UC.indices.astype(np.int32))),
        "weights": pa.ListArray.from_arrays(offsets, pa.array(bags_UC.data.astype(np.float32))),
    }
    return parquet.write(PROFILES, columns, root)


def _write_interests(users: Ids, names: Ids, counts_UT: csr_array, config: InterestConfig, root: Root) -> Ref:
    counts, lift = profiles.interests(counts_UT, config)
    pairs = counts.tocoo()
    columns = {
        "user_id": users[pairs.coords[0]],
        "tag": names[pairs.coords[1]],
        "count": pairs.data.astype(np.int64),
        "lift": lift.tocoo().data,
    }
    return parquet.write(INTERESTS, columns, root)


def _image_labels(
    vectors: Vectors, image_tags: pa.Table, tokens: Ids, labels: np.ndarray, names: Ids, root: Root
) -> Ref:
    """The clusters of each image: those of its tags, or its own where images are the vocabulary."""
    if vectors.of == "tags":
        label = labels[matrices.rows_of(image_tags["tag"], tokens)]
        image = image_tags["image_id"].to_numpy()
    else:
        label, image = labels, tokens
    pairs = pa.table({"image_id": image[label >= 0], "tag": names[label[label >= 0]]})
    return parquet.write(IMAGE_TAGS, pairs.group_by(["image_id", "tag"]).aggregate([]), root)


def _one_hot(labels: np.ndarray, num_clusters: int) -> csr_array:
    rows = np.flatnonzero(labels >= 0)
    return csr_array((np.ones(len(rows), np.float32), (rows, labels[rows])), shape=(len(labels), num_clusters))
