"""A community's tables as matrices over one numbering of users and images: what a system may learn from.

U users, I images, T tags, W words of titles, G groups, C clusters, P users with a profile row, f entries of a feature.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import pyarrow as pa
from scipy.sparse import csr_array, eye_array

from models.community import Community, Pixels
from models.content.profiles import bag_of_clusters
from storage import matrices, parquet
from storage.matrices import Ids
from storage.refs import Ref
from storage.roots import Root
from storage.shards import Shards
from tasks.data.assignments import read_assignments
from tasks.data.tastes import Profiles, labels_of, read_profiles

TABLES = ("users", "images", "image_tags", "user_tags", "tag_assignments", "contacts", "memberships")
LEAST_IMAGES = 2  # a word of a single title relates it to no other image
YEAR = r"\(((?:1[89]|20)\d\d)\)"  # a title such as "Alien (1979)": years near it are words too
NEAR_YEARS = 4  # so that the closer two titles are in time, the more of these words they share


@dataclass(frozen=True)
class Clustered:
    """Profiles, and the tag clusters that they count."""

    profiles: Profiles
    clusters: Ref


@dataclass(frozen=True)
class CommunityTables:
    """The tables that a community is read from. A signal that no system uses is left out: no shards, or None."""

    table: dict[str, Ref]  # by name, as ingested
    training: Ref  # the favorites that are not held out
    pixels: list[Ref] = field(default_factory=list)
    features: list[Ref] = field(default_factory=list)
    clustered: Clustered | None = None

    def restricted(self, signals: set[str]) -> "CommunityTables":
        """Only these signals, so that those of other systems do not decide whether this one is fitted again."""
        return replace(
            self,
            table={name: self.table[name] for name in TABLES},
            pixels=self.pixels if "pixels" in signals else [],
            features=self.features if "features" in signals else [],
            clustered=self.clustered if "profiles" in signals else None,
        )


@dataclass(frozen=True, eq=False)
class IndexedCommunity:
    """The community, and the ids that its rows and columns stand for."""

    users: Ids
    images: Ids
    community: Community


def read_community(tables: CommunityTables, root: Root) -> IndexedCommunity:
    """All users, all images, the training favorites, and every other signal that the source has."""
    table = {name: parquet.read(tables.table[name], root) for name in TABLES}
    training = parquet.read(tables.training, root)
    users, images = matrices.ids_of(table["users"]["user_id"]), matrices.ids_of(table["images"]["image_id"])
    image_tags, user_tags, assigned, contacts, memberships = (
        table[name] for name in ("image_tags", "user_tags", "tag_assignments", "contacts", "memberships")
    )
    tags, groups = matrices.ids_of(image_tags["tag"], user_tags["tag"]), matrices.ids_of(memberships["group_id"])
    owner_I = np.full(len(images), -1, np.int64)
    owner_I[matrices.rows_of(table["images"]["image_id"], images)] = matrices.rows_of(
        table["images"]["owner_id"], users
    )
    community = Community(
        favorites_UI=matrices.incidence(training["user_id"], training["image_id"], users, images),
        favorited_at_UI=matrices.seconds_of(training, users, images),
        user_tags_UT=matrices.incidence(user_tags["user_id"], user_tags["tag"], users, tags, user_tags["count"]),
        image_tags_IT=matrices.incidence(image_tags["image_id"], image_tags["tag"], images, tags),
        tag_assignments=read_assignments(assigned, users, images, tags) if len(assigned) else None,
        words_IW=_words(table["images"], images),
        contacts_UU=matrices.incidence(contacts["user_id"], contacts["contact_id"], users, users),
        memberships_UG=matrices.incidence(memberships["user_id"], memberships["group_id"], users, groups),
        owner_I=owner_I,
        features_If=read_features(tables.features, images, root),
        pixels=_pixels(tables.pixels, images, root),
        **(_profiles(tables.clustered, users, images, image_tags, root) if tables.clustered else {}),
    )
    return IndexedCommunity(users, images, community)


def title_words(images_table: pa.Table) -> pa.Table:
    """The lowercase words of the titles, and the years near one in brackets: columns image_id and word."""
    titles = pl.DataFrame({"image_id": images_table["image_id"], "title": images_table["title"]}).drop_nulls()
    title = pl.col("title").str.to_lowercase()
    year = pl.col("title").str.extract(YEAR).cast(pl.Int32)
    near_years = [pl.format("near {}", year + step) for step in range(-NEAR_YEARS, NEAR_YEARS + 1)]
    words = titles.select("image_id", word=pl.concat_list(title.str.extract_all(r"[\p{L}\p{N}]+"), *near_years))
    return words.explode("word").drop_nulls().unique().to_arrow()


def _words(images_table: pa.Table, images: Ids) -> csr_array:
    """bool (I, W): the words of titles that several images share."""
    all_words = pl.DataFrame(title_words(images_table))
    words = all_words.filter(pl.len().over("word") >= LEAST_IMAGES).to_arrow()
    return matrices.incidence(words["image_id"], words["word"], images, matrices.ids_of(words["word"]))


def read_features(packed: list[Ref], images: Ids, root: Root) -> np.ndarray | None:
    """float32 (I, f); a row of zeros for an image without a feature."""
    if not packed:
        return None
    shards = Shards.open(packed, root)
    row = matrices.rows_of(pa.array(shards.ids, pa.string()), images)
    features_If = np.zeros((len(images), *shards.shape), np.float32)
    features_If[row[row >= 0]] = shards.gather(np.flatnonzero(row >= 0))
    return features_If


def _pixels(packed: list[Ref], images: Ids, root: Root) -> Pixels | None:
    if not packed:
        return None
    shards = Shards.open(packed, root)
    place_I = matrices.rows_of(pa.array(images, pa.string()), shards.ids)
    return Pixels(shards.shape[0], place_I >= 0, lambda rows: shards.gather(place_I[rows]))


def _profiles(clustered: Clustered, users: Ids, images: Ids, image_tags: pa.Table, root: Root) -> dict[str, csr_array]:
    """Bags of clusters of users and of images; the users' interests and the images' labels, by which negatives go."""
    profiles, num_clusters = clustered.profiles, clustered.profiles.num_clusters
    ids, profiles_PC = read_profiles(profiles.profiles, num_clusters, root)
    interests, labels = parquet.read(profiles.interests, root), parquet.read(profiles.image_labels, root)
    names = matrices.ids_of(interests["tag"], labels["tag"])
    if profiles.of == "tags":
        tokens = matrices.ids_of(image_tags["tag"])
        counts_IT = matrices.incidence(image_tags["image_id"], image_tags["tag"], images, tokens)
    else:
        tokens, counts_IT = images, csr_array(eye_array(len(images), dtype=np.float32, format="csr"))
    return {
        "profiles_UC": csr_array(profiles_PC[matrices.rows_of(pa.array(users, pa.string()), ids)]),
        "image_bags_IC": bag_of_clusters(counts_IT, labels_of(clustered.clusters, tokens, root), num_clusters),
        "interests_UT": matrices.incidence(interests["user_id"], interests["tag"], users, names, interests["count"]),
        "image_labels_IT": matrices.incidence(labels["image_id"], labels["tag"], images, names),
    }
